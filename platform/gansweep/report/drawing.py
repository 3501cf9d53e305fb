"""Common style of all figures, and the texts of their axes and points."""

from __future__ import annotations

from typing import TYPE_CHECKING

import plotly.graph_objects as go

from gansweep.scoring.metrics.formatting import is_proportion, score_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gansweep.config import Objective
    from gansweep.report.rows import LeaderboardRow

__all__ = ["COLOURS", "INK", "axis", "drawn", "figure_of", "hover", "name_axes", "stack", "style"]

COLOURS = ("#1f5fa8", "#c8501e", "#2b8a57")
INK = "#24292f"
_HOVERED = ("fid", "fid_matched", "kid", "accuracy", "accuracy_difference", "auroc", "dice")


def axis(objective: Objective) -> str:
    """Returns the axis title of an objective, with its unit and direction."""
    better = "lower" if objective.direction == "minimize" else "higher"
    return f"{objective.name}{', %' if is_proportion(objective.name) else ''} ({better} is better)"


def drawn(name: str, values: Iterable[float]) -> list[float]:
    """Returns values of a score as shown in figures: proportions in percent, with a readable number of digits.

    Args:
        name: name of the score.
        values: the values.
    """
    factor = 100.0 if is_proportion(name) else 1.0
    return [float(f"{factor * value:.5g}") for value in values]


def hover(row: LeaderboardRow) -> str:
    """Returns the HTML text of a point under the pointer."""
    scores = "<br>".join(f"{name} {score_text(name, row.scores[name])}" for name in _HOVERED if name in row.scores)
    return f"<b>trial {row.trial_id}</b>, rank {row.rank}, {row.status}<br>{row.config.family}<br>{scores}"


def figure_of(height: int) -> go.Figure:
    """Returns an empty figure that is `height` pixels high."""
    return style(go.Figure(), height)


def stack(objectives: Sequence[Objective], x: str) -> go.Figure:
    """Returns a figure with one plot per objective, stacked, with a shared axis titled `x`."""
    from plotly.subplots import make_subplots

    count = len(objectives)
    figure = style(make_subplots(rows=count, shared_xaxes=True, vertical_spacing=0.08), 100 + 220 * count)
    for row, objective in enumerate(objectives, start=1):
        figure.update_yaxes(title_text=axis(objective), row=row, col=1)
    figure.update_xaxes(title_text=x, row=count, col=1)
    return figure


def style(figure: go.Figure, height: int) -> go.Figure:
    """Applies the common style to a figure and returns it."""
    figure.update_layout(
        template="none",
        height=height,
        margin={"l": 70, "r": 20, "t": 30, "b": 50},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"family": "system-ui, sans-serif", "size": 13, "color": INK},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
    )
    return figure


def name_axes(figure: go.Figure, **titles: str) -> None:
    """Sets axis titles: `x=` and `y=`."""
    figure.update_layout({f"{name}axis_title": title for name, title in titles.items()})
