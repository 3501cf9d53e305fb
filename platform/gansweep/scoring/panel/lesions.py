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
LEAST = (8, 2)
"""Least number of real and fake lesions: as many as the whole panel needs images."""


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
    (real, of_real), (fake, of_fake) = (lesion_crops(images, side) for images in (sets.real, sets.fake))
    halves = [torch.isin(of_real, rows) for rows in sets.halves]
    counts = (len(real), len(fake), *(int(half.sum()) for half in halves))
    if counts[0] < LEAST[0] or counts[1] < LEAST[1] or min(counts[2:]) < LEAST[1]:
        reason = f"{counts[0]} real and {counts[1]} fake images have a lesion in their mask"
        return dict.fromkeys(NAMES, sets.absent(f"{reason}; {LEAST[0]} and {LEAST[1]} are needed"))
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
    spans = [max(box.stop - box.start for box in boxes) for _, boxes in _largest(real)]
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
        top, left = (
            min(max((box.start + box.stop - side) // 2, 0), length - side)
            for box, length in ((down, height), (across, width))
        )
        rows.append(row)
        crops.append(images.images[row, :, top : top + side, left : left + side])
    if not rows:
        return images.images[:0], torch.zeros(0, dtype=torch.int64)
    drawn = functional.interpolate(torch.stack(crops), (height, width), mode="bilinear", align_corners=False)
    return drawn, torch.tensor(rows)


def _largest(images: ImageSet) -> Iterator[tuple[int, tuple[slice, slice]]]:
    """Yields the row and the bounding box of the largest connected component of each mask that is not empty."""
    from scipy import ndimage

    assert images.masks is not None
    masks: NDArray[np.bool_] = images.masks[:, 0].numpy() > 0
    for row in np.flatnonzero(masks.any((1, 2))):
        parts, _ = ndimage.label(masks[row], structure=np.ones((3, 3)))
        largest = int(np.bincount(parts.ravel())[1:].argmax()) + 1
        yield int(row), ndimage.find_objects((parts == largest).astype(np.int8))[0]
