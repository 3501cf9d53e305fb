"""Augmentation of a detector's training images, identical for real and synthetic images.

Every augmentation starts with the classical one: flips, rotations and shifts. The others add methods that need no
generator and are known to help detectors trained on few patients. Synthetic images therefore have to beat them.

An augmentation takes images `[b, C, H, W]` in [-1, 1], labels `[b]`, the number of classes and a generator on the CPU.
It returns images and labels. If it mixes images of two classes, the labels are probabilities `[b, classes]`. Random
numbers are drawn on the CPU, so that they are the same on every device. Their number depends only on the batch, so that
arms with the same seed share them. They are drawn before they are used, so that those of many batches can be copied to
a device at once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["AUGMENTATIONS", "OF_PAIRS", "Augmentation", "augmented", "cutmix", "elastic", "intensity", "mixup"]

ROTATION = math.radians(15)
SHIFT = 0.1  # fraction of the image's width and height
ZOOM = 0.1

MIXUP_ALPHA = 0.4  # Zhang et al. 2018: 0.1 to 0.4 is best with many images, and more underfits

ELASTIC_CELLS = 6  # control points per side: deformations are a sixth of the image wide
ELASTIC_SHIFT = 0.03  # standard deviation of a control point's shift, as a fraction of the image's width

GAMMA = 0.3  # gamma is between exp(-0.3) = 0.74 and exp(0.3) = 1.35
CONTRAST = 0.15
BRIGHTNESS = 0.1  # of the range [-1, 1]
NOISE = 0.05  # maximum standard deviation of the noise, for images in [-1, 1]


Drawn = tuple[Tensor, ...]
"""Random numbers of one batch, `[b, ...]` each. Integers are rows of the batch."""


@dataclass(frozen=True)
class Augmentation:
    """An augmentation, called with images, labels, the number of classes and a generator. Returns images and labels.

    Args:
        draw: draws the random numbers of a batch of shape `(b, C, H, W)`, on the CPU.
        apply: computes images and labels from images, labels, the number of classes and these numbers, on one device.
    """

    draw: Callable[[torch.Size, torch.Generator], Drawn]
    apply: Callable[[Tensor, Tensor, int, Drawn], tuple[Tensor, Tensor]]

    def __call__(
        self, images: Tensor, labels: Tensor, classes: int, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Draws random numbers and applies the augmentation."""
        drawn = tuple(numbers.to(images.device) for numbers in self.draw(images.shape, generator))
        return self.apply(images, labels, classes, drawn)


def augmented(images: Tensor, generator: torch.Generator) -> Tensor:
    """Flips half of the images left to right, rotates by up to 15 degrees, and shifts and zooms by up to 10 %.

    Intensities are unchanged, because in CT they carry the diagnosis.

    Args:
        images: images `[b, C, H, W]`.
        generator: CPU generator.
    """
    return _moved(images, _moves(images.shape, generator).to(images.device))


def _moves(shape: torch.Size, generator: torch.Generator) -> Tensor:
    """Draws `[b, 5]` numbers in [-1, 1]: flip, rotation, zoom, and shifts across and down."""
    return torch.rand(5, shape[0], generator=generator).t() * 2 - 1


def _moved(images: Tensor, moves: Tensor) -> Tensor:
    moves = moves.t().contiguous()
    mirror = torch.where(moves[0] < 0, -1.0, 1.0)
    angle = moves[1] * ROTATION
    zoom = 1 + moves[2] * ZOOM
    # In half-widths, because affine_grid's coordinates run from -1 to 1.
    across = moves[3] * SHIFT * 2
    down = moves[4] * SHIFT * 2
    cos = angle.cos() * zoom
    sin = angle.sin() * zoom
    rows = torch.stack([cos * mirror, -sin, across, sin * mirror, cos, down], 1)
    grid = functional.affine_grid(rows.view(-1, 2, 3), list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, padding_mode="border", align_corners=False)


def _draw_moves(shape: torch.Size, generator: torch.Generator) -> Drawn:
    return (_moves(shape, generator),)


def _apply_moves(images: Tensor, labels: Tensor, classes: int, drawn: Drawn) -> tuple[Tensor, Tensor]:
    del classes
    return _moved(images, drawn[0]), labels


def _draw_mixup(shape: torch.Size, generator: torch.Generator) -> Drawn:
    moves = _moves(shape, generator)
    partner = torch.randperm(shape[0], generator=generator)
    return moves, partner, _beta(shape[0], MIXUP_ALPHA, generator)


def _apply_mixup(images: Tensor, labels: Tensor, classes: int, drawn: Drawn) -> tuple[Tensor, Tensor]:
    moves, partner, weights = drawn
    images = _moved(images, moves)
    mixed = _blended(images, images[partner], weights[:, None, None, None])
    return mixed, _soft(labels, partner, weights, classes)


def _draw_cutmix(shape: torch.Size, generator: torch.Generator) -> Drawn:
    moves = _moves(shape, generator)
    partner = torch.randperm(shape[0], generator=generator)
    return moves, partner, torch.rand(3, shape[0], generator=generator).t()


def _apply_cutmix(images: Tensor, labels: Tensor, classes: int, drawn: Drawn) -> tuple[Tensor, Tensor]:
    moves, partner, rectangles = drawn
    images = _moved(images, moves)
    replaced, down, across = rectangles.t().contiguous()
    height, width = images.shape[-2:]
    side = replaced.sqrt() / 2
    rows = torch.arange(height, device=images.device)
    columns = torch.arange(width, device=images.device)
    in_rows = (rows - (down * height)[:, None]).abs() < (side * height)[:, None]
    in_columns = (columns - (across * width)[:, None]).abs() < (side * width)[:, None]
    inside = in_rows[:, :, None] & in_columns[:, None, :]
    kept = 1 - inside.float().mean((1, 2))
    mixed = torch.where(inside[:, None], images[partner], images)
    return mixed, _soft(labels, partner, kept, classes)


def _draw_elastic(shape: torch.Size, generator: torch.Generator) -> Drawn:
    moves = _moves(shape, generator)
    return moves, torch.randn(shape[0], 2, ELASTIC_CELLS, ELASTIC_CELLS, generator=generator)


def _apply_elastic(images: Tensor, labels: Tensor, classes: int, drawn: Drawn) -> tuple[Tensor, Tensor]:
    del classes
    moves, coarse = drawn
    images = _moved(images, moves)
    size = list(images.shape[-2:])
    # Coordinates run from -1 to 1, so a shift of 1 is half the width.
    shifts = functional.interpolate(coarse, size, mode="bicubic", align_corners=True) * 2 * ELASTIC_SHIFT
    still = torch.eye(2, 3, device=images.device).expand(len(images), 2, 3)
    grid = functional.affine_grid(still, list(images.shape), align_corners=False) + shifts.permute(0, 2, 3, 1)
    return functional.grid_sample(images, grid, padding_mode="border", align_corners=False), labels


def _draw_intensity(shape: torch.Size, generator: torch.Generator) -> Drawn:
    moves = _moves(shape, generator)
    changes = torch.rand(4, shape[0], generator=generator).t()  # of gamma, contrast, brightness and noise
    return moves, changes, torch.randn(shape, generator=generator)


def _apply_intensity(images: Tensor, labels: Tensor, classes: int, drawn: Drawn) -> tuple[Tensor, Tensor]:
    del classes
    moves, changes, grain = drawn
    images = _moved(images, moves)
    changes = changes.t().contiguous()[..., None, None, None]
    gamma = ((2 * changes[0] - 1) * GAMMA).exp()
    contrast = 1 + (2 * changes[1] - 1) * CONTRAST
    brightness = (2 * changes[2] - 1) * BRIGHTNESS
    noise = changes[3] * NOISE
    unit = ((images + 1) / 2).clamp(0, 1) ** gamma
    changed = (unit * 2 - 1) * contrast + brightness
    return (changed + grain * noise).clamp(-1, 1), labels


def _apply_intensity_to_images(pairs: Tensor, labels: Tensor, classes: int, drawn: Drawn) -> tuple[Tensor, Tensor]:
    """Applies `intensity` to images whose last channel is their mask, which only moves with them."""
    moves, changes, grain = drawn
    images, labels = _apply_intensity(pairs[:, :-1], labels, classes, (moves, changes, grain[:, :-1]))
    return torch.cat([images, _moved(pairs[:, -1:], moves)], dim=1), labels


def _beta(n: int, alpha: float, generator: torch.Generator) -> Tensor:
    """Draws `[n]` values from Beta(alpha, alpha). torch's own distribution does not accept a generator."""
    seed = int(torch.randint(2**31, (), generator=generator))
    return torch.from_numpy(np.random.default_rng(seed).beta(alpha, alpha, n)).float()


def _blended(one: Tensor, other: Tensor, weights: Tensor) -> Tensor:
    return weights * one + (1 - weights) * other


def _soft(labels: Tensor, partner: Tensor, weights: Tensor, classes: int) -> Tensor:
    """Returns probabilities `[b, classes]`: `weights` for an image's own class and the rest for its partner's class."""
    certain = functional.one_hot(labels, classes).float()
    return _blended(certain, certain[partner], weights[:, None])


classical = Augmentation(_draw_moves, _apply_moves)
"""Flips, rotations, shifts and zoom: see `augmented`."""

mixup = Augmentation(_draw_mixup, _apply_mixup)
"""Replaces images and labels by weighted means of two, with weights from Beta(0.4, 0.4).

Source:
    Zhang, Cisse, Dauphin & Lopez-Paz 2018, "mixup: Beyond Empirical Risk Minimization", eq. 2.
"""

cutmix = Augmentation(_draw_cutmix, _apply_cutmix)
"""Replaces a rectangle of each image by that of another image. Labels are mixed by area.

The area's fraction is uniform before the rectangle is clipped at the border. Labels use the fraction that remains.

Source:
    Yun et al. 2019, "CutMix: Regularization Strategy to Train Strong Classifiers with Localizable Features",
    section 3.1.
"""

elastic = Augmentation(_draw_elastic, _apply_elastic)
"""Deforms images by smooth random shifts of about 3 % of their width.

Source:
    Simard, Steinkraus & Platt 2003, "Best Practices for Convolutional Neural Networks Applied to Visual Document
    Analysis", section 2; with a coarse grid of shifts, interpolated bicubically, instead of a smoothed fine grid.
"""

intensity = Augmentation(_draw_intensity, _apply_intensity)
"""Changes gamma, contrast and brightness and adds noise, as other scanners and protocols do.

In CT, where intensities are densities, this can hide the diagnosis.

Source:
    Isensee et al. 2021, "nnU-Net", supplementary note 4: the kinds of augmentation, not their strengths.
"""

AUGMENTATIONS: dict[str, Augmentation] = {
    "classical": classical,
    "mixup": mixup,
    "cutmix": cutmix,
    "elastic": elastic,
    "intensity": intensity,
}

OF_PAIRS: dict[str, Augmentation] = {
    "classical": classical,
    "cutmix": cutmix,
    "elastic": elastic,
    "intensity": Augmentation(_draw_intensity, _apply_intensity_to_images),
}
"""Augmentations of images whose last channel is their mask, `[b, C + 1, H, W]`, for segmenters.

MixUp is missing: the mean of two masks is no mask. CutMix copies the same rectangle of image and mask, as in French et
al. 2020, "Semi-supervised semantic segmentation needs strong, varied perturbations", section 3.3.
"""
