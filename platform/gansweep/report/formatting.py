"""Formats scores, values and times, in the same way in tables, pages and the terminal."""

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
    """Formats a configuration value."""
    if isinstance(value, float) and math.isfinite(value):
        # Papers write such a learning rate as 1.23e-05.
        text = f"{value:.3g}" if value and abs(value) < 1e-3 else plain(value)
        return text.rstrip("0").rstrip(".") if "." in text and "e" not in text else text
    return "-" if value is None else str(value)


def time_text(time: datetime) -> str:
    """Formats a time (UTC) to the minute."""
    return f"{time:%Y-%m-%d %H:%M} UTC"


def openings_text(openings: Sequence[TestOpening]) -> str:
    """Formats the times and reasons of the openings of the test patients; empty if there were none."""
    return "; ".join(
        time_text(opening.opened) + (f" ({opening.reason})" if opening.reason else "") for opening in openings
    )
