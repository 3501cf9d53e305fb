"""Formats scores, values and times, in the same way in tables, pages and the terminal."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from gansweep.scoring.metrics.formatting import plain

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from gansweep.store.sweep_info import TestOpening

__all__ = ["duration_text", "openings_text", "time_text", "value_text"]


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


def duration_text(seconds: float) -> str:
    """Formats a duration in seconds, minutes or hours."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def openings_text(openings: Sequence[TestOpening]) -> str:
    """Formats the times and reasons of the openings of the test patients; empty if there were none."""
    texts = []
    for opening in openings:
        text = time_text(opening.opened)
        texts.append(f"{text} ({opening.reason})" if opening.reason else text)
    return "; ".join(texts)
