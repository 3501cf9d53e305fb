"""Distances on the lesions alone, where both sets have masks: a whole image hides a lesion that looks like none."""

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
"""Pixels. Below that an extractor sees blurred squares."""
LEAST = (8, 2)
"""Lesions needed, real and fake: as many images as the whole panel needs."""


def lesion_distances(sets: Sets, extractor: Extractor) -> dict[str, MetricValue]:
    """`lesion_fid` and `lesion_kid` between crops around the lesions, `_matched` and `_floor`; absent with the reason.

    Definition, range and direction as `frechet_distance` and `kernel_distance`, on features of `lesion_crops`. With few
    lesions they are as biased as any Fréchet distance of few images: compare `_matched` with the floor.
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
    """Side of the crops in pixels: one and a half times what 95 % of the real images' largest lesions span."""
    spans = [max(box.stop - box.start for box in boxes) for _, boxes in _largest(real)]
    side = round(MARGIN * float(np.quantile(spans, 0.95))) if spans else SMALLEST
    return min(max(side, SMALLEST), real.images.shape[-1])


def lesion_crops(images: ImageSet, side: int) -> tuple[Tensor, Tensor]:
    """Squares around the largest connected part of each mask, drawn at the size of the images, and which images.

    All have the same field of view, so that a lesion's size still shows; at the border the square is moved inside.

    Args:
        images: with masks.
        side: of the squares, in pixels.

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
    """Row and bounding box of the largest connected part of each mask that is not empty."""
    from scipy import ndimage

    assert images.masks is not None
    masks: NDArray[np.bool_] = images.masks[:, 0].numpy() > 0
    for row in np.flatnonzero(masks.any((1, 2))):
        parts, _ = ndimage.label(masks[row], structure=np.ones((3, 3)))
        largest = int(np.bincount(parts.ravel())[1:].argmax()) + 1
        yield int(row), ndimage.find_objects((parts == largest).astype(np.int8))[0]
