"""Distances between lesions alone, for sets with masks. In a whole image, an unrealistic lesion may go unnoticed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from gansweep.scoring.metrics.registry import METRICS
from gansweep.scoring.statistics.resampling import Sample
from gansweep.scoring.values import Halved, MetricValue, Sets, beside_floor

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from gansweep.contracts import ImageSet
    from gansweep.scoring.networks.extractors import Extractor

__all__ = ["NAMES", "lesion_crops", "lesion_distances", "lesion_side"]

DISTANCES = ("fid", "kid")
NAMES = tuple(f"lesion_{name}{suffix}" for name in DISTANCES for suffix in ("", "_matched", "_floor"))
MARGIN = 1.5
SMALLEST = 8
"""Least side in pixels. Below it, an extractor sees only blurred squares."""
LEAST_REAL = 8
"""Minimum number of real lesions, which is also the minimum number of real images of the whole panel."""
LEAST_FAKE = 2
"""Minimum number of fake lesions, and of real lesions in each half."""


def lesion_distances(sets: Sets, extractor: Extractor) -> dict[str, MetricValue]:
    """Computes `lesion_fid` and `lesion_kid` between lesion crops, with `_matched` and `_floor`.

    Definition, range and direction are those of `frechet_distance` and `kernel_distance`, on features of
    `lesion_crops`. They are absent, with the reason, if there are too few lesions. With few lesions they are as biased
    as any Fréchet distance of few images: compare `_matched` with the floor.
    """
    missing = [what for what, images in (("real", sets.real), ("fake", sets.fake)) if images.masks is None]
    if missing:
        return dict.fromkeys(NAMES, sets.absent(f"the {missing[0]} images have no masks"))
    side = lesion_side(sets.real)
    real, of_real = lesion_crops(sets.real, side)
    fake, of_fake = lesion_crops(sets.fake, side)
    halves = [torch.isin(of_real, rows) for rows in sets.halves]
    smaller_half = min(int(half.sum()) for half in halves)
    if len(real) < LEAST_REAL or min(len(fake), smaller_half) < LEAST_FAKE:
        reason = f"{len(real)} real and {len(fake)} fake images have a lesion in their mask"
        return dict.fromkeys(NAMES, sets.absent(f"{reason}; {LEAST_REAL} and {LEAST_FAKE} are needed"))
    real_crops = Sample.of(extractor.features(real), sets.real, of_real)
    fake_crops = Sample.of(extractor.features(fake), sets.fake, of_fake)
    samples = Halved(real_crops, fake_crops, halves, sets.seed)
    crops = f"crops of {side} pixels around the largest lesion of each image"
    found: dict[str, MetricValue] = {}
    for name in DISTANCES:
        metric = METRICS[name]
        label = f"lesion_{name}"
        found |= beside_floor(label, metric.compute, samples, metric.range, features=sets.extractor, reason=crops)
    return found


def lesion_side(real: ImageSet) -> int:
    """Returns the side of the crops in pixels.

    It is 1.5 times the 95 % quantile of the sizes of the real images' largest lesions.
    """
    spans = []
    for _, (down, across) in _largest(real):
        spans.append(max(down.stop - down.start, across.stop - across.start))
    side = round(MARGIN * float(np.quantile(spans, 0.95))) if spans else SMALLEST
    return min(max(side, SMALLEST), real.images.shape[-1])


def lesion_crops(images: ImageSet, side: int) -> tuple[Tensor, Tensor]:
    """Crops squares around the largest connected component of each mask, resized to the images' size.

    All crops have the same field of view, so that the size of a lesion remains visible. Squares that cross the border
    are moved inside.

    Args:
        images: images with masks.
        side: side of the squares in pixels.

    Returns:
        Crops `[m, C, H, W]` in [-1, 1], and rows `[m]` of the images that have a lesion.
    """
    rows = []
    crops = []
    height, width = images.images.shape[-2:]
    for row, (down, across) in _largest(images):
        top = _start_of_crop(down, side, height)
        left = _start_of_crop(across, side, width)
        rows.append(row)
        crops.append(images.images[row, :, top : top + side, left : left + side])
    if not rows:
        return images.images[:0], torch.zeros(0, dtype=torch.int64)
    drawn = functional.interpolate(torch.stack(crops), (height, width), mode="bilinear", align_corners=False)
    return drawn, torch.tensor(rows)


def _start_of_crop(box: slice, side: int, length: int) -> int:
    """Returns where a crop of `side` pixels around the middle of `box` starts, inside an image of `length` pixels."""
    centred: int = (box.start + box.stop - side) // 2
    return min(max(centred, 0), length - side)


def _largest(images: ImageSet) -> Iterator[tuple[int, tuple[slice, slice]]]:
    """Yields the row and the bounding box of the largest connected component of each mask that is not empty."""
    from scipy import ndimage

    assert images.masks is not None
    masks: NDArray[np.bool_] = images.masks[:, 0].numpy() > 0
    for row in np.flatnonzero(masks.any((1, 2))):
        parts, _ = ndimage.label(masks[row], structure=np.ones((3, 3)))
        sizes = np.bincount(parts.ravel())
        largest = int(sizes[1:].argmax()) + 1  # label 0 is the background
        (box,) = ndimage.find_objects((parts == largest).astype(np.int8))
        yield int(row), box
