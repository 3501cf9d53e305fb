"""Reads the files of a source: the slices of its image, and its masks."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from gansweep.cohort.ingest.suitability import is_bids_name, modality_in_name
from gansweep.cohort.readers.dicom import read_dicom
from gansweep.cohort.readers.mask_grid import check_orientation, mask_flaws
from gansweep.cohort.readers.masks import read_classes
from gansweep.cohort.readers.nifti import read_nifti
from gansweep.cohort.readers.placeholders import placeholder_in
from gansweep.cohort.readers.raster import is_turned, read_raster
from gansweep.cohort.readers.sequences import sequence_in
from gansweep.cohort.readers.slices import Array, Flaw, ScanError, Slice, UnneededError, shape_text
from gansweep.cohort.sources.source import Source, format_of

if TYPE_CHECKING:
    from pathlib import Path

    from gansweep.cohort.ingest.settings import IngestSettings

__all__ = ["read_image", "read_source"]

OTHER_GRID = "a mask of its case has the grid of another image, and is not used for this one"

CLASSES = "the mask has several classes, or numbers its lesions: all values above 0 count as lesion"
TURNED = "EXIF turns the image or its mask, and not the other: the mask is used as it is shown"


def read_source(source: Source, settings: IngestSettings) -> list[Slice]:
    """Reads all slices of a source, with its masks.

    Raises:
        ScanError: the image or a mask cannot be read, or they do not fit.
        UnneededError: the file is no image that a cohort needs.
    """
    kind = format_of(source.path)
    mask, classes = _read_masks(source)
    if mask is None and settings.label_from == "mask":
        if source.mask_lost:
            raise UnneededError(OTHER_GRID, where=source.name)
        raise ScanError("has no mask to derive the label from", where=source.name)
    if source.path.suffix == ".npy":
        raise ScanError("is an array, not an image; save DICOM, NIfTI or PNG (generate --format)", where=source.name)
    flaws = (*_mask_flaws(source), *([Flaw(CLASSES)] if classes else []))
    slices = _read_nifti(source.path, settings, mask) if kind == "nifti" else read_image(source.path, settings)
    slices = [replace(part, flaws=part.flaws + flaws) for part in slices] if flaws else slices
    if mask is None or kind == "nifti":
        return slices
    masks = mask[None] if mask.ndim == 2 else mask
    if masks.shape != (len(slices), *slices[0].pixels.shape[-2:]):
        image = shape_text(slices[0].pixels.shape[-2:])
        raise ScanError(f"its mask is {shape_text(mask.shape)} pixels, the image {image}", where=source.name)
    return [replace(part, mask=np.asarray(drawn, bool)) for part, drawn in zip(slices, masks, strict=True)]


def _read_nifti(path: Path, settings: IngestSettings, mask: Any) -> list[Slice]:
    """Reads a volume as the modality that the user or its name gives. That of the name is a guess."""
    wanted = (settings.modality or "").upper()
    named = "" if wanted else modality_in_name(path.name)
    slices = read_nifti(path, settings.plane, wanted or named, mask)
    if slices[0].modality == "MR":
        slices = [replace(part, sequence=sequence_in(path.name)) for part in slices]
    if not named or is_bids_name(path.name):
        return slices
    guess = f"NIfTI does not record the modality: taken for {named} by the file's name"
    return [replace(part, guess=guess) for part in slices]


def _read_masks(source: Source) -> tuple[Any, bool]:
    """Returns the union of the masks of an image, or None if it has none, and whether one has several classes."""
    if source.mask is None:
        return None, False
    drawn, classes = _read_mask(source, source.mask)
    for path in source.more_masks:
        other, more = _read_mask(source, path)
        classes = classes or more
        if other.shape != drawn.shape:
            raise ScanError(f"its masks are {shape_text(drawn.shape)} and {shape_text(other.shape)}", where=source.name)
        drawn = drawn | other
    return drawn, classes


def _read_mask(source: Source, path: Path) -> tuple[Any, bool]:
    """Reads one mask of an image, and whether it has several classes.

    Raises:
        ScanError: it cannot be read.
    """
    try:
        if format_of(path) == format_of(source.path) == "dicom":
            check_orientation(source.path, path)
        return read_classes(path)
    except ScanError as error:
        raise ScanError(f"its mask: {placeholder_in(path) or error.what}", where=source.name) from None


def _mask_flaws(source: Source) -> tuple[Flaw, ...]:
    """Returns what is odd about the places of an image and its masks.

    NIfTI says where they lie, and a picture whether it is turned, which a mask of its stored pixels may not be.
    """
    masks = [source.mask, *source.more_masks] if source.mask else []
    kind = format_of(source.path)
    found: dict[Flaw, None] = dict.fromkeys([Flaw(OTHER_GRID)] if source.mask_lost else [])
    for mask in masks:
        if kind == format_of(mask) == "nifti":
            found |= dict.fromkeys(mask_flaws(source.path, mask))
        elif kind == format_of(mask) == "raster" and is_turned(source.path) != is_turned(mask):
            found[Flaw(TURNED)] = None
    return tuple(found)


def read_image(path: Path, settings: IngestSettings) -> list[Slice]:
    """Reads all slices of a DICOM file or a picture, in grey if the settings say so.

    Raises:
        ScanError: the file cannot be read.
        UnneededError: the file is no image that a cohort needs.
    """
    if format_of(path) == "dicom":
        slices = read_dicom(path, derived=settings.derived, assume_hu=settings.assume_hu)
    else:
        sequence = sequence_in(path.name)
        slices = [replace(part, sequence=sequence) for part in read_raster(path, settings.bits)]
    return [replace(part, pixels=_to_grey(part.pixels)) for part in slices] if settings.grey else slices


def _to_grey(pixels: Array) -> Array:
    """Returns the luma `[1, H, W]` of grey or RGB pixels `[C, H, W]` (ITU-R BT.601)."""
    if pixels.shape[0] == 1:
        return pixels
    weights = np.array([0.299, 0.587, 0.114], pixels.dtype)
    return np.tensordot(weights, pixels, axes=1)[None]
