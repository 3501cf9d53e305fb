"""Resizes images to squares of one size without losing small bright lesions.

Plain area averaging dims a 2 mm calcification of 400 HU in a 4 mm pixel to about 130 HU. In the lesion view, a pixel is

    a + KEEP * max(0, m - max(a, T)),

where `a` is the average over its area, `m` the brightest point in it, and `T` the top of soft tissue
(`LESION_FLOOR_HU`). `m` is determined after a slight blur (`BLUR`), so that it follows lesions and not noise. If
nothing exceeds soft tissue, the result is the plain average.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from gansweep.cohort.readers.slices import Array, Mask

__all__ = ["KEEP", "LESION_FLOOR_HU", "MASK_COVER", "fit_mask", "fit_pixels", "isotropic_shape", "make_square"]

KEEP = 0.7  # fraction of the excess that is kept
BLUR = 0.15  # standard deviation, in new pixels
LESION_FLOOR_HU = 70.0  # grey matter plus four standard deviations of typical noise
MASK_COVER = 0.25  # a new pixel belongs to the mask if at least this fraction of its area does


def isotropic_shape(shape: tuple[int, int], spacing_mm: tuple[float, float] | None) -> tuple[int, int]:
    """Returns the rows and columns of an image whose pixels are made isotropic.

    Args:
        shape: rows and columns.
        spacing_mm: between rows and between columns; None: isotropic.
    """
    # Up to 2 % of anisotropy is rounding in the header, not worth an interpolation.
    if spacing_mm is None or abs(spacing_mm[0] / spacing_mm[1] - 1.0) <= 0.02:
        return shape
    fine = min(spacing_mm)
    rows, columns = (max(1, round(side * gap / fine)) for side, gap in zip(shape, spacing_mm, strict=True))
    return rows, columns


def make_square(pixels: Array, spacing_mm: tuple[float, float] | None, fill: float | None = None) -> Array:
    """Makes pixels isotropic, then pads to a square.

    Args:
        pixels: `[..., H, W]`.
        spacing_mm: between rows and between columns; None: isotropic.
        fill: value of the padding; None: the median of the border.

    Returns:
        `[..., S, S]`.
    """
    shape = isotropic_shape((pixels.shape[-2], pixels.shape[-1]), spacing_mm)
    if shape != pixels.shape[-2:]:
        pixels = np.asarray(_interpolate(pixels, shape), np.float32)

    rows, columns = pixels.shape[-2:]
    if rows == columns:
        return pixels
    if fill is None:
        border = [pixels[..., 0, :], pixels[..., -1, :], pixels[..., :, 0], pixels[..., :, -1]]
        fill = float(np.median(np.concatenate([side.ravel() for side in border])))

    side = max(rows, columns)
    top = (side - rows) // 2
    left = (side - columns) // 2
    square = np.full((*pixels.shape[:-2], side, side), fill, pixels.dtype)
    square[..., top : top + rows, left : left + columns] = pixels
    return square


@np.errstate(over="ignore", invalid="ignore")  # infinite sums show as images that look alike
def fit_pixels(pixels: Array, size: int, *, keep_lesions: bool) -> Array:
    """Resizes to `[C, size, size]`: area averaging down, bilinear interpolation up.

    Args:
        pixels: `[C, S, S]`; Hounsfield units with `keep_lesions`.
        size: height and width of the result.
        keep_lesions: use the formula of this module when averaging down.
    """
    if pixels.shape[-1] <= size:
        return pixels if pixels.shape[-1] == size else _interpolate(pixels, (size, size))

    # By NumPy, to the same bits as torch, which takes a process more than a second to load.
    starts, ends = _areas(pixels.shape[-1], size)
    sides = (ends - starts).astype(np.float32)
    average = _pooled(pixels, size, np.add, 0.0) / sides[:, None] / sides
    if not keep_lesions:
        return average

    from scipy import ndimage

    blur = BLUR * pixels.shape[-1] / size
    smooth = ndimage.gaussian_filter(pixels, (0.0, blur, blur))
    brightest = _pooled(smooth, size, np.maximum, -np.inf)
    excess = brightest - np.maximum(average, np.float32(LESION_FLOOR_HU))
    kept: Array = average + np.float32(KEEP) * np.maximum(excess, np.float32(0.0))
    return kept


def _areas(side: int, size: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Returns the first old pixel of each new one, and the one after its last. Areas of adjacent pixels may overlap."""
    new = np.arange(size)
    return new * side // size, -(-(new + 1) * side // size)


def _pooled(pixels: Array, size: int, combine: np.ufunc, nothing: float) -> Array:
    """Combines the old pixels of each new one, row by row and from the left.

    Args:
        pixels: `[C, S, S]`.
        size: height and width of the result.
        combine: `np.add` or `np.maximum`.
        nothing: what changes nothing if it is combined.

    Returns:
        `[C, size, size]` float32.
    """
    side = pixels.shape[-1]
    starts, ends = _areas(side, size)
    places = starts + np.arange((ends - starts).max())[:, None]
    places = np.where(places < ends, places, side)  # beyond the last pixel, where there is nothing
    pooled = np.full((len(pixels), size, size), nothing, np.float32)
    rows = np.full((size, side + 1), nothing, np.float32)
    part = np.empty((size, size), np.float32)
    for old, new in zip(pixels, pooled, strict=True):
        for down in places:
            rows[:, :side] = old[np.minimum(down, side - 1)]
            rows[down == side] = nothing
            for across in places:
                np.take(rows, across, axis=1, out=part, mode="clip")  # the other modes copy `out`
                combine(new, part, out=new)
    return pooled


def fit_mask(mask: Mask, spacing_mm: tuple[float, float] | None, size: int) -> Mask:
    """Resizes a mask `[H, W]` to the `[size, size]` grid of its picture."""
    square = make_square(mask.astype(np.float32), spacing_mm, fill=0.0)
    return np.asarray(fit_pixels(square[None], size, keep_lesions=False)[0] >= MASK_COVER)


def _interpolate(pixels: Array, shape: tuple[int, int]) -> Array:
    from torch.nn import functional

    flat = _tensor(pixels.reshape(1, -1, *pixels.shape[-2:]))
    drawn = functional.interpolate(flat, shape, mode="bilinear", align_corners=False, antialias=True)
    return np.asarray(drawn, np.float32).reshape(*pixels.shape[:-2], *shape)


def _tensor(pixels: Array) -> Tensor:
    import torch

    return torch.from_numpy(np.ascontiguousarray(pixels, np.float32))
