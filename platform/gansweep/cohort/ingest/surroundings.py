"""Measures what surrounds the anatomy in an image: its edges, and its background."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gansweep.cohort.ingest.suitability import TOMOGRAPHY

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gansweep.cohort.intensity import Window
    from gansweep.cohort.readers.slices import Slice

__all__ = ["background_of", "edge_of"]


def edge_of(part: Slice, window: Window) -> float:
    """Returns the median of the outermost pixels, as a fraction of the range; 0 for CT and MR.

    The background of CT and MR has a known value.
    """
    if part.modality in TOMOGRAPHY:
        return 0.0
    pixels = part.pixels
    sides = (pixels[:, 0], pixels[:, -1], pixels[:, :, 0], pixels[:, :, -1])
    edge = np.median(np.concatenate(sides, axis=1))
    return float(edge if part.modality == "raster" else window.apply(np.asarray(edge, np.float32)))


def background_of(pixels: NDArray[np.uint16]) -> float:
    """Returns the fraction of pixels that have the most frequent of 64 grey levels.

    Levels as coarse as these hide the noise of compression and resampling. The background need not be the darkest: that
    of a skull-stripped CT is often 0 HU.
    """
    levels = np.bincount((pixels >> 10).ravel())
    return float(levels.max() / pixels.size)
