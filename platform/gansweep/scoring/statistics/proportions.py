"""Two proportions: the confidence interval of their difference, and the sample size that would show it."""

from __future__ import annotations

import math
from statistics import NormalDist  # loads in a tenth of the time that scipy takes

from gansweep.scoring.statistics.elementary import wilson_bounds

__all__ = ["ABOUT_ALL_PATIENTS", "cases_needed", "detectable", "difference_interval", "strictest_factor"]

ABOUT_ALL_PATIENTS = ("accuracy",)
"""Scores that are proportions of all patients of a split, whose number a sweep records.

Sensitivity is about the diseased patients and specificity about the healthy ones, whose numbers it does not record: an
interval by the number of all patients would be too narrow. AUROC and Dice are not binomial.
"""

_POWER = 0.8
_quantile = NormalDist().inv_cdf


def difference_interval(one: float, other: float, n: int, *, confidence: float = 0.95) -> tuple[float, float]:
    """Returns the confidence interval of the difference of two proportions of n cases each.

    It uses method 10 of Newcombe 1998, "Interval estimation for the difference between independent proportions", which
    combines the Wilson intervals of the two proportions. It is conservative if both proportions are of the same cases.
    """
    z = _quantile((1 + confidence) / 2)
    low_1, high_1 = wilson_bounds(one, n, z)
    low_2, high_2 = wilson_bounds(other, n, z)
    below = math.hypot(one - low_1, high_2 - other)
    above = math.hypot(high_1 - one, other - low_2)
    return one - other - below, one - other + above


def detectable(one: float, other: float, n: int, *, known_from: int, claims: int = 1) -> float:
    """Returns the true difference of two proportions that n cases each would detect with 80 % power.

    Args:
        one: first measured proportion.
        other: second measured proportion.
        n: number of cases in the future test.
        known_from: number of cases behind the measured proportions.
        claims: number of claims for which the test is corrected.
    """
    return _quantiles(claims) * math.sqrt(_variance(one, other, known_from) / n)


def cases_needed(one: float, other: float, *, known_from: int, claims: int = 1) -> int | None:
    """Returns the number of cases that would detect the difference with 80 % power at the 5 % level.

    Returns None if the difference is zero.

    Args:
        one: first measured proportion.
        other: second measured proportion.
        known_from: number of cases behind the measured proportions.
        claims: number of claims for which the test is corrected.
    """
    if one == other:
        return None
    return math.ceil(_quantiles(claims) ** 2 * _variance(one, other, known_from) / (one - other) ** 2)


def strictest_factor(claims: int) -> float:
    """Returns by how much the strictest step of Holm's correction increases the difference that one test can detect."""
    return _quantiles(claims) / _quantiles(1)


def _quantiles(claims: int) -> float:
    return _quantile(1 - 0.05 / (2 * claims)) + _quantile(_POWER)


def _variance(one: float, other: float, n: int) -> float:
    """Returns the variance of the difference per case, assuming independent cases, which is conservative.

    One success and one failure are added to each proportion: in few cases, 0 or 1 does not prove zero variance.
    """
    # Rounding of a mean difference can lead slightly outside [0, 1].
    adjusted = [(min(max(value, 0.0), 1.0) * n + 1) / (n + 2) for value in (one, other)]
    return sum(value * (1 - value) for value in adjusted)
