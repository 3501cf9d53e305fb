"""Warns about what files do not say, and about what is odd in them."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from gansweep.errors import counted

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from gansweep.cohort.ingest.reading import Picture

__all__ = ["flaw_warnings", "guess_warnings", "unit_warnings"]

AIR_HU = -500.0  # only air and lung are below
MOST_HU = 32_767.0  # metal is below, in scanners with an extended range too


def guess_warnings(pictures: Sequence[Picture]) -> list[str]:
    """Returns what readers assumed because the files do not state it, with the number of images and their values."""
    guesses = Counter(picture.guess for picture in pictures if picture.guess)
    warnings = []
    for guess, count in guesses.items():
        values = [picture for picture in pictures if picture.guess == guess]
        low = min(picture.low for picture in values)
        high = max(picture.high for picture in values)
        warnings.append(
            f"{guess} ({counted(count, 'image')}, values {low:g} to {high:g}); set it with --modality CT or MR"
        )
    return warnings


def flaw_warnings(pictures: Sequence[Picture]) -> list[str]:
    """What is odd in files that are used all the same, with the number of images and of values."""
    images: Counter[str] = Counter()
    values: dict[tuple[str, Path], int] = {}
    for picture in pictures:
        for what, count in picture.flaws:
            images[what] += 1
            values[what, picture.source.path] = count
    warnings = []
    for what, count in images.items():
        files = [number for (flaw, _), number in values.items() if flaw == what]
        total = f", {counted(sum(files), 'value')}" if sum(files) else ""
        found = f"{counted(count, 'image')} of {counted(len(files), 'file')}{total}"
        warnings.append(f"{what} ({found}; column flaws of manifest.parquet)")
    return warnings


def unit_warnings(pictures: Sequence[Picture]) -> list[str]:
    """Returns warnings about CT whose values are unusual for Hounsfield units.

    Many files say so by a slope of 1 and an intercept of 0, although their values are grey levels or begin at 0.
    """
    scans = [picture for picture in pictures if picture.modality == "CT"]
    warnings = []
    airless = [picture.low for picture in scans if picture.low > AIR_HU]
    if airless:
        span = (
            f"is {min(airless):g}" if min(airless) == max(airless) else f"is from {min(airless):g} to {max(airless):g}"
        )
        warnings.append(
            f"{len(airless)} of {len(scans)} CT images show no air, their darkest value {span} HU: they are cropped, "
            "or not in Hounsfield units"
        )
    extreme = [picture.high for picture in scans if picture.high > MOST_HU]
    if extreme:
        warnings.append(f"{len(extreme)} of {len(scans)} CT images have values up to {max(extreme):g} HU")
    return warnings
