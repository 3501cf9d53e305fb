"""Which trials keep the constraints of a sweep. Search, ranking and export share this one definition."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd
    from numpy.typing import NDArray

    from gansweep.constraint import Constraint
    from gansweep.store.schema import TrialRow

__all__ = ["COSTS", "broken", "column_of", "constrained_values", "constraints_text", "excesses"]

COSTS = ("seconds_per_iteration", "peak_memory_gib")
"""What a constraint can bound besides scores: columns of a trial's row."""


def constrained_values(row: TrialRow) -> dict[str, float]:
    """Returns the scores and costs of a trial's last report, as far as they are known."""
    values = dict(row.scores)
    pace = row.seconds_per_iteration
    if pace is None and row.iterations and row.seconds_training:
        pace = row.seconds_training / row.iterations  # rows of earlier versions
    costs = dict(zip(COSTS, (pace, row.peak_memory_gib), strict=True))
    return values | {name: cost for name, cost in costs.items() if cost is not None}


def excesses(row: TrialRow, constraints: Sequence[Constraint]) -> dict[str, float]:
    """Returns how far a trial is beyond each constraint, as Optuna's samplers take it: not above 0 within it."""
    values = constrained_values(row)
    return {str(place): constraint.excess(values) for place, constraint in enumerate(constraints)}


def broken(values: Mapping[str, float], constraints: Sequence[Constraint]) -> str:
    """Describes the constraints that values do not keep, such as `fid = 30 > 20`; empty if they keep all."""
    return "; ".join(constraint.described(values) for constraint in constraints if constraint.excess(values) > 0)


def constraints_text(constraints: Sequence[Constraint]) -> str:
    """Returns the constraints as text: `fid<=20, accuracy>=0.8`."""
    return ", ".join(str(constraint) for constraint in constraints)


def column_of(trials: pd.DataFrame, name: str) -> NDArray[np.float64]:
    """Returns a score or cost of each trial, `[trials]`; NaN where it is not known.

    Args:
        trials: one row per trial, as returned by `Store.latest_trials`.
        name: name of the score or cost.
    """
    values = np.full(len(trials), math.nan)
    if name in trials:
        values = trials[name].to_numpy(np.float64, na_value=math.nan)
    if name == "seconds_per_iteration" and {"seconds_training", "iterations"} <= set(trials.columns):
        # Rows of earlier versions have only these.
        seconds = trials["seconds_training"].to_numpy(np.float64, na_value=0.0)
        iterations = trials["iterations"].to_numpy(np.float64, na_value=0.0)
        usable = np.isnan(values) & (seconds > 0) & (iterations > 0)
        values = np.where(usable, seconds / np.maximum(iterations, 1.0), values)
    return values
