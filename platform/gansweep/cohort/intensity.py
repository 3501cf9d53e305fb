"""From Hounsfield or scanner units to [0, 1] and back: windows, percentiles, and the lesion view.

The lesion view is one channel that keeps soft tissue apart *and* the 80-1000 HU where calcification lies. A brain
window shows a faint calcification and a dense one as the same white; a bone window shows both and no brain. Its curve
is linear in soft tissue (-20 to 80 HU take half of the range: 5 thousandths per HU, against 12.5 for the brain window)
and logarithmic above (80 to 1000 HU), flat only for bone beyond.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from gansweep.errors import CohortError

if TYPE_CHECKING:
    from gansweep.cohort.scan import Array

__all__ = ["WINDOWS", "Window", "percentile_window", "window_named"]

SOFT_TOP_HU = 80.0
LESION_KNOTS = ((-1000.0, 0.0), (-200.0, 0.02), (-20.0, 0.08), (80.0, 0.60))
LESION_TOP_HU, LOG_SCALE_HU = 1000.0, 120.0


@dataclass(frozen=True)
class Window:
    """A monotonic map from the scanner's units to [0, 1].

    Args:
        name: as the user writes it; recorded in `cohort.json`.
        low: value shown as 0.
        high: value shown as 1.
        companded: the lesion curve between them instead of a straight line.
    """

    name: str
    low: float
    high: float
    companded: bool = False

    def apply(self, values: Array) -> Array:
        """Values in [0, 1], float32."""
        if self.companded:
            return _lesion_curve(values)
        return np.asarray(np.clip((values - self.low) / (self.high - self.low), 0.0, 1.0), np.float32)

    def invert(self, shown: Any) -> Array:
        """Values in the scanner's units that `apply` would show as `shown` (in [0, 1])."""
        shown = np.clip(np.asarray(shown, np.float64), 0.0, 1.0)
        if not self.companded:
            return np.asarray(self.low + shown * (self.high - self.low), np.float32)
        knots = np.array(LESION_KNOTS)
        below = np.interp(shown, knots[:, 1], knots[:, 0])
        share = np.clip((shown - knots[-1, 1]) / (1.0 - knots[-1, 1]), 0.0, None)
        above = SOFT_TOP_HU + LOG_SCALE_HU * np.expm1(share * np.log1p((LESION_TOP_HU - SOFT_TOP_HU) / LOG_SCALE_HU))
        return np.asarray(np.where(shown <= knots[-1, 1], below, above), np.float32)


def _lesion_curve(hu: Array) -> Array:
    knots = np.array(LESION_KNOTS)
    below = np.interp(hu, knots[:, 0], knots[:, 1])
    excess = np.clip(hu, SOFT_TOP_HU, LESION_TOP_HU) - SOFT_TOP_HU
    share = np.log1p(excess / LOG_SCALE_HU) / np.log1p((LESION_TOP_HU - SOFT_TOP_HU) / LOG_SCALE_HU)
    return np.asarray(below + (1.0 - knots[-1, 1]) * share, np.float32)


WINDOWS = {
    "lesion": Window("lesion", LESION_KNOTS[0][0], LESION_TOP_HU, companded=True),
    "brain": Window("brain", 0.0, 80.0),
    "subdural": Window("subdural", -20.0, 180.0),
    "stroke": Window("stroke", 20.0, 60.0),
    "soft": Window("soft", -160.0, 240.0),
    "bone": Window("bone", -800.0, 2000.0),
    "full": Window("full", 0.0, 1.0),
}
"""Windows by name, in Hounsfield units ("full": values that are in [0, 1] already)."""


def window_named(text: str) -> Window:
    """The window a user asked for: a name, or `LOW,HIGH` in the scanner's units.

    Raises:
        CohortError: neither.
    """
    if text in WINDOWS:
        return WINDOWS[text]
    parts = text.split(",")
    try:
        low, high = (float(part) for part in parts)
    except ValueError:
        known = ", ".join(sorted([*WINDOWS, "percentile"]))
        raise CohortError(f"unknown window {text!r}", fix=f"use LOW,HIGH or one of {known}") from None
    if not (np.isfinite([low, high]).all() and low < high):
        raise CohortError(f"window {text!r} is empty", fix="give LOW,HIGH with LOW below HIGH")
    return Window(text, low, high)


def percentile_window(slices: list[Array]) -> Window:
    """The window of one MR series: from its darkest value to the 99.5th percentile of its foreground.

    MR intensities have no unit; scaling by robust percentiles of the foreground follows Nyul and Udupa (1999). The
    foreground is what is brighter than a tenth of the 99.5th percentile of everything.
    """
    values = np.concatenate([pixels.ravel()[:: max(1, pixels.size // 65536)] for pixels in slices])
    foreground = values[values > values.min() + 0.1 * (np.percentile(values, 99.5) - values.min())]
    if foreground.size < 16:
        foreground = values
    high = float(np.percentile(foreground, 99.5))
    low = float(min(values.min(), high - 1e-6))
    return Window("percentile", low, high)
