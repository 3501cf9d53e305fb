"""Parts of HTML pages that several pages share: images and figures that need no network."""

from __future__ import annotations

import base64
import gzip
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    import plotly.graph_objects as go

__all__ = ["data_uri", "figure_fragment", "packed_plotly", "rendered"]

_PLOT_CONFIG = {
    "displaylogo": False,
    # Its buttons cover the legend and need a mouse; the pages have their own.
    "displayModeBar": False,
    "responsive": True,
    # By default, plotly has a button that uploads the chart to a cloud service.
    "showSendToCloud": False,
}


def rendered(template: str, values: Mapping[str, Any]) -> str:
    """Renders a page from a template in this package.

    Args:
        template: file name of the template.
        values: values by name. Every name in the template is required.
    """
    from jinja2 import Environment, StrictUndefined

    text = Path(__file__).with_name(template).read_text(encoding="utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(text).render(values)


def data_uri(png: bytes) -> str:
    """Returns a PNG image as the source of an `img` element."""
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


@cache
def packed_plotly() -> str:
    """Plotly's library, gzipped: a third of its 5 MB. The page unpacks it."""
    from plotly.offline import get_plotlyjs

    return base64.b64encode(gzip.compress(get_plotlyjs().encode(), 9, mtime=0)).decode()


def figure_fragment(figure: go.Figure, title: str) -> str:
    """Returns a figure as an HTML fragment. The page must include plotly's script."""
    name = title.lower().replace(" ", "-")
    fragment: str = figure.to_html(full_html=False, include_plotlyjs=False, div_id=name, config=_PLOT_CONFIG)
    return fragment
