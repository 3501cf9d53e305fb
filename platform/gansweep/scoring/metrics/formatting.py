"""Formats scores for readers: plain digits, and proportions in percent."""

from __future__ import annotations

import math

__all__ = ["is_proportion", "plain", "score_text"]

_PERCENTAGES = ("accuracy", "sensitivity", "specificity", "fidelity")
_MOST_DECIMALS = 8
_MOST_EXACT = 1e15


def plain(value: float, digits: int = 3, *, signed: bool = False) -> str:
    """Formats a number with the given number of significant digits and no exponent.

    Never rounds the integer part: 3131. Only numbers of 1e15 and above get an exponent: they have
    more digits than a float.

    Args:
        value: finite number.
        digits: number of significant digits.
        signed: whether to show the sign of positive numbers.
    """
    sign = "+" if signed else ""
    if abs(value) >= _MOST_EXACT:
        return f"{value:{sign}.{digits - 1}e}"
    magnitude = math.floor(math.log10(abs(value))) if value else 0
    decimals = min(max(digits - 1 - magnitude, 0), _MOST_DECIMALS)
    return f"{value:{sign}.{decimals}f}"


def is_proportion(name: str) -> bool:
    """Returns whether a score is shown in percent: accuracy, sensitivity, specificity, fidelity and differences."""
    return any(part in name for part in _PERCENTAGES)


def score_text(name: str, value: float | None, *, signed: bool = False) -> str:
    """Formats a score: proportions in percent, other scores with three significant digits.

    Args:
        name: name of the score.
        value: score; None and non-finite values become "-".
        signed: whether the score is a difference: shown with a sign, and proportions in percentage points (pp).
    """
    if value is None or not math.isfinite(value):
        return "-"
    if is_proportion(name):
        return f"{100 * value:{'+' if signed else ''}.1f} {'pp' if signed else '%'}"
    return plain(value, signed=signed)
