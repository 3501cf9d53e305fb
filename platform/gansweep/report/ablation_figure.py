"""The figure of an ablation: what each choice of the leader was worth, with its interval."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gansweep.report.drawing import COLOURS, INK, drawn, style
from gansweep.report.formatting import value_text
from gansweep.scoring.metrics.formatting import is_proportion
from gansweep.scoring.metrics.registry import METRICS

if TYPE_CHECKING:
    from collections.abc import Mapping

    import plotly.graph_objects as go

__all__ = ["ablation_figure"]


def ablation_figure(result: Mapping[str, Any]) -> go.Figure | None:
    """One plot per measure, one line per choice; None if nothing could be compared.

    Args:
        result: what `gansweep ablate` left.
    """
    from plotly.subplots import make_subplots

    rows = [row for row in result["choices"] if row["worth"]]
    measures = list(dict.fromkeys(measure for row in rows for measure in row["worth"]))
    if not measures:
        return None
    figure = style(make_subplots(cols=len(measures), shared_yaxes=True, horizontal_spacing=0.04), 140 + 36 * len(rows))
    for column, measure in enumerate(measures, start=1):
        shown = [row for row in reversed(rows) if measure in row["worth"]]
        found = [row["worth"][measure] for row in shown]
        middle, low, high = (drawn(measure, [one[part] for one in found]) for part in ("difference", "low", "high"))
        figure.add_scatter(
            x=middle,
            y=[choice_text(row) for row in shown],
            mode="markers",
            marker={"color": COLOURS[0], "size": 9},
            error_x={
                "type": "data",
                "symmetric": False,
                "array": [top - value for top, value in zip(high, middle, strict=True)],
                "arrayminus": [value - bottom for bottom, value in zip(low, middle, strict=True)],
                "color": COLOURS[0],
            },
            showlegend=False,
            row=1,
            col=column,
        )
        figure.add_vline(x=0, line={"color": INK, "width": 1}, row=1, col=column)
        better = "left" if METRICS[measure].better == "lower" else "right"
        unit = ", points" if is_proportion(measure) else ""
        figure.update_xaxes(title_text=f"{measure}{unit} ({better} of 0: the choice helps)", row=1, col=column)
    figure.update_yaxes(automargin=True)
    return figure


def choice_text(row: Mapping[str, Any]) -> str:
    """A choice with both of its values."""
    if row["ours"] == "" and row["theirs"] == "":
        return str(row["choice"])
    return f"{row['choice']}: {value_text(row['ours'])}, not {value_text(row['theirs'])}"
