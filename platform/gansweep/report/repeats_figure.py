"""Figure of repeated trainings: how much the scores of a configuration vary by chance."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gansweep.report.comparison import folded
from gansweep.report.drawing import COLOURS, drawn, hover, stack

if TYPE_CHECKING:
    from collections.abc import Sequence

    import plotly.graph_objects as go

    from gansweep.config import Objective
    from gansweep.report.rows import LeaderboardRow

__all__ = ["repeats_figure"]


def repeats_figure(rows: Sequence[LeaderboardRow], objectives: Sequence[Objective]) -> go.Figure | None:
    """Plots all trainings of repeated configurations, with their means; None if no configuration was repeated.

    Args:
        rows: all rows of a leaderboard.
        objectives: objectives, one plot each.
    """
    repeated = [row for row in folded(rows) if row.trainings > 1 and row.status == "completed" and row.front >= 0]
    if not repeated:
        return None
    figure = stack(objectives, x="configuration, best rank first")
    for plot, objective in enumerate(objectives, start=1):
        for counts, symbol, name in ((True, "circle", "in the mean"), (False, "circle-open", "the search's own")):
            shown = [
                (mean.trial_id, row)
                for mean in repeated
                for row in rows
                if (row.rank, row.status, row.counts) == (mean.rank, mean.status, counts)
            ]
            if shown:
                figure.add_scatter(
                    x=[trial_id for trial_id, _ in shown],
                    y=drawn(objective.name, [row.scores[objective.name] for _, row in shown]),
                    mode="markers",
                    name=name,
                    legendgroup=name,
                    showlegend=plot == 1,
                    hovertext=[hover(row) for _, row in shown],
                    hoverinfo="text",
                    marker={"symbol": symbol, "color": COLOURS[0], "size": 9},
                    row=plot,
                    col=1,
                )
        figure.add_scatter(
            x=[row.trial_id for row in repeated],
            y=drawn(objective.name, [row.scores[objective.name] for row in repeated]),
            mode="markers",
            name="mean",
            legendgroup="mean",
            showlegend=plot == 1,
            marker={"symbol": "line-ew", "size": 34, "line": {"color": COLOURS[1], "width": 3}},
            row=plot,
            col=1,
        )
    figure.update_xaxes(type="category")
    return figure
