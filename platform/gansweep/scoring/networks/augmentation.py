"""Classical augmentation of a detector's training images: flips, rotations, shifts; the same in every arm."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["augmented"]

ROTATION = math.radians(15)
SHIFT = 0.1  # of the image's width and height
ZOOM = 0.1


def augmented(images: Tensor, generator: torch.Generator) -> Tensor:
    """Images flipped left to right (half of them), rotated by up to 15 degrees, shifted and zoomed by up to 10 %.

    Intensities stay: in CT they carry the diagnosis. The random numbers are drawn on the CPU, so that every device sees
    the same ones, and always four per image, so that arms that share a generator's seed share them.

    Args:
        images: `[b, C, H, W]`.
        generator: a CPU generator.
    """
    flip, angle, zoom, x, y = (torch.rand(5, len(images), generator=generator) * 2 - 1).to(images.device)
    angle = angle * ROTATION
    zoom = 1 + zoom * ZOOM
    mirror = torch.where(flip < 0, -1.0, 1.0)
    cos = angle.cos() * zoom
    sin = angle.sin() * zoom
    # Offsets are in half-widths: affine_grid's coordinates run from -1 to 1.
    rows = torch.stack([cos * mirror, -sin, x * SHIFT * 2, sin * mirror, cos, y * SHIFT * 2], 1)
    grid = functional.affine_grid(rows.view(-1, 2, 3), list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, padding_mode="border", align_corners=False)
