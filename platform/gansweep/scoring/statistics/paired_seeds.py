"""Effect of a change of a configuration, from trainings with and without it that share their seeds."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

from gansweep.scoring.statistics.elementary import holm

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Worth", "corrected", "worth"]


@dataclass(frozen=True)
class Worth:
    """A mean difference over seeds.

    Args:
        difference: mean of one minus other.
        low, high: 95 % interval (Student's, paired over seeds).
        p: two-sided p-value of no difference.
        pairs: number of seeds with both values.
    """

    difference: float
    low: float
    high: float
    p: float
    pairs: int


def worth(one: Sequence[float], other: Sequence[float]) -> Worth | None:
    """Returns the mean of one minus other, paired by seed; None if fewer than two pairs have finite values."""
    differences = np.asarray(one, dtype=float) - np.asarray(other, dtype=float)
    differences = differences[np.isfinite(differences)]
    count = len(differences)
    if count < 2:
        return None
    mean = float(differences.mean())
    error = float(differences.std(ddof=1) / np.sqrt(count))
    if error == 0:
        return Worth(mean, mean, mean, 1.0 if mean == 0 else 0.0, count)
    t = stats.t(count - 1)
    half = float(t.ppf(0.975)) * error
    return Worth(mean, mean - half, mean + half, float(2 * t.sf(abs(mean) / error)), count)


def corrected(found: Mapping[str, Worth]) -> dict[str, Worth]:
    """Returns the differences with p-values that are corrected for all of them together (Holm 1979)."""
    p_values = holm([difference.p for difference in found.values()])
    corrected_by_name = {}
    for name, p in zip(found, p_values, strict=True):
        corrected_by_name[name] = replace(found[name], p=p)
    return corrected_by_name
