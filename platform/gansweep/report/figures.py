"""Figures of a sweep as plotly objects, for the HTML report and the dashboard."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from gansweep.report.ablation_figure import ablation_figure
from gansweep.report.comparison import folded
from gansweep.report.drawing import COLOURS, INK, axis, drawn, figure_of, hover, name_axes, stack
from gansweep.report.landscape import contour_figure, slice_figure
from gansweep.report.leaderboard import searched_keys, short_names
from gansweep.report.repeats_figure import repeats_figure
from gansweep.scoring.metrics.formatting import is_proportion
from gansweep.search.ablate import ablation
from gansweep.store.schema import flat_config

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import optuna
    import plotly.graph_objects as go

    from gansweep.config import Objective
    from gansweep.report.rows import LeaderboardRow
    from gansweep.store.store import Store

__all__ = [
    "difference_figure",
    "figures",
    "history_figure",
    "importance_figure",
    "learning_figure",
    "parallel_figure",
    "tradeoff_figure",
]

_LEADERS = 3  # trials that are labelled or coloured
_GREY = "rgba(140,140,150,0.55)"
_FEW_VALUES = 6  # up to this many distinct values, an axis has ticks at exactly these
_SYMBOLS = {"completed": "circle", "stopped": "circle-open"}
_ENOUGH_FOR_IMPORTANCE = 10
"""With fewer trials, importances are mostly noise of the random forest that fANOVA fits."""
_MOST_FOR_IMPORTANCE = 125
"""With more trials, only every second, third, ... is used: fANOVA takes longer, but its result hardly changes."""
_TREES = 32  # trees of the random forest; Optuna's default of 64 takes twice as long


def figures(store: Store, rows: Sequence[LeaderboardRow], study: optuna.Study | None) -> dict[str, go.Figure]:
    """Returns all figures for which the sweep has enough trials, by title.

    Args:
        store: the sweep's store.
        rows: leaderboard of the sweep.
        study: Optuna study, for importances; None: without importances.
    """
    objectives = store.info.objectives
    searched = [row for row in rows if not row.repeat_of]
    measured = [row for row in folded(rows) if row.front >= 0]
    if not measured:
        return {}
    reports = store.latest_reports()
    reports = reports[reports["trial_id"].isin([row.trial_id for row in searched])]
    ablated = ablation(store)
    sampled = None if study is None else _sampled(study)
    found = {} if sampled is None else _importances(sampled, objectives)
    # Slices and contours show the last objective, so its most important parameters come first.
    parameters: list[str] = []
    for objective in reversed(objectives):
        parameters += [name for name in found.get(objective.name, {}) if name not in parameters]
    drawn: dict[str, go.Figure | None] = {
        "Objectives": tradeoff_figure(measured, objectives) if len(objectives) > 1 else None,
        "Learning curves": learning_figure(reports, searched, objectives),
        "Repeated trainings": repeats_figure(rows, objectives),
        "What the leader's choices are worth": ablation_figure(ablated) if ablated else None,
        "Gain over real images alone": difference_figure(measured, objectives),
        "History": history_figure(measured, objectives),
        "Configurations": parallel_figure(measured, objectives),
        "What mattered": _importance_bars(sampled, found) if sampled is not None else None,
        "Slices": slice_figure(sampled, parameters, objectives) if sampled is not None else None,
        "Contours": contour_figure(sampled, parameters, objectives) if sampled is not None else None,
    }
    return {title: figure for title, figure in drawn.items() if figure is not None}


def tradeoff_figure(rows: Sequence[LeaderboardRow], objectives: Sequence[Objective]) -> go.Figure:
    """Plots the first two objectives against each other, with the Pareto front of the completed trials.

    Args:
        rows: rows with values of all objectives.
        objectives: two or more objectives.
    """
    first = objectives[0]
    second = objectives[1]
    figure = figure_of(height=460)
    for status, symbol in _SYMBOLS.items():
        shown = [row for row in rows if row.status == status]
        figure.add_scatter(
            x=drawn(first.name, [row.scores[first.name] for row in shown]),
            y=drawn(second.name, [row.scores[second.name] for row in shown]),
            mode="markers+text",
            name=status,
            text=[row.trial_id if row.rank <= _LEADERS else "" for row in shown],
            textposition="top center",
            hovertext=[hover(row) for row in shown],
            hoverinfo="text",
            marker={"symbol": symbol, "size": 10, "color": COLOURS[0]},
        )
    front = sorted(
        (row.scores[first.name], row.scores[second.name])
        for row in rows
        if row.front == 0 and row.status == "completed"
    )
    steps = {
        "x": drawn(first.name, [point[0] for point in front]),
        "y": drawn(second.name, [point[1] for point in front]),
    }
    figure.add_scatter(
        **steps, mode="lines", name="Pareto front (completed)", line={"color": COLOURS[1], "dash": "dot"}
    )
    name_axes(figure, x=axis(first), y=axis(second))
    return figure


def history_figure(rows: Sequence[LeaderboardRow], objectives: Sequence[Objective]) -> go.Figure:
    """Plots each objective by trial number, with the best value so far among completed trials.

    Args:
        rows: rows with values of all objectives.
        objectives: objectives, one plot each.
    """
    figure = stack(objectives, x="trial")
    ordered = sorted(rows, key=lambda row: row.trial_id)
    for plot, objective in enumerate(objectives, start=1):
        for status, symbol in _SYMBOLS.items():
            shown = [row for row in ordered if row.status == status]
            figure.add_scatter(
                x=[int(row.trial_id) for row in shown],
                y=drawn(objective.name, [row.scores[objective.name] for row in shown]),
                mode="markers",
                name=status,
                legendgroup=status,
                showlegend=plot == 1,
                text=[row.trial_id for row in shown],
                hovertemplate="trial %{text}: %{y}<extra></extra>",
                marker={"symbol": symbol, "color": COLOURS[0], "size": 8},
                row=plot,
                col=1,
            )
        completed = [row for row in ordered if row.status == "completed"]
        values = np.array(drawn(objective.name, [row.scores[objective.name] for row in completed]))
        better = np.minimum if objective.direction == "minimize" else np.maximum
        best = better.accumulate(values)
        line = {"color": COLOURS[1], "shape": "hv"}
        numbers = [int(row.trial_id) for row in completed]
        figure.add_scatter(
            x=numbers, y=best, mode="lines", name="best so far", line=line, showlegend=plot == 1, row=plot, col=1
        )
    return figure


def learning_figure(
    reports: pd.DataFrame, rows: Sequence[LeaderboardRow], objectives: Sequence[Objective]
) -> go.Figure | None:
    """Plots each objective over generator iterations, one line per trial, the leaders in colour; None without reports.

    Args:
        reports: one row per report.
        rows: leaderboard, best first.
        objectives: objectives, one plot each.
    """
    if reports.empty:
        return None
    figure = stack(objectives, x="generator iterations")
    leaders = [row.trial_id for row in rows[:_LEADERS]]
    groups = {str(name): group for name, group in reports.groupby("trial_id")}
    others = [name for name in sorted(groups) if name not in leaders]
    for plot, objective in enumerate(objectives, start=1):
        if objective.name not in reports:
            continue
        for trial_id in leaders:
            if trial_id in groups:
                figure.add_scatter(
                    x=groups[trial_id]["iteration"],
                    y=drawn(objective.name, groups[trial_id][objective.name]),
                    mode="lines+markers",
                    name=f"trial {trial_id}",
                    legendgroup=trial_id,
                    showlegend=plot == 1,
                    line={"color": COLOURS[leaders.index(trial_id)], "width": 2.5},
                    marker={"size": 5},
                    row=plot,
                    col=1,
                )
        figure.add_scatter(
            **_joined([groups[name] for name in others], objective.name),
            mode="lines",
            name="other trials",
            legendgroup="others",
            showlegend=plot == 1,
            hovertemplate="trial %{text}: %{y}<extra></extra>",
            line={"color": _GREY, "width": 1},
            row=plot,
            col=1,
        )
    # Traces are drawn in order, and the leaders' lines must be on top.
    figure.data = sorted(figure.data, key=lambda trace: trace.name != "other trials")
    return figure


def _joined(groups: Sequence[pd.DataFrame], name: str) -> dict[str, list[Any]]:
    """Joins many curves into one trace with gaps between them, because one trace each would take a browser minutes."""
    joined: dict[str, list[Any]] = {"x": [], "y": [], "text": []}
    for group in groups:
        joined["x"] += [*group["iteration"].tolist(), None]
        joined["y"] += [*drawn(name, group[name]), None]
        joined["text"] += [*group["trial_id"].tolist(), None]
    return joined


def difference_figure(rows: Sequence[LeaderboardRow], objectives: Sequence[Objective]) -> go.Figure | None:
    """Plots a detector's gain from synthetic images, one bar per trial, best rank first; None if it was not measured.

    Args:
        rows: leaderboard, best first.
        objectives: objectives. The figure shows the first that has a difference.
    """
    measured = set().union(*(row.scores for row in rows))
    names = [f"{objective.name}_difference" for objective in objectives]
    names = [name for name in names if name in measured]
    if not names:
        return None
    name = names[0]
    shown = [row for row in rows if name in row.scores][:60]  # more bars are too thin to point at
    figure = figure_of(height=340)
    figure.add_bar(
        x=[row.trial_id for row in shown],
        y=drawn(name, [row.scores[name] for row in shown]),
        marker={"color": [COLOURS[2] if row.scores[name] > 0 else COLOURS[1] for row in shown]},
        hovertext=[hover(row) for row in shown],
        hoverinfo="text",
        showlegend=False,
    )
    figure.add_hline(y=0, line={"color": INK, "width": 1})
    name_axes(
        figure,
        x="trial, best rank first",
        y=f"{name.removesuffix('_difference')} gained{', points' if is_proportion(name) else ''}",
    )
    figure.update_xaxes(type="category")
    figure.update_layout(bargap=max(0.2, 1 - len(shown) / 12))  # keeps a few bars from filling the figure
    return figure


def parallel_figure(rows: Sequence[LeaderboardRow], objectives: Sequence[Objective]) -> go.Figure | None:
    """Plots parallel coordinates of searched parameters and objectives; None for fewer than three trials.

    There is one line per trial, coloured by the last objective.

    Args:
        rows: rows with values of all objectives.
        objectives: objectives, shown as the last axes.
    """
    if len(rows) < 3:
        return None
    table = pd.DataFrame([flat_config(row.config) for row in rows])
    # A line needs a point on every axis, so keys that only some families have cannot be drawn.
    keys = [key for key in searched_keys(rows) if table[key].notna().all()][:7]
    measured = pd.DataFrame([{objective.name: row.scores[objective.name] for objective in objectives} for row in rows])
    scores = [
        _dimension(objective.name, pd.Series(drawn(objective.name, measured[objective.name])))
        for objective in objectives
    ]
    last = objectives[-1]
    figure = figure_of(height=420)
    figure.add_parcoords(
        dimensions=[*(_dimension(label, table[key]) for key, label in short_names(keys).items()), *scores],
        line={
            "color": drawn(last.name, [row.scores[last.name] for row in rows]),
            "colorscale": "Viridis",
            "reversescale": last.direction == "minimize",
            "showscale": True,
            "colorbar": {"title": last.name, "thickness": 12},
        },
        labelside="top",
    )
    figure.update_layout(margin={"l": 70, "r": 40, "t": 60, "b": 30})
    return figure


def importance_figure(study: optuna.Study, objectives: Sequence[Objective]) -> go.Figure | None:
    """Plots the fraction of each objective's variance that a parameter explains; None if there are too few trials.

    Functional ANOVA: Hutter et al. 2014, "An efficient approach for assessing hyperparameter importance".

    Args:
        study: the sweep's study.
        objectives: objectives in the study's order.
    """
    sampled = _sampled(study)
    return _importance_bars(sampled, _importances(sampled, objectives)) if sampled is not None else None


def _sampled(study: optuna.Study) -> optuna.Study | None:
    """Returns a study in memory of the completed trials; of many trials, an evenly spaced part. None if too few."""
    import optuna

    done = study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,))
    if len(done) < _ENOUGH_FOR_IMPORTANCE:
        return None
    return _study_of(done[:: math.ceil(len(done) / _MOST_FOR_IMPORTANCE)], study.directions)


def _importances(study: optuna.Study, objectives: Sequence[Objective]) -> dict[str, dict[str, float]]:
    """Returns the fraction of each objective's variance that each parameter explains, the largest first.

    Objectives that do not vary are left out.
    """
    import optuna

    found = {}
    for index, objective in enumerate(objectives):
        if np.ptp([trial.values[index] for trial in study.get_trials(deepcopy=False)]) == 0:
            continue
        found[objective.name] = optuna.importance.get_param_importances(
            study,
            evaluator=optuna.importance.FanovaImportanceEvaluator(n_trees=_TREES, seed=0),
            target=lambda trial, index=index: trial.values[index],  # type: ignore[misc]
        )
    return found


def _importance_bars(study: optuna.Study, found: Mapping[str, Mapping[str, float]]) -> go.Figure | None:
    if not found:
        return None
    figure = figure_of(height=380)
    for place, (name, importances) in enumerate(found.items()):
        # plotly draws the first bar at the bottom.
        names = list(importances)[::-1]
        fractions = list(importances.values())[::-1]
        colour = {"color": COLOURS[place % len(COLOURS)]}
        figure.add_bar(x=fractions, y=names, orientation="h", name=name, marker=colour)
    figure.update_layout(barmode="group", height=max(300, 60 + 34 * len(figure.data[0].y)))
    count = len(study.get_trials(deepcopy=False))
    name_axes(figure, x=f"fraction of variance explained, {count} trials", y="")
    return figure


def _study_of(trials: Sequence[optuna.trial.FrozenTrial], directions: Sequence[Any]) -> optuna.Study:
    """Creates a study in memory with these trials, without log messages from Optuna."""
    import optuna

    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(directions=directions)
    optuna.logging.set_verbosity(verbosity)
    study.add_trials(trials)
    return study


def _dimension(label: str, values: pd.Series[Any]) -> dict[str, Any]:
    """Returns an axis of the parallel coordinates.

    Linear or logarithmic for numbers, evenly spaced names for others.
    """
    if values.map(lambda value: isinstance(value, bool) or not isinstance(value, int | float)).any():
        names = sorted(map(str, values.unique()))
        codes = [names.index(str(value)) for value in values]
        return {"label": label, "values": codes, "tickvals": list(range(len(names))), "ticktext": names}
    if values.min() > 0 and values.max() / values.min() > 50:
        ticks = np.linspace(np.log10(values.min()), np.log10(values.max()), 5)
        text = [f"{10**tick:.2g}" for tick in ticks]
        return {"label": label, "values": np.log10(values), "tickvals": ticks, "ticktext": text}
    if values.nunique() <= _FEW_VALUES:
        return {"label": label, "values": values, "tickvals": sorted(values.unique())}
    return {"label": label, "values": values}
