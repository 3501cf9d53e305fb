"""The figure of repeated trainings: what chance alone does to a configuration's scores."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gansweep.report.drawing import COLOURS, hover, stack
from gansweep.report.places import folded

if TYPE_CHECKING:
    from collections.abc import Sequence

    import plotly.graph_objects as go

    from gansweep.experiment import Objective
    from gansweep.report.leaderboard import LeaderboardRow

__all__ = ["repeats_figure"]


def repeats_figure(rows: Sequence[LeaderboardRow], objectives: Sequence[Objective]) -> go.Figure | None:
    """Each training of the configurations that were trained repeatedly, with the means; None where none was."""
    repeated = [row for row in folded(rows) if row.trainings > 1 and row.status == "completed" and row.front >= 0]
    if not repeated:
        return None
    figure = stack(objectives, x="configuration, best rank first")
    for place, objective in enumerate(objectives, start=1):
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
                    y=[row.scores[objective.name] for _, row in shown],
                    mode="markers",
                    name=name,
                    legendgroup=name,
                    showlegend=place == 1,
                    hovertext=[hover(row) for _, row in shown],
                    hoverinfo="text",
                    marker={"symbol": symbol, "color": COLOURS[0], "size": 9},
                    row=place,
                    col=1,
                )
        figure.add_scatter(
            x=[row.trial_id for row in repeated],
            y=[row.scores[objective.name] for row in repeated],
            mode="markers",
            name="mean",
            legendgroup="mean",
            showlegend=place == 1,
            marker={"symbol": "line-ew", "size": 34, "line": {"color": COLOURS[1], "width": 3}},
            row=place,
            col=1,
        )
    figure.update_xaxes(type="category")
    return figure
