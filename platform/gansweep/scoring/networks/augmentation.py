"""Augmentation of a detector's training images, the same for real and synthetic ones.

Every augmentation begins with the classical one: flips, rotations, shifts. The others add what costs no generator and
is known to help detectors of few patients. They are therefore also what synthetic images have to beat.

An augmentation takes images `[b, C, H, W]` in [-1, 1], labels `[b]`, the number of classes and a generator on the CPU.
It gives images and labels; the labels are probabilities `[b, classes]` where it mixes images of two classes. Random
numbers are drawn on the CPU, so that every device sees the same ones, and their number depends on the batch alone, so
that arms that share a generator's seed share them.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["AUGMENTATIONS", "augmented", "cutmix", "elastic", "intensity", "mixup"]

ROTATION = math.radians(15)
SHIFT = 0.1  # of the image's width and height
ZOOM = 0.1

MIXUP_ALPHA = 0.4  # Zhang et al. 2018 find 0.1 to 0.4 best where images are many, and more of it underfits

ELASTIC_CELLS = 6  # control points a side: deformations are as wide as a sixth of the image
ELASTIC_SHIFT = 0.03  # standard deviation of a control point's shift, of the image's width

GAMMA = 0.3  # gamma is drawn between exp(-0.3) and exp(0.3), 0.74 and 1.35
CONTRAST = 0.15
BRIGHTNESS = 0.1  # of the range [-1, 1]
NOISE = 0.05  # largest standard deviation of the noise, of the range [-1, 1]


def augmented(images: Tensor, generator: torch.Generator) -> Tensor:
    """Images flipped left to right (half of them), rotated by up to 15 degrees, shifted and zoomed by up to 10 %.

    Intensities stay: in CT they carry the diagnosis.

    Args:
        images: `[b, C, H, W]`.
        generator: a CPU generator.
    """
    drawn = (torch.rand(5, len(images), generator=generator) * 2 - 1).to(images.device)
    flip = drawn[0]
    angle = drawn[1] * ROTATION
    zoom = 1 + drawn[2] * ZOOM
    x = drawn[3]
    y = drawn[4]
    mirror = torch.where(flip < 0, -1.0, 1.0)
    cos = angle.cos() * zoom
    sin = angle.sin() * zoom
    # Offsets are in half-widths: affine_grid's coordinates run from -1 to 1.
    rows = torch.stack([cos * mirror, -sin, x * SHIFT * 2, sin * mirror, cos, y * SHIFT * 2], 1)
    grid = functional.affine_grid(rows.view(-1, 2, 3), list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, padding_mode="border", align_corners=False)


def _classical(images: Tensor, labels: Tensor, classes: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    del classes
    return augmented(images, generator), labels


def mixup(images: Tensor, labels: Tensor, classes: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Weighted means of two images, and of their labels, with weights from Beta(0.4, 0.4).

    Source:
        Zhang, Cisse, Dauphin & Lopez-Paz 2018, "mixup: Beyond Empirical Risk Minimization", eq. 2.
    """
    images = augmented(images, generator)
    partner = torch.randperm(len(images), generator=generator)
    weights = _beta(len(images), MIXUP_ALPHA, generator)
    mixed = _blended(images, images[partner.to(images.device)], weights.to(images.device)[:, None, None, None])
    return mixed, _soft(labels, partner, weights, classes)


def cutmix(images: Tensor, labels: Tensor, classes: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """A rectangle of each image is replaced by that of another; labels are mixed by area.

    The area's fraction is uniform before the rectangle is cut off at the border. Labels have the fraction that is left.

    Source:
        Yun et al. 2019, "CutMix: Regularization Strategy to Train Strong Classifiers with Localizable Features",
        section 3.1.
    """
    images = augmented(images, generator)
    partner = torch.randperm(len(images), generator=generator)
    replaced, down, across = torch.rand(3, len(images), generator=generator)
    height, width = images.shape[-2:]
    side = replaced.sqrt() / 2
    rows = torch.arange(height)
    columns = torch.arange(width)
    in_rows = (rows - (down * height)[:, None]).abs() < (side * height)[:, None]
    in_columns = (columns - (across * width)[:, None]).abs() < (side * width)[:, None]
    inside = in_rows[:, :, None] & in_columns[:, None, :]
    kept = 1 - inside.float().mean((1, 2))
    mixed = torch.where(inside[:, None].to(images.device), images[partner.to(images.device)], images)
    return mixed, _soft(labels, partner, kept, classes)


def elastic(images: Tensor, labels: Tensor, classes: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Images bent by smooth random shifts of about 3 % of their width.

    Source:
        Simard, Steinkraus & Platt 2003, "Best Practices for Convolutional Neural Networks Applied to Visual Document
        Analysis", section 2; with a coarse grid of shifts, interpolated bicubically, for a smoothed fine one.
    """
    del classes
    images = augmented(images, generator)
    coarse = torch.randn(len(images), 2, ELASTIC_CELLS, ELASTIC_CELLS, generator=generator).to(images.device)
    size = list(images.shape[-2:])
    # Coordinates run from -1 to 1, so a shift of one is half the width.
    shifts = functional.interpolate(coarse, size, mode="bicubic", align_corners=True) * 2 * ELASTIC_SHIFT
    still = torch.eye(2, 3, device=images.device).expand(len(images), 2, 3)
    grid = functional.affine_grid(still, list(images.shape), align_corners=False) + shifts.permute(0, 2, 3, 1)
    return functional.grid_sample(images, grid, padding_mode="border", align_corners=False), labels


def intensity(images: Tensor, labels: Tensor, classes: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Images with another gamma, contrast and brightness, and with noise, as other scanners and protocols give them.

    In CT, where intensities are densities, this can hide what carries the diagnosis.

    Source:
        Isensee et al. 2021, "nnU-Net", supplementary note 4: which augmentations, not their strengths.
    """
    del classes
    images = augmented(images, generator)
    drawn = torch.rand(4, len(images), 1, 1, 1, generator=generator).to(images.device)
    gamma = ((2 * drawn[0] - 1) * GAMMA).exp()
    contrast = 1 + (2 * drawn[1] - 1) * CONTRAST
    brightness = (2 * drawn[2] - 1) * BRIGHTNESS
    noise = drawn[3] * NOISE
    grain = torch.randn(images.shape, generator=generator).to(images.device)
    unit = ((images + 1) / 2).clamp(0, 1) ** gamma
    changed = (unit * 2 - 1) * contrast + brightness
    return (changed + grain * noise).clamp(-1, 1), labels


def _beta(n: int, alpha: float, generator: torch.Generator) -> Tensor:
    """`[n]` draws from Beta(alpha, alpha), which torch draws from no generator of the caller's."""
    seed = int(torch.randint(2**31, (), generator=generator))
    return torch.from_numpy(np.random.default_rng(seed).beta(alpha, alpha, n)).float()


def _blended(one: Tensor, other: Tensor, weights: Tensor) -> Tensor:
    return weights * one + (1 - weights) * other


def _soft(labels: Tensor, partner: Tensor, weights: Tensor, classes: int) -> Tensor:
    """Probabilities `[b, classes]`: an image's own class with its weight, that of its partner with the rest."""
    certain = functional.one_hot(labels, classes).float()
    return _blended(certain, certain[partner.to(labels.device)], weights.to(labels.device)[:, None])


AUGMENTATIONS: dict[str, Callable[[Tensor, Tensor, int, torch.Generator], tuple[Tensor, Tensor]]] = {
    "classical": _classical,
    "mixup": mixup,
    "cutmix": cutmix,
    "elastic": elastic,
    "intensity": intensity,
}
