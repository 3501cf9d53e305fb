"""Ranking of trials for the leaderboard. Reports and exports share this one definition."""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from typing import TYPE_CHECKING, Any

import numpy as np

from gansweep.store.feasibility import broken, column_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from numpy.typing import NDArray

    from gansweep.config import Objective
    from gansweep.constraint import Constraint

__all__ = ["ADDED_COLUMNS", "non_dominated_fronts", "rank_trials"]

ADDED_COLUMNS = ("rank", "front", "configuration", "counts", "infeasible")
"""Columns that `rank_trials` adds."""

_SEED = re.compile(r'"seed": (-?\d+), ')
"""The seed in a configuration's JSON, whose keys are sorted."""
_USABLE = ("completed", "stopped")
"""Statuses of trials with scores, best first.

A stopped trial used only part of its budget, so it never ranks above a completed trial.
"""
_OTHERS = ("running", "interrupted", "diverged", "failed")
_INFEASIBLE = len(_USABLE)
"""Place of the usable trials that break a constraint: behind those that keep all, before trials without scores."""


def rank_trials(
    trials: pd.DataFrame, objectives: Sequence[Objective], constraints: Sequence[Constraint] = ()
) -> pd.DataFrame:
    """Ranks trials, best first.

    Trials are ordered by status, then by non-dominated sorting of the objectives (Deb et al. 2002). Within a front they
    are ordered by the last maximised objective (how useful the images are), then by the first objective, then by trial
    id. Trials without a value for every objective come last among those of the same status.

    Trials that differ only in their seed are repeats of one configuration. They are grouped, share rank and front, and
    are ranked by the mean of their objectives. If `gansweep repeat` retrained a configuration, the mean covers only the
    retrained runs: the original run was selected for its scores, so these are biased upwards.

    A configuration that breaks a constraint, by the means of what it bounds, comes behind those that keep all
    constraints, and is on no front. A trial that does not tell the value breaks it, because nothing is known.

    Args:
        trials: one row per trial, as returned by `Store.latest_trials`.
        objectives: the sweep's objectives. A missing column counts as not measured.
        constraints: the sweep's constraints.

    Returns:
        The same rows, indexed from 0, with `rank` (from 1), `front` (from 0; -1 if an objective is missing or a
        constraint is broken), `configuration` (the first trial with this configuration), `counts` (whether the row is
        included in its configuration's mean) and `infeasible` (the constraints that it breaks; empty if none).
    """
    order = (*_USABLE, *(f"infeasible {status}" for status in _USABLE), *_OTHERS)
    ended = np.array([order.index(status) for status in trials["status"]], dtype=np.int64)
    configuration = _configurations(trials)
    # Runs of one configuration that ended differently are ranked apart.
    groups = [f"{status} {name}" for status, name in zip(ended, configuration, strict=True)]
    _, first_of, group = np.unique(groups, return_index=True, return_inverse=True)
    own = _costs(trials, objectives)
    counts = _counting(trials, group)
    costs = _means(own, group, counts)
    place = ended[first_of]
    broken_by = _broken(trials, constraints, group, counts, place)
    is_infeasible = np.array([bool(text) for text in broken_by], dtype=bool)
    place = np.where(is_infeasible, place + _INFEASIBLE, place)
    measured = np.isfinite(costs).all(axis=1)
    fronts = np.full(len(costs), -1, dtype=np.int64)
    on_front = measured & ~is_infeasible
    for end in np.unique(place[on_front]):
        members = np.flatnonzero(on_front & (place == end))
        fronts[members] = non_dominated_fronts(costs[members])
    maximised = [index for index, objective in enumerate(objectives) if objective.direction == "maximize"]
    useful = maximised[-1] if maximised else 0
    names = trials["trial_id"].to_numpy(str)
    # lexsort takes the most significant key last. Missing values sort after every number.
    best_first = np.lexsort([names[first_of], costs[:, 0], costs[:, useful], fronts, ~measured, place])
    rank = np.empty(len(best_first), dtype=np.int64)
    rank[best_first] = np.arange(1, len(best_first) + 1)
    rows = np.lexsort([names, own[:, 0], own[:, useful], rank[group]])
    ranked = trials.assign(
        rank=rank[group],
        front=fronts[group],
        configuration=configuration,
        counts=counts,
        infeasible=[broken_by[row] for row in group],
    )
    return ranked.iloc[rows].reset_index(drop=True)


def _broken(
    trials: pd.DataFrame,
    constraints: Sequence[Constraint],
    group: NDArray[np.int64],
    counts: NDArray[np.bool_],
    place: NDArray[np.int64],
) -> list[str]:
    """Returns the constraints that each group breaks, by the means of its counted rows.

    Empty for groups without scores.

    Args:
        trials: one row per trial.
        constraints: the sweep's constraints.
        group: group of each row, `[trials]`.
        counts: whether a row is included in its group's mean, `[trials]`.
        place: how the trials of each group ended, `[groups]`.
    """
    if not constraints:
        return [""] * len(place)
    names = list(dict.fromkeys(constraint.score for constraint in constraints))
    means = _means(np.stack([column_of(trials, name) for name in names], axis=1), group, counts)
    usable = place < len(_USABLE)
    found = []
    for row, is_usable in zip(means, usable, strict=True):
        found.append(broken(dict(zip(names, row, strict=True)), constraints) if is_usable else "")
    return found


def _configurations(trials: pd.DataFrame) -> list[str]:
    """Returns, for each trial, the first trial with the same configuration and another seed, or its own name.

    A second trial with the same seed is not a repeat: it does not measure the variation between seeds.
    """
    if "config_json" not in trials:
        return [str(name) for name in trials["trial_id"]]
    ordered = trials.sort_values("trial_id", kind="stable")
    first_trials: dict[str, str] = {}
    seeds: dict[str, set[Any]] = {}
    found: dict[str, str] = {}
    for name, text in zip(ordered["trial_id"].astype(str), ordered["config_json"], strict=True):
        configuration, seed = _without_seed(text)
        first_trials.setdefault(configuration, name)
        seen = seeds.setdefault(configuration, set())
        found[name] = name if seed in seen else first_trials[configuration]
        seen.add(seed)
    return [found[str(name)] for name in trials["trial_id"]]


def _without_seed(text: str) -> tuple[str, int | None]:
    """Returns a configuration's JSON without its seed, and the seed."""
    seeds = _SEED.findall(text)
    if len(seeds) == 1:  # ten times as fast as to read and write all of it
        return _SEED.sub("", text), int(seeds[0])
    values = json.loads(text)  # settings of the networks may have this name, too
    seed = values.pop("seed", None)
    return json.dumps(values, sort_keys=True), seed


def _counting(trials: pd.DataFrame, group: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Returns which rows are included in their group's mean: the retrained runs if there are any, or else all."""
    if "repeat_of" not in trials:
        return np.ones(len(trials), dtype=bool)
    fresh = trials["repeat_of"].fillna("").to_numpy(str) != ""
    repeated = np.zeros(int(group.max(initial=-1)) + 1, dtype=bool)
    repeated[group[fresh]] = True
    return np.asarray(fresh | ~repeated[group])


def _costs(trials: pd.DataFrame, objectives: Sequence[Objective]) -> NDArray[np.float64]:
    """Returns costs `[trials, objectives]`; lower is better, NaN if there is no value."""
    costs = np.full((len(trials), len(objectives)), np.nan)
    for index, objective in enumerate(objectives):
        if objective.name not in trials:
            continue
        values = trials[objective.name].to_numpy(np.float64, na_value=np.nan)
        costs[:, index] = -values if objective.direction == "maximize" else values
    return costs


def _means(costs: NDArray[np.float64], group: NDArray[np.int64], counts: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Returns the mean of each group's counted rows, `[groups, objectives]`. The mean of a single row is exact."""
    sums = np.zeros((int(group.max(initial=-1)) + 1, costs.shape[1]))
    np.add.at(sums, group[counts], costs[counts])
    means: NDArray[np.float64] = sums / np.bincount(group[counts], minlength=len(sums))[:, None]
    return means


def non_dominated_fronts(costs: NDArray[np.float64]) -> NDArray[np.int64]:
    """Returns the non-dominated front of each row, `[rows]`.

    A row that no other row dominates is in front 0. Any other row is in the front after the last one with a row that
    dominates it. Equal rows share a front.

    This is efficient non-dominated sorting (Zhang et al. 2015). Rows are visited in lexical order, so a row's
    dominators come before it. A row that is dominated by a front is dominated by each earlier front, so its own front
    is found by bisection.

    Args:
        costs: finite costs `[rows, objectives]`; lower is better.
    """
    points, place = np.unique(costs, axis=0, return_inverse=True)  # in lexical order
    fronts = np.zeros(len(points), dtype=np.int64)
    if points.shape[1] == 2:
        # With two objectives, a front dominates the point if its lowest second cost does not exceed the point's.
        least: list[float] = []  # lowest second cost of each front so far, in ascending order
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
