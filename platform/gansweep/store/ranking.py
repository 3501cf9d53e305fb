"""The order of a leaderboard: which trial is the best, said in one place for reports and exports alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from numpy.typing import NDArray

    from gansweep.experiment import Objective

__all__ = ["rank_trials"]

_ORDER = ("completed", "stopped", "running", "interrupted", "diverged", "failed")
"""Best first. A stopped trial's scores are those of a part of its budget: never put before a completed trial's."""


def rank_trials(trials: pd.DataFrame, objectives: Sequence[Objective]) -> pd.DataFrame:
    """Trials best first.

    By how they ended; among trials that ended alike, by non-dominated sorting of the objectives (Deb et al. 2002);
    within a front by the last objective that is maximised (the use of the images), then by the first objective, then by
    trial. Trials that lack an objective come last among those that ended alike.

    Args:
        trials: one row per trial, as `Store.latest_trials` gives.
        objectives: the sweep's; a column that is missing counts as never measured.

    Returns:
        The same rows with `rank` (from 1) and `front` (from 0; -1 where an objective is missing), indexed from 0.
    """
    costs = _costs(trials, objectives)
    ended = np.array([_ORDER.index(status) for status in trials["status"]], dtype=np.int64)
    measured = np.isfinite(costs).all(axis=1)
    fronts = np.full(len(trials), -1, dtype=np.int64)
    for group in np.unique(ended[measured]):
        members = np.flatnonzero(measured & (ended == group))
        fronts[members] = _fronts(costs[members])
    useful = [place for place, objective in enumerate(objectives) if objective.direction == "maximize"][-1:] or [0]
    # lexsort takes the most important key last; what is missing sorts behind every number.
    keys = [trials["trial_id"].to_numpy(str), costs[:, 0], costs[:, useful[0]], fronts, ~measured, ended]
    order = np.lexsort(keys)
    ranked = trials.iloc[order].reset_index(drop=True)
    return ranked.assign(rank=np.arange(1, len(ranked) + 1), front=fronts[order])


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


def _fronts(costs: NDArray[np.float64]) -> NDArray[np.int64]:
    """The front of each row: one more than the highest front of the rows that dominate it, 0 where none does."""
    order = np.lexsort(costs.T[::-1])  # a row's dominators all come before it
    sorted_costs, fronts = costs[order], np.zeros(len(costs), dtype=np.int64)
    for place in range(1, len(costs)):
        before, row = sorted_costs[:place], sorted_costs[place]
        dominating = (before <= row).all(axis=1) & (before < row).any(axis=1)
        fronts[place] = fronts[:place][dominating].max(initial=-1) + 1
    return fronts[np.argsort(order)]
