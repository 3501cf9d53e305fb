"""A small synthetic data set of shapes, for tests."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from gansweep.cohort.stored import Decoding, HostImages
from gansweep.contracts import ImageSet, ImageSpec

__all__ = ["as_stored", "shapes"]

_WHITE = 2**16 - 1


def shapes(count: int = 64, size: int = 32, channels: int = 1, seed: int = 0) -> tuple[ImageSet, ImageSpec]:
    """Makes bright discs and squares of random position, size and brightness on a dark background, with masks.

    Args:
        count: number of images; every second one is a square.
        size: height and width in pixels.
        channels: number of channels per image. All show the shape, with different brightness.
        seed: seed of all random numbers.

    Returns:
        The images, with labels (0 disc, 1 square), masks, one patient each, and their negatives as paired images; and
        their spec.
    """
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 2
    centre = size * (0.35 + 0.3 * torch.rand(count, 2, generator=generator))
    radius = size * (0.15 + 0.1 * torch.rand(count, generator=generator))
    place = torch.arange(size) + 0.5
    dy, dx = (place - centre[:, axis, None] for axis in (0, 1))
    dy = dy[:, :, None]
    dx = dx[:, None, :]
    r = radius[:, None, None]
    disc = dy.square() + dx.square() < r.square()
    square = (dy.abs() < 0.85 * r) & (dx.abs() < 0.85 * r)
    masks = torch.where(labels[:, None, None] == 1, square, disc)[:, None].float()
    brightness = 0.2 + 0.7 * torch.rand(count, channels, 1, 1, generator=generator)
    background = -0.9 + 0.05 * torch.randn(count, channels, size, size, generator=generator)
    images = (background + masks * (brightness + 0.9)).clamp(-1.0, 1.0)
    spec = ImageSpec(size, channels, ("disc", "square"), mask_channels=1)
    patients = tuple(f"patient{index:04d}" for index in range(count))
    return ImageSet(images, labels, masks, patients, paired=-images), spec


def as_stored(data: ImageSet) -> ImageSet:
    """Returns tensors in the form in which `Cohort.load_stored` gives them: 16 bits an intensity, 8 bits a mask."""
    stored: dict[str, Any] = {}
    for name in ("images", "paired"):
        values = getattr(data, name)
        if values is not None:
            array = ((values + 1) / 2 * _WHITE).round().numpy().astype(np.uint16)
            stored[name] = HostImages(array, np.arange(len(array)), Decoding("intensity", _WHITE))
    if data.masks is not None:
        array = (255 * data.masks).round().numpy().astype(np.uint8)
        stored["masks"] = HostImages(array, np.arange(len(array)), Decoding("mask"))
    return replace(data, **stored)
