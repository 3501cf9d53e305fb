"""What a change is worth, by trainings of both kinds that share their seeds."""

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
        p: two-sided, of no difference.
        pairs: seeds with both.
    """

    difference: float
    low: float
    high: float
    p: float
    pairs: int


def worth(one: Sequence[float], other: Sequence[float]) -> Worth | None:
    """The mean of one minus other, seed by seed; None with fewer than two pairs of finite values."""
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
    """The same with p-values that hold for all of them together (Holm 1979)."""
    p_values = holm([one.p for one in found.values()])
    return {name: replace(one, p=p) for (name, one), p in zip(found.items(), p_values, strict=True)}
