"""Slices, which every reader returns, and the errors that readers raise."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gansweep.cohort.readers.acquisition import Acquisition
from gansweep.errors import CohortError, one_line

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Array", "Flaw", "Mask", "ScanError", "Slice", "UnneededError", "reason_of", "shape_text"]

# From the first quote that opens to the last that closes: a quoted name may contain another quote.
_QUOTED = re.compile(r"""(?<!\w)b?['"].*['"](?!\w)""", re.DOTALL)

Array = NDArray[np.float32]
Mask = NDArray[np.bool_]


class ScanError(CohortError):
    """Raised for a file that should be an image but cannot be read as one."""


class UnneededError(CohortError):
    """Raised for a valid file that does not show anatomy: a localizer, a report, a contour."""


class Flaw(NamedTuple):
    """Something odd in a file that is used all the same.

    Args:
        what: what is odd, and what was made of it.
        values: how many values of the file it concerns; 0: the file as a whole.
    """

    what: str
    values: int = 0


@dataclass(frozen=True)
class Slice:
    """One two-dimensional image.

    Args:
        pixels: `[C, H, W]`: Hounsfield units for CT, the scanner's units for MR, values in [0, 1] for "raster".
        modality: "CT", "MR", "raster", or another DICOM modality.
        spacing_mm: between rows and between columns; None if unknown.
        aspect: height of a pixel divided by its width, for files that give it and no spacing.
        series: groups the slices that share one intensity normalisation. Never written out.
        position: sorts the slices of a series.
        place: equal for slices of a series that show the same place of the patient; () if the file does not give it.
        patient: the patient identifier in the file, or "". Ingest hashes it; it is never written out.
        issuer: the issuer of that identifier, or "". Never written out.
        study: groups images of one patient if the file does not name the patient. Never written out.
        mask: lesion pixels `[H, W]`, or None if there is no mask.
        depth: how the file stores its values: `8-bit`, `12-bit`, `float`.
        normal: unit vector perpendicular to the slice in the patient's coordinates, or None if unknown.
        guess: what the reader assumed because the file does not say it, or "".
        remark: what of the file was left out, or "".
        flaws: what is odd in the file.
        sequence: the MR sequence that the file names, as `sequence_in` gives it, or "".
        acquisition: how the image was made, and of whom. Never written out.
    """

    pixels: Array
    modality: str
    spacing_mm: tuple[float, float] | None = None
    aspect: float = 1.0
    series: str = ""
    position: float = 0.0
    place: tuple[float, ...] = ()
    patient: str = field(default="", repr=False)
    issuer: str = field(default="", repr=False)
    study: str = field(default="", repr=False)
    mask: Mask | None = None
    depth: str = ""
    normal: tuple[float, float, float] | None = None
    guess: str = ""
    remark: str = ""
    flaws: tuple[Flaw, ...] = ()
    sequence: str = ""
    acquisition: Acquisition = field(default=Acquisition(), repr=False)

    @property
    def plane(self) -> str:
        """The anatomical plane closest to the slice, or "" if its orientation is unknown."""
        if self.normal is None:
            return ""
        return ("sagittal", "coronal", "axial")[int(np.argmax(np.abs(self.normal)))]

    @property
    def proportions(self) -> tuple[float, float]:
        """Distances between rows and between columns: in millimetres if they are known, else in pixel widths."""
        return self.spacing_mm or (self.aspect, 1.0)


def reason_of(error: Exception, path: Path) -> str:
    """Returns a library's error message in one line, without what may contain a patient's name.

    This is the file's path, and everything in quotes: libraries quote the values that they cannot use.
    """
    text = str(error)
    for written in (repr(str(path)), f'"{path}"', str(path)):
        text = text.replace(written, "")
    text = one_line(_QUOTED.sub("(a value)", text), 160)
    return type(error).__name__ if text in {"", "(a value)"} else text


def shape_text(shape: tuple[int, ...]) -> str:
    """Formats a shape for messages: `512x512`."""
    return "x".join(map(str, shape))
