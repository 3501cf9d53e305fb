"""Two proportions: the interval of their difference, and how many cases would show it."""

from __future__ import annotations

import math

from scipy import stats

from gansweep.scoring.statistics.verdicts import wilson_bounds

__all__ = ["cases_needed", "detectable", "difference_interval", "strictest_factor"]

_POWER = 0.8


def difference_interval(one: float, other: float, n: int, *, confidence: float = 0.95) -> tuple[float, float]:
    """The interval of the difference of two proportions of n cases each.

    Newcombe 1998, "Interval estimation for the difference between independent proportions", method 10: it combines the
    Wilson intervals of the two proportions. Where both are of the same cases, it is conservative.
    """
    z = float(stats.norm.ppf((1 + confidence) / 2))
    low_1, high_1 = wilson_bounds(one, n, z)
    low_2, high_2 = wilson_bounds(other, n, z)
    below = math.hypot(one - low_1, high_2 - other)
    above = math.hypot(high_1 - one, other - low_2)
    return one - other - below, one - other + above


def detectable(one: float, other: float, n: int, *, known_from: int, claims: int = 1) -> float:
    """The true difference of two proportions that n cases each would show four times out of five.

    Args:
        one: a proportion, as measured.
        other: another.
        n: cases that will be looked at.
        known_from: cases that the proportions were measured on.
        claims: number of claims that the test is corrected for.
    """
    return _quantiles(claims) * math.sqrt(_variance(one, other, known_from) / n)


def cases_needed(one: float, other: float, *, known_from: int, claims: int = 1) -> int | None:
    """The cases that would show this difference four times out of five at the 5 % level; None if there is none.

    Args:
        one: a proportion, as measured.
        other: another.
        known_from: cases that they were measured on.
        claims: number of claims that the test is corrected for.
    """
    if one == other:
        return None
    return math.ceil(_quantiles(claims) ** 2 * _variance(one, other, known_from) / (one - other) ** 2)


def strictest_factor(claims: int) -> float:
    """By how much Holm's strictest step for so many claims widens what a single test can detect."""
    return _quantiles(claims) / _quantiles(1)


def _quantiles(claims: int) -> float:
    return float(stats.norm.ppf(1 - 0.05 / (2 * claims)) + stats.norm.ppf(_POWER))


def _variance(one: float, other: float, n: int) -> float:
    """Of the difference per case, as if the cases were not the same: conservative.

    One success and one failure are added to each proportion: of few cases, 0 and 1 are no proof of no variance.
    """
    # A mean difference that was rounded can lead out of [0, 1].
    adjusted = [(min(max(value, 0.0), 1.0) * n + 1) / (n + 2) for value in (one, other)]
    return sum(value * (1 - value) for value in adjusted)
