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


def fit_pixels(pixels: Array, size: int, *, keep_lesions: bool) -> Array:
    """Resizes to `[C, size, size]`: area averaging down, bilinear interpolation up.

    Args:
        pixels: `[C, S, S]`; Hounsfield units with `keep_lesions`.
        size: height and width of the result.
        keep_lesions: use the formula of this module when averaging down.
    """
    if pixels.shape[-1] <= size:
        return pixels if pixels.shape[-1] == size else _interpolate(pixels, (size, size))

    from torch.nn import functional  # takes a process seconds to load, and pictures of this size need none of it

    image = _tensor(pixels)
    average = functional.adaptive_avg_pool2d(image, size)
    if not keep_lesions:
        return np.asarray(average, np.float32)

    from scipy import ndimage

    blur = BLUR * pixels.shape[-1] / size
    smooth = ndimage.gaussian_filter(pixels, (0.0, blur, blur))
    brightest = functional.adaptive_max_pool2d(_tensor(smooth), size)
    excess = brightest - average.clamp_min(LESION_FLOOR_HU)
    return np.asarray(average + KEEP * excess.clamp_min(0.0), np.float32)


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
