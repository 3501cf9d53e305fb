"""Scores as people read them: plain digits, and proportions in percent."""

from __future__ import annotations

import math

__all__ = ["is_proportion", "plain", "score_text"]

_PERCENTAGES = ("accuracy", "sensitivity", "specificity", "fidelity")
_MOST_DECIMALS = 8


def plain(value: float, digits: int = 3, *, signed: bool = False) -> str:
    """A number with so many significant digits and without an exponent; whole parts are never rounded: 3131.

    Args:
        value: a finite number.
        digits: significant digits.
        signed: whether positive numbers have a sign.
    """
    magnitude = math.floor(math.log10(abs(value))) if value else 0
    decimals = min(max(digits - 1 - magnitude, 0), _MOST_DECIMALS)
    return f"{value:{'+' if signed else ''}.{decimals}f}"


def is_proportion(name: str) -> bool:
    """Whether a score is shown in percent: accuracy, sensitivity, specificity and fidelity, and their differences."""
    return any(part in name for part in _PERCENTAGES)


def score_text(name: str, value: float | None, *, signed: bool = False) -> str:
    """A score as text: proportions in percent, everything else with three significant digits.

    Args:
        name: name of the score.
        value: None or not finite: "-".
        signed: for a difference: with a sign, and proportions in percentage points (pp).
    """
    if value is None or not math.isfinite(value):
        return "-"
    if is_proportion(name):
        return f"{100 * value:{'+' if signed else ''}.1f} {'pp' if signed else '%'}"
    return plain(value, signed=signed)
