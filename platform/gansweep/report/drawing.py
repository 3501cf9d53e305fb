"""The look of every figure, and what their axes and points say."""

from __future__ import annotations

from typing import TYPE_CHECKING

import plotly.graph_objects as go

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gansweep.experiment import Objective
    from gansweep.report.leaderboard import LeaderboardRow

__all__ = ["COLOURS", "INK", "axis", "figure_of", "hover", "name_axes", "stack", "style"]

COLOURS = ("#1f5fa8", "#c8501e", "#2b8a57")
INK = "#24292f"


def axis(objective: Objective) -> str:
    """An objective as an axis title, with its direction."""
    return f"{objective.name} ({'lower' if objective.direction == 'minimize' else 'higher'} is better)"


def hover(row: LeaderboardRow) -> str:
    """What a point says under the pointer."""
    scores = "<br>".join(f"{name} {value:.4g}" for name, value in list(row.scores.items())[:8])
    return f"<b>trial {row.trial_id}</b>, rank {row.rank}, {row.status}<br>{row.config.family}<br>{scores}"


def figure_of(height: int) -> go.Figure:
    """An empty figure of so many pixels."""
    return style(go.Figure(), height)


def stack(objectives: Sequence[Objective], x: str) -> go.Figure:
    """A plot per objective, one above the other, over a shared axis called `x`."""
    from plotly.subplots import make_subplots

    count = len(objectives)
    figure = style(make_subplots(rows=count, shared_xaxes=True, vertical_spacing=0.08), 100 + 220 * count)
    for place, objective in enumerate(objectives, start=1):
        figure.update_yaxes(title_text=axis(objective), row=place, col=1)
    figure.update_xaxes(title_text=x, row=count, col=1)
    return figure


def style(figure: go.Figure, height: int) -> go.Figure:
    """The same look for every figure."""
    figure.update_layout(
        template="plotly_white",
        height=height,
        margin={"l": 70, "r": 20, "t": 30, "b": 50},
        font={"family": "system-ui, sans-serif", "size": 13, "color": INK},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
    )
    return figure


def name_axes(figure: go.Figure, **titles: str) -> None:
    """Titles by axis: `x=` and `y=`."""
    figure.update_layout({f"{axis}axis_title": title for axis, title in titles.items()})
