"""Formats scores, values and times, the same way in tables, pages and the terminal."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from gansweep.store.schema import TestOpening

__all__ = ["openings_text", "score_text", "time_text", "value_text"]

_PERCENTAGES = ("accuracy", "sensitivity", "specificity", "fidelity")


def score_text(name: str, value: float | None, *, signed: bool = False) -> str:
    """A score as text: proportions in percent, everything else with three significant digits.

    Args:
        name: name of the score.
        value: None or not finite: "-".
        signed: for a difference: with a sign, and proportions in percentage points (pp).
    """
    if value is None or not math.isfinite(value):
        return "-"
    sign = "+" if signed else ""
    if any(part in name for part in _PERCENTAGES):
        return f"{100 * value:{sign}.1f} {'pp' if signed else '%'}"
    return f"{value:{sign}#.3g}".rstrip(".")  # the # keeps trailing zeros: 31.0


def value_text(value: Any) -> str:
    """A configuration value as text."""
    return f"{value:.3g}" if isinstance(value, float) else "-" if value is None else str(value)


def time_text(time: datetime) -> str:
    """A time (UTC) as text, to the minute."""
    return f"{time:%Y-%m-%d %H:%M} UTC"


def openings_text(openings: Sequence[TestOpening]) -> str:
    """The times at which the test patients were opened, with the reasons given; empty if never."""
    return "; ".join(
        time_text(opening.opened) + (f" ({opening.reason})" if opening.reason else "") for opening in openings
    )
