"""Reads masks of any supported format, and tells masks from images by their values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from gansweep.cohort.readers.dicom_header import is_dicom, open_dicom
from gansweep.cohort.readers.dicom_kind import check_mask_kind
from gansweep.cohort.readers.limits import check_values
from gansweep.cohort.readers.quiet import quiet
from gansweep.cohort.readers.raster import open_picture
from gansweep.cohort.readers.slices import Mask, ScanError, UnneededError, reason_of
from gansweep.cohort.readers.stored_values import decode

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["looks_drawn", "read_classes", "read_mask"]

COLOUR_NOISE = 32  # of 255: the colours of masks differ by more, the chroma noise of a grey JPEG by less
MAX_CLASSES = 16  # of a mask; larger values may be grey levels
MAX_INSTANCES = 4096  # of a mask that numbers its lesions
LEAST_AREAS = 0.9  # share of such numbers that fill areas; a lesion may be a few pixels
ALONG = 0.9  # share of the outermost pixels from which on a mask marks the edges of its image
DRAWN = 0.95  # share of the pixels of a compressed mask that are black or bright

Marks = Literal["", "nothing", "edges", "inside"]


def read_mask(path: Path) -> Mask:
    """Reads a mask.

    The values of the file determine which pixels are lesion pixels:

    - small integers are classes: all above 0;
    - fractions are probabilities: all above 0.5;
    - larger values are classes if each fills an area and 0 is one: all above 0;
    - other larger values are grey levels: all above half of the largest;
    - colours are classes: all except black. If a palette image has no black, its first colour is the background;
    - in signed 8 bits, -1 without any other value but 0 is 255.

    The stored values count also in a TIFF in which 0 is white, and in DICOM.

    Returns:
        `[H, W]`, `[X, Y, Z]` in the canonical orientation for NIfTI, or `[frames, H, W]` for DICOM of several frames.

    Raises:
        ScanError: the file cannot be read as a mask.
    """
    return read_classes(path)[0]


def read_classes(path: Path) -> tuple[Mask, bool]:
    """Reads a mask as `read_mask` does, and says whether it has several classes or numbers of lesions.

    Raises:
        ScanError: the file cannot be read as a mask.
    """
    values = _with_positive(_mask_values(path), path)
    lossy = _is_lossy(path)
    if _has_colours(values, path):
        colours = bool(np.ptp(values, axis=-1).max() > COLOUR_NOISE)
        values = values.max(axis=-1)
        return np.asarray(values > (COLOUR_NOISE if colours else _threshold(values, lossy=lossy))), False
    threshold = _threshold(values, lossy=lossy)
    several = threshold == 0 and not lossy and len({level for level in _levels_up_to(values, 2) if level > 0}) > 1
    return np.asarray(values > threshold), several


def looks_drawn(path: Path) -> bool:
    """Returns whether a file has so few levels or colours that it is a mask rather than an image.

    Lossy compression leaves the pixels of a mask near black and its brightest level. False if the file is unreadable.
    """
    try:
        values = _mask_values(path)
    except ScanError:
        return False
    lossy = _is_lossy(path)
    if _has_colours(values, path):
        # One number for each colour.
        values = values.max(axis=-1) if lossy else values.astype(np.int64) @ np.array([1, 1 << 16, 1 << 32])
    if lossy:
        bright = values >= int(values.max()) - COLOUR_NOISE
        middle = float(((values > COLOUR_NOISE) & ~bright).mean())
        # In a dark image, few pixels are in the middle and even fewer are bright.
        return middle < min(1 - DRAWN, float(bright.mean()))
    return len(_levels_up_to(values, MAX_CLASSES)) <= MAX_CLASSES


def marks_of(mask: Mask | None) -> Marks:
    """Returns what a mask `[H, W]` marks, "" if there is none."""
    if mask is None:
        return ""
    if not mask.any():
        return "nothing"
    outermost = np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]])
    return "edges" if float(outermost.mean()) >= ALONG else "inside"


def _mask_values(path: Path) -> Any:
    """Returns the values of a mask as stored.

    Raises:
        ScanError: the file cannot be read as a mask.
    """
    name = path.name.lower()
    try:
        if name.endswith((".nii", ".nii.gz")):
            from gansweep.cohort.readers.nifti import load_canonical

            return load_canonical(path)[0]
        if name.endswith(".npy"):
            # Memory-mapped, so that a header which claims more than the file contains does not allocate it.
            values = np.load(path, mmap_mode="r", allow_pickle=False)
            check_values(values.shape, path)
            return values
        return _dicom_values(path) if _is_dicom(path) else open_picture(path, mask=True)[0]
    except UnneededError as error:  # no object with pixels
        raise ScanError(error.what, where=path.name) from None
    except (ValueError, EOFError) as error:
        raise ScanError(f"not a readable mask ({reason_of(error, path)})", where=path.name) from None


def _is_dicom(path: Path) -> bool:
    try:
        return is_dicom(path, without_preamble=True)
    except OSError:
        return False


def _dicom_values(path: Path) -> Any:
    """Returns the stored values of a DICOM mask, `[H, W]`, `[H, W, 3]` or `[frames, H, W]`.

    Raises:
        ScanError: it cannot be read, or is a segmentation object, whose frames refer to other files.
    """
    dataset = open_dicom(path, header_only=False)
    try:
        with quiet():
            check_mask_kind(dataset, path)
            frames = decode(dataset, path)
    except (ScanError, UnneededError):
        raise
    except Exception as error:  # pydicom parses an attribute on first access, and a broken one raises any error
        raise ScanError(f"an attribute cannot be read ({reason_of(error, path)})", where=path.name) from None
    return frames[0] if len(frames) == 1 else frames


def _with_positive(values: Any, path: Path) -> Any:
    """Returns the values of a mask if some are positive or none is negative.

    Raises:
        ScanError: all are 0 or less. The lesion may be what is negative, or what is not.
    """
    if (values > 0).any() or not (values < 0).any():
        return values
    low = float(np.nanmin(values))
    if values.dtype == np.int8 and low == -1:
        return values.view(np.uint8)
    raise ScanError(f"values from {low:g} to 0 and none above; save its lesions with values above 0", where=path.name)


def _has_colours(values: Any, path: Path) -> bool:
    return values.ndim == 3 and values.shape[-1] == 3 and not path.name.lower().endswith((".nii", ".nii.gz"))


def _is_lossy(path: Path) -> bool:
    return path.name.lower().endswith((".jpg", ".jpeg", ".jpe", ".jfif"))


def _threshold(values: Any, *, lossy: bool) -> float:
    """Returns the value above which pixels are lesion pixels. Lossy compression puts noise beside every level."""
    if values.max() > MAX_CLASSES:  # grey levels, such as 0 and 255
        return 0.0 if not lossy and _are_classes(values) else float(values.max()) / 2
    return 0.5 if values.dtype.kind == "f" and bool((values % 1).any()) else 0.0


def _are_classes(values: Any) -> bool:
    """Returns whether a mask has 0 among its levels, and each fills an area: 0, 85 and 255, or a number per lesion.

    Compression, resampling and smooth edges give many levels, or some that occur as lines and single pixels only.
    """
    levels = _levels_up_to(values, MAX_INSTANCES)
    if len(levels) > MAX_INSTANCES or min(levels) != 0:
        return False
    corner = values[:-1, :-1]
    filled = (corner == values[1:, :-1]) & (corner == values[:-1, 1:]) & (corner == values[1:, 1:])
    if len(levels) <= MAX_CLASSES:
        return levels <= {0, *np.unique(corner[filled]).tolist()}
    return _are_numbers(values, filled)


def _are_numbers(values: Any, filled: Any) -> bool:
    """Returns whether the many levels of a mask number its lesions.

    Nearly all of them then consist of areas. Grey levels do so too if a grid of them was enlarged, but these have one
    level that is most of the lesion, with smooth edges around it, or only low levels beside the background.

    Args:
        values: of the mask; 0 is the background.
        filled: where a square of 2 x 2 pixels of one level starts.
    """
    inside = np.zeros(values.shape, bool)
    for rows in (slice(None, -1), slice(1, None)):
        for columns in (slice(None, -1), slice(1, None)):
            inside[rows, columns] |= filled
    levels, pixels = np.unique(values, return_counts=True)
    filling, covered = np.unique(values[inside], return_counts=True)
    of_areas = np.isin(levels, filling[covered >= 0.5 * pixels[np.isin(levels, filling)]])
    if of_areas.mean() < LEAST_AREAS or pixels[1:].max() > 0.5 * pixels[1:].sum():
        return False
    neighbours = ((values[1:], values[:-1]), (values[:, 1:], values[:, :-1]))
    both_ways = [pair for one, other in neighbours for pair in ((one, other), (other, one))]
    beside_background = max(float(one[other == 0].max(initial=0)) for one, other in both_ways)
    return beside_background > 0.5 * float(levels[-1])


def _levels_up_to(values: Any, most: int) -> set[float]:
    """Returns the levels of a picture or volume, or more than `most` of them if there are more."""
    levels: set[float] = set()
    for part in values:
        levels |= set(np.unique(part).tolist())
        if len(levels) > most:
            break
    return levels
