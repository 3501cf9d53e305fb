"""An objective over the searched parameters: a slice for each, and the contour over the two that matter most."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gansweep.report.drawing import COLOURS, INK, axis, style
from gansweep.scoring.metrics.formatting import is_proportion

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import optuna
    import plotly.graph_objects as go

    from gansweep.config import Objective

__all__ = ["contour_figure", "slice_figure"]

_SLICES = 4
"""Parameters that are shown; the others explain less, and their plots would be as wide as a finger."""


def slice_figure(study: optuna.Study, parameters: Sequence[str], objectives: Sequence[Objective]) -> go.Figure | None:
    """The last objective against each parameter, one point per trial; None without a parameter.

    Args:
        study: with trials that have all objectives.
        parameters: the one that explains most first.
        objectives: in the study's order.
    """
    from optuna.visualization import plot_slice

    if not parameters:
        return None
    figure = style(
        plot_slice(
            study, params=list(parameters[:_SLICES]), target=_last(objectives), target_name=axis(objectives[-1])
        ),
        340,
    )
    # Optuna colours by trial number, light on white: here place and colour would say two things.
    figure.update_traces(marker={"color": COLOURS[0], "size": 6, "opacity": 0.6, "showscale": False, "line": None})
    return figure


def contour_figure(study: optuna.Study, parameters: Sequence[str], objectives: Sequence[Objective]) -> go.Figure | None:
    """The last objective over the first two parameters that trials have together; None where there are none.

    Args:
        study: with trials that have all objectives.
        parameters: the one that explains most first.
        objectives: in the study's order.
    """
    from optuna.visualization import plot_contour

    pair = _pair(study, parameters)
    if pair is None:
        return None
    figure = style(plot_contour(study, params=pair, target=_last(objectives), target_name=axis(objectives[-1])), 460)
    figure.update_traces(
        colorscale="Viridis", reversescale=objectives[-1].direction == "minimize", selector={"type": "contour"}
    )
    figure.update_traces(marker={"color": INK, "size": 4}, selector={"type": "scatter"})
    return figure


def _last(objectives: Sequence[Objective]) -> Callable[[optuna.trial.FrozenTrial], float]:
    index = len(objectives) - 1
    factor = 100.0 if is_proportion(objectives[-1].name) else 1.0
    return lambda trial: factor * float(trial.values[index])


def _pair(study: optuna.Study, parameters: Sequence[str]) -> list[str] | None:
    """The first parameter, and the next that at least half as many trials have with it."""
    trials = study.get_trials(deepcopy=False)
    for place, first in enumerate(parameters):
        for second in parameters[place + 1 :]:
            if sum(first in trial.params and second in trial.params for trial in trials) >= len(trials) / 2:
                return [first, second]
    return None
