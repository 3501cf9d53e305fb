"""What every reader gives: two-dimensional slices with what is needed to use them, and nothing that names a patient."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gansweep.errors import CohortError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Array", "Mask", "ScanError", "Slice", "UnneededError", "reason_of"]

Array = NDArray[np.float32]
Mask = NDArray[np.bool_]


class ScanError(CohortError):
    """A file that should be an image and cannot be read as one."""


class UnneededError(CohortError):
    """A sound file that is no image of a patient's anatomy: a localizer, a report, a contour."""


@dataclass(frozen=True)
class Slice:
    """One two-dimensional image.

    Args:
        pixels: `[C, H, W]`; Hounsfield units for CT, values in [0, 1] for "raster", the scanner's own units for MR.
        modality: "CT", "MR", "raster", or another DICOM modality.
        spacing_mm: between rows and between columns; None where unknown.
        series: groups the slices that share one intensity normalisation; never written out.
        position: order within the series.
        patient: the identifier found in the file ("" where none); hashed by ingest, never written out.
        issuer: who gave the patient that identifier, "" where the file does not say; never written out.
        study: groups what was taken of one patient at one time, where the patient is not named; never written out.
        mask: `[H, W]`, lesion pixels, or None where nobody has drawn any.
    """

    pixels: Array
    modality: str
    spacing_mm: tuple[float, float] | None = None
    series: str = ""
    position: float = 0.0
    patient: str = field(default="", repr=False)
    issuer: str = field(default="", repr=False)
    study: str = field(default="", repr=False)
    mask: Mask | None = None


def reason_of(error: Exception, path: Path) -> str:
    """What a library says of a file, in one line and without the file's path, which may name a patient."""
    text = str(error)
    for written in (repr(str(path)), f'"{path}"', str(path)):
        text = text.replace(written, "")
    return (" ".join(text.split()) or type(error).__name__)[:160]
