"""The order of a leaderboard: which trial is the best, said in one place for reports and exports alike."""

from __future__ import annotations

import json
from bisect import bisect_right
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from numpy.typing import NDArray

    from gansweep.config import Objective

__all__ = ["non_dominated_fronts", "rank_trials"]

_ORDER = ("completed", "stopped", "running", "interrupted", "diverged", "failed")
"""Best first. A stopped trial's scores are those of a part of its budget: never put before a completed trial's."""


def rank_trials(trials: pd.DataFrame, objectives: Sequence[Objective]) -> pd.DataFrame:
    """Trials best first.

    By how they ended; among trials that ended alike, by non-dominated sorting of the objectives (Deb et al. 2002);
    within a front by the last objective that is maximised (the use of the images), then by the first objective, then by
    trial. Trials that lack an objective come last among those that ended alike.

    Trials that differ in nothing but their seed are repeats of one configuration. They stand together, share rank and
    front, and their place is that of their mean objectives. Where `gansweep repeat` trained a leader again, the mean is
    over these fresh trainings alone: the search's own made it a leader, so its scores flatter it.

    Args:
        trials: one row per trial, as `Store.latest_trials` gives.
        objectives: the sweep's; a column that is missing counts as never measured.

    Returns:
        The same rows, indexed from 0, with `rank` (from 1), `front` (from 0; -1 where an objective is missing),
        `configuration` (the first trial with this configuration) and `counts` (whether a row is part of its
        configuration's mean).
    """
    ended = np.array([_ORDER.index(status) for status in trials["status"]], dtype=np.int64)
    configuration = _configurations(trials)
    groups = [f"{place} {name}" for place, name in zip(ended, configuration, strict=True)]
    first_of, group = np.unique(groups, return_index=True, return_inverse=True)[1:]
    own = _costs(trials, objectives)
    counts = _counting(trials, group)
    costs = _means(own, group, counts)
    measured = np.isfinite(costs).all(axis=1)
    fronts = np.full(len(costs), -1, dtype=np.int64)
    for end in np.unique(ended[first_of][measured]):
        members = np.flatnonzero(measured & (ended[first_of] == end))
        fronts[members] = non_dominated_fronts(costs[members])
    useful = ([place for place, objective in enumerate(objectives) if objective.direction == "maximize"][-1:] or [0])[0]
    # lexsort takes the most important key last; what is missing sorts behind every number.
    names = trials["trial_id"].to_numpy(str)
    places = np.lexsort(
        [names[first_of], costs[:, 0], costs[:, useful], fronts, ~measured, ended[first_of]]  # of configurations
    )
    rank = np.empty(len(places), dtype=np.int64)
    rank[places] = np.arange(1, len(places) + 1)
    order = np.lexsort([names, own[:, 0], own[:, useful], rank[group]])
    return (
        trials.assign(rank=rank[group], front=fronts[group], configuration=configuration, counts=counts)
        .iloc[order]
        .reset_index(drop=True)
    )


def _configurations(trials: pd.DataFrame) -> list[str]:
    """For each trial the first one, by name, with the same configuration under another seed, or its own name.

    A second trial with the same seed is no repeat: it says nothing about chance.
    """
    if "config_json" not in trials:
        return [str(name) for name in trials["trial_id"]]
    ordered = trials.sort_values("trial_id", kind="stable")
    firsts: dict[str, tuple[str, set[Any]]] = {}
    found: dict[str, str] = {}
    for name, text in zip(ordered["trial_id"], ordered["config_json"], strict=True):
        values = json.loads(text)
        seed = values.pop("seed", None)
        first, seeds = firsts.setdefault(json.dumps(values, sort_keys=True), (str(name), set()))
        found[str(name)] = str(name) if seed in seeds else first
        seeds.add(seed)
    return [found[str(name)] for name in trials["trial_id"]]


def _counting(trials: pd.DataFrame, group: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which rows make up their group's mean: the fresh repeats where there are any, else all."""
    if "repeat_of" not in trials:
        return np.ones(len(trials), dtype=bool)
    fresh = trials["repeat_of"].fillna("").to_numpy(str) != ""
    repeated = np.zeros(int(group.max(initial=-1)) + 1, dtype=bool)
    repeated[group[fresh]] = True
    return np.asarray(fresh | ~repeated[group])


def _costs(trials: pd.DataFrame, objectives: Sequence[Objective]) -> NDArray[np.float64]:
    """`[trials, objectives]`, smaller is better, NaN where there is no number."""
    columns: list[Any] = [
        trials[objective.name].to_numpy(np.float64, na_value=np.nan)
        if objective.name in trials
        else np.full(len(trials), np.nan)
        for objective in objectives
    ]
    signs = [-1.0 if objective.direction == "maximize" else 1.0 for objective in objectives]
    return np.stack([sign * column for sign, column in zip(signs, columns, strict=True)], axis=1)


def _means(costs: NDArray[np.float64], group: NDArray[np.int64], counts: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Mean of each group's rows that count, `[groups, objectives]`; of a single row, its very value."""
    sums = np.zeros((int(group.max(initial=-1)) + 1, costs.shape[1]))
    np.add.at(sums, group[counts], costs[counts])
    means: NDArray[np.float64] = sums / np.bincount(group[counts], minlength=len(sums))[:, None]
    return means


def non_dominated_fronts(costs: NDArray[np.float64]) -> NDArray[np.int64]:
    """The front of each row: one more than the highest front of the rows that dominate it, 0 where none does.

    Args:
        costs: `[rows, objectives]`, smaller is better, finite.

    Efficient non-dominated sorting (Zhang et al. 2015): in lexical order a row's dominators all come before it, and a
    row that is dominated from one front is dominated from each front before. So its front is found by bisection.
    """
    points, place = np.unique(costs, axis=0, return_inverse=True)  # in lexical order; equal rows share a front
    fronts = np.zeros(len(points), dtype=np.int64)
    if points.shape[1] == 2:
        least: list[float] = []  # second cost in each front so far, which rises from front to front
        for row, second in enumerate(points[:, 1]):
            front = bisect_right(least, second)
            fronts[row] = front
            least[front : front + 1] = [second]
        return fronts[place.reshape(-1)]
    members: list[list[int]] = []
    for row, point in enumerate(points):
        low = 0
        high = len(members)
        while low < high:
            middle = (low + high) // 2
            dominated = (points[members[middle]] <= point).all(axis=1).any()
            if dominated:
                low = middle + 1
            else:
                high = middle
        fronts[row] = low
        if low == len(members):
            members.append([])
        members[low].append(row)
    return fronts[place.reshape(-1)]
