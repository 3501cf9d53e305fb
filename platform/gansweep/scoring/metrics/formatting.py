"""Formats scores and counts for readers: plain digits, and proportions in percent."""

from __future__ import annotations

import math

from gansweep.errors import counted

__all__ = ["is_proportion", "of_asked", "p_text", "plain", "points", "score_text", "short"]

_PERCENTAGES = ("accuracy", "sensitivity", "specificity", "auroc", "fidelity", "dice")
_LEVEL = 0.05  # significance level of every test
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
    sign = "+z" if signed else ""  # z: a number that rounds to zero has no minus
    if abs(value) >= _MOST_EXACT:
        return f"{value:{sign}.{digits - 1}e}"
    magnitude = math.floor(math.log10(abs(value))) if value else 0
    decimals = min(max(digits - 1 - magnitude, 0), _MOST_DECIMALS)
    return f"{value:{sign}.{decimals}f}"


def short(value: float, digits: int = 3) -> str:
    """Formats a number as `plain` does, without zeros at the end: `0.5`, `12345`.

    Args:
        value: finite number.
        digits: number of significant digits.
    """
    text = plain(value, digits)
    return text.rstrip("0").rstrip(".") if "." in text and "e" not in text else text


def is_proportion(name: str) -> bool:
    """Returns whether a score is shown in percent: those of detectors and segmenters, fidelity, and differences."""
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
        return f"{points(value)} pp" if signed else f"{100 * value:.1f} %"
    return plain(value, signed=signed)


def points(difference: float) -> str:
    """Formats a difference of proportions in percentage points. A change that rounds to zero has no minus."""
    return f"{100 * difference:+z.1f}"


def p_text(p: float) -> str:
    """Formats a p-value. One below the level is not rounded to it: the verdict beside it would seem wrong."""
    if p < 0.001:
        return "p < 0.001"
    text = f"{p:.3f}"
    return f"p < {_LEVEL}" if p < _LEVEL <= float(text) else f"p = {text}"


def of_asked(n: int, asked: int) -> str:
    """Returns how many of the trials that were asked for: `3 of 5 trials`. A resumed sweep may have more."""
    return f"{n} of {counted(asked, 'trial')}" if n <= asked else f"{counted(n, 'trial')}, {asked} asked for,"
