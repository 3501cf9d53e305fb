"""Numbers and facts as people read them, the same in tables, pages and the terminal."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gansweep.store.schema import TestOpening

__all__ = ["openings_text", "score_text", "value_text"]

_SHARES = ("accuracy", "sensitivity", "specificity", "fidelity")


def score_text(name: str, value: float | None, *, signed: bool = False) -> str:
    """A score as people read it: shares in percent (a signed one in percentage points), all else to three digits."""
    if value is None or not math.isfinite(value):
        return "-"
    sign = "+" if signed else ""
    if any(part in name for part in _SHARES):
        return f"{100 * value:{sign}.1f} {'pp' if signed else '%'}"
    return f"{value:{sign}#.3g}".rstrip(".")


def value_text(value: Any) -> str:
    """A configuration value as people read it."""
    return f"{value:.3g}" if isinstance(value, float) else "-" if value is None else str(value)


def openings_text(openings: Sequence[TestOpening]) -> str:
    """When the test patients were opened, with the reason given for each further time; empty where they were not."""
    return "; ".join(
        f"{opening.opened:%Y-%m-%d %H:%M} UTC{f' ({opening.reason})' if opening.reason else ''}" for opening in openings
    )
