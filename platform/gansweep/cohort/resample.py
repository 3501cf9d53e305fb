"""Square pictures of one size, without losing small bright lesions on the way.

Plain area averaging dims a 2 mm calcification of 400 HU in a 4 mm pixel to about 130 HU. In the lesion view, a pixel
keeps its average `a` plus `KEEP` of what the brightest point `m` of its footprint stands above both `a` and the top of
soft tissue `T`:  a + KEEP * max(0, m - max(a, T)).  `m` is taken after a slight blur (`BLUR`), so that it follows
lesions and not noise; where nothing exceeds soft tissue the result is the plain average.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

    from gansweep.cohort.scan import Array, Mask

__all__ = ["KEEP", "LESION_FLOOR_HU", "fit_mask", "fit_pixels", "make_square"]

KEEP = 0.7
BLUR = 0.15  # of the new pixel
LESION_FLOOR_HU = 70.0  # grey matter plus four standard deviations of usual noise
MASK_COVER = 0.25  # a pixel belongs to the mask when this much of it does


def make_square(pixels: Array, spacing_mm: tuple[float, float] | None, fill: float | None = None) -> Array:
    """`[..., H, W]` with isotropic pixels, padded to a square with `fill` (None: the median of its border)."""
    if spacing_mm is not None and abs(spacing_mm[0] / spacing_mm[1] - 1.0) > 0.02:
        fine = min(spacing_mm)
        shape = tuple(max(1, round(side * gap / fine)) for side, gap in zip(pixels.shape[-2:], spacing_mm, strict=True))
        pixels = np.asarray(_interpolate(pixels, (shape[0], shape[1])), np.float32)
    rows, columns = pixels.shape[-2:]
    if rows == columns:
        return pixels
    if fill is None:
        border = [pixels[..., 0, :], pixels[..., -1, :], pixels[..., :, 0], pixels[..., :, -1]]
        fill = float(np.median(np.concatenate([side.ravel() for side in border])))
    side = max(rows, columns)
    top, left = (side - rows) // 2, (side - columns) // 2
    square = np.full((*pixels.shape[:-2], side, side), fill, pixels.dtype)
    square[..., top : top + rows, left : left + columns] = pixels
    return square


def fit_pixels(pixels: Array, size: int, *, keep_lesions: bool) -> Array:
    """`[C, S, S]` brought to `[C, size, size]`: averaged down (see the module for `keep_lesions`), smoothed up."""
    from torch.nn import functional

    if pixels.shape[-1] <= size:
        return pixels if pixels.shape[-1] == size else _interpolate(pixels, (size, size))
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
    """A mask `[H, W]` on the same `[size, size]` grid as its picture."""
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
