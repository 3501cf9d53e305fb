"""Maps Hounsfield or scanner units to [0, 1] and back: windows, percentiles and the lesion view.

The lesion view shows soft tissue *and* calcification (80 to 1000 HU) in one channel. A brain window shows a faint and a
dense calcification as the same white. A bone window shows both, but no brain. The lesion curve is linear in soft tissue
(-20 to 80 HU take half of the range, 0.005 per HU; the brain window has 0.0125), logarithmic from 80 to 1000 HU, and
flat above.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from gansweep.errors import CohortError

if TYPE_CHECKING:
    from gansweep.cohort.readers.slices import Array

__all__ = ["WINDOWS", "Window", "percentile_window", "window_named"]

SOFT_TOP_HU = 80.0  # white and grey matter and fresh blood are below; calcium, bone and metal above
LESION_TOP_HU = 1000.0  # the densest calcifications; dense bone is above
# (HU, shown value) of the linear part. Air and fat get 8 % of the range, soft tissue 52 %, calcification the rest.
LESION_KNOTS = ((-1000.0, 0.0), (-200.0, 0.02), (-20.0, 0.08), (80.0, 0.60))
LOG_SCALE_HU = 120.0  # the slope just above 80 HU is 0.0015 per HU and has halved 120 HU further up


@dataclass(frozen=True)
class Window:
    """A monotonic map from the scanner's units to [0, 1].

    Args:
        name: the name the user gives; recorded in `cohort.json`.
        low: the value shown as 0.
        high: the value shown as 1.
        companded: whether the lesion curve replaces the straight line between them.
    """

    name: str
    low: float
    high: float
    companded: bool = False

    def apply(self, values: Array) -> Array:
        """Maps values in the scanner's units to [0, 1], float32 of the same shape."""
        if self.companded:
            return _lesion_curve(values)
        return np.asarray(np.clip((values - self.low) / (self.high - self.low), 0.0, 1.0), np.float32)

    def invert(self, shown: Any) -> Array:
        """The inverse of `apply`: maps shown values in [0, 1] to the scanner's units, float32 of the same shape."""
        shown = np.clip(np.asarray(shown, np.float64), 0.0, 1.0)
        if not self.companded:
            return np.asarray(self.low + shown * (self.high - self.low), np.float32)
        knots = np.array(LESION_KNOTS)
        below = np.interp(shown, knots[:, 1], knots[:, 0])
        fraction = np.clip((shown - knots[-1, 1]) / (1.0 - knots[-1, 1]), 0.0, None)
        above = SOFT_TOP_HU + LOG_SCALE_HU * np.expm1(fraction * np.log1p((LESION_TOP_HU - SOFT_TOP_HU) / LOG_SCALE_HU))
        return np.asarray(np.where(shown <= knots[-1, 1], below, above), np.float32)


def _lesion_curve(hu: Array) -> Array:
    """Piecewise linear up to 80 HU, then 0.6 + 0.4 log(1 + (hu - 80) / 120) / log(1 + 920 / 120), 1 from 1000 HU."""
    knots = np.array(LESION_KNOTS)
    below = np.interp(hu, knots[:, 0], knots[:, 1])
    excess = np.clip(hu, SOFT_TOP_HU, LESION_TOP_HU) - SOFT_TOP_HU
    fraction = np.log1p(excess / LOG_SCALE_HU) / np.log1p((LESION_TOP_HU - SOFT_TOP_HU) / LOG_SCALE_HU)
    return np.asarray(below + (1.0 - knots[-1, 1]) * fraction, np.float32)


WINDOWS = {
    "lesion": Window("lesion", LESION_KNOTS[0][0], LESION_TOP_HU, companded=True),
    "brain": Window("brain", 0.0, 80.0),
    "subdural": Window("subdural", -20.0, 180.0),
    "stroke": Window("stroke", 20.0, 60.0),
    "soft": Window("soft", -160.0, 240.0),
    "bone": Window("bone", -800.0, 2000.0),
    "full": Window("full", 0.0, 1.0),
}
"""Windows by name, in Hounsfield units. "full" is for values that are already in [0, 1]."""


def window_named(text: str) -> Window:
    """Returns the window that `text` describes.

    Args:
        text: a name in `WINDOWS`, or `LOW,HIGH` in the scanner's units.

    Raises:
        CohortError: `text` is neither, or LOW is not below HIGH.
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
    """Returns the window of one MR series: from its darkest value to the 99.5th percentile of its foreground.

    MR intensities have no unit. Scaling by robust percentiles of the foreground follows Nyul and Udupa (1999), "On
    standardizing the MR image intensity scale". The foreground consists of the pixels that are brighter than a tenth of
    the way from the minimum to the 99.5th percentile of all pixels.

    Args:
        slices: slices of the series, `[C, H, W]` each.
    """
    # At most about 65536 values per slice: percentiles need no more, and a series may have hundreds of slices.
    values = np.concatenate([pixels.ravel()[:: max(1, pixels.size // 65536)] for pixels in slices])
    foreground = values[values > values.min() + 0.1 * (np.percentile(values, 99.5) - values.min())]
    if foreground.size < 16:  # a blank series has no foreground
        foreground = values
    high = float(np.percentile(foreground, 99.5))
    low = float(min(values.min(), high - 1e-6))  # a constant series must not give an empty window
    return Window("percentile", low, high)
