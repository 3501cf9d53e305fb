"""Finds images of one case by the mask that they share, and which of them it fits if their grids differ.

A prostate is outlined on T2, and the name of the mask is that of the case: it has the grid of T2, not that of ADC.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from gansweep.cohort.readers.mask_grid import fits
from gansweep.cohort.readers.raster import picture_size
from gansweep.cohort.sources.source import format_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

__all__ = ["cases_of", "fitting_masks"]


def cases_of(masks: Mapping[Path, Sequence[Path]]) -> dict[Path, Path]:
    """Returns the first image of the case of each image that shares a mask with others: they show one patient.

    Args:
        masks: the masks of each image.
    """
    return {image: min(images) for images in _owners_of(masks).values() if len(images) > 1 for image in images}


def fitting_masks(masks: Mapping[Path, Sequence[Path]]) -> tuple[dict[Path, list[Path]], set[Path]]:
    """Takes a mask from the images that it does not fit, if it fits another.

    A mask that fits none is left to the reader, which says what is wrong.

    Args:
        masks: the masks of each image.

    Returns:
        (the masks of each image that has some, the images from which one was taken).
    """
    taken: dict[Path, set[Path]] = defaultdict(set)
    for mask, images in _owners_of(masks).items():
        if len(images) < 2:
            continue
        others = [image for image in images if not _fits(image, mask)]
        if len(others) < len(images):
            for image in others:
                taken[image].add(mask)
    kept = {image: [path for path in paths if path not in taken[image]] for image, paths in masks.items()}
    return {image: paths for image, paths in kept.items() if paths}, {image for image, lost in taken.items() if lost}


def _owners_of(masks: Mapping[Path, Sequence[Path]]) -> dict[Path, list[Path]]:
    owners: dict[Path, list[Path]] = defaultdict(list)
    for image, paths in masks.items():
        for path in paths:
            owners[path].append(image)
    return owners


def _fits(image: Path, mask: Path) -> bool:
    """Returns whether a mask fits an image as far as their headers say. DICOM is left to the reader."""
    formats = {format_of(image), format_of(mask)}
    if formats == {"nifti"}:
        return fits(image, mask)
    return formats != {"raster"} or picture_size(image) == picture_size(mask)
