"""Formats scores, values and times, the same way in tables, pages and the terminal."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from gansweep.scoring.metrics.formatting import plain

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from gansweep.store.schema import TestOpening

__all__ = ["openings_text", "time_text", "value_text"]


def value_text(value: Any) -> str:
    """A configuration value as text."""
    if isinstance(value, float) and math.isfinite(value):
        # A learning rate of 1.23e-05 is written so in every paper.
        text = f"{value:.3g}" if value and abs(value) < 1e-3 else plain(value)
        return text.rstrip("0").rstrip(".") if "." in text and "e" not in text else text
    return "-" if value is None else str(value)


def time_text(time: datetime) -> str:
    """A time (UTC) as text, to the minute."""
    return f"{time:%Y-%m-%d %H:%M} UTC"


def openings_text(openings: Sequence[TestOpening]) -> str:
    """The times at which the test patients were opened, with the reasons given; empty if never."""
    return "; ".join(
        time_text(opening.opened) + (f" ({opening.reason})" if opening.reason else "") for opening in openings
    )
