"""Statistics of plain numbers, for readers of a store: nothing here loads torch, which takes seconds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Sequence

    from numpy.typing import NDArray

__all__ = ["LEAST_PATIENTS", "LEAST_TRAININGS", "holm", "numbered", "wilson_bounds"]

LEAST_PATIENTS = 2
"""Minimum number of patients of a class for a verdict: fewer have no variance between patients."""

LEAST_TRAININGS = 3
"""Minimum number of trainings for a verdict. With two, 10 % of the comparisons of equal arms were significant; with
three or more, about 5 %."""


def numbered(names: Iterable[Hashable]) -> NDArray[np.int64]:
    """Returns a number for each name, from 0 in the order in which they first occur.

    Patients have pseudonyms, which each ingest draws anew. In the order of the names, a seed would draw other patients
    after each.
    """
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(name, len(numbers)) for name in names], dtype=np.int64)


def holm(p_values: Sequence[float]) -> list[float]:
    """Corrects p-values so that the probability of any false positive among them stays at the level (Holm 1979)."""
    p = np.asarray(p_values, dtype=float)
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    corrected = np.empty_like(p)
    corrected[order] = np.minimum(stepped, 1.0)
    return [float(value) for value in corrected]


def wilson_bounds(proportion: float, n: float, z: float) -> tuple[float, float]:
    """Returns Wilson's (1927) bounds of a proportion for an effective number of cases, which need not be an integer.

    Args:
        proportion: proportion in [0, 1]. The mean of several detectors need not be a whole number of cases either.
        n: effective number of cases.
        z: quantile of the normal or of Student's distribution.
    """
    middle = proportion + z**2 / (2 * n)
    half = z * np.sqrt(proportion * (1 - proportion) / n + (z / (2 * n)) ** 2)
    low, high = np.clip((middle + np.array([-half, half])) / (1 + z**2 / n), 0.0, 1.0)
    return float(low), float(high)
