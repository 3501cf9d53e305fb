"""Differentiable augmentation of what the critic sees: of real images and fakes alike, so that it does not leak.

Edges are continued and cut-out parts become background (-1), so that no intensity appears that a scan cannot have.
`intensity` changes what a Hounsfield unit means; leave it out for CT.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gansweep.training.world import mean_over_workers
from trainables.precision import full_precision

if TYPE_CHECKING:
    from gansweep.contracts import Draws
    from gansweep.experiment import AugmentationSettings

__all__ = ["AdaptiveAugment", "Augmentation", "DiffAugment"]

TRANSLATION = 1 / 8
"""Largest shift, as a fraction of the image (DiffAugment)."""
CUTOUT = 1 / 2
"""Side of the square cut out, as a fraction of the image (DiffAugment)."""
ROTATION = math.radians(15)
"""Largest angle: what a patient's head does in a scanner."""
WANTED_CONFIDENCE = 0.6
"""ADA's target for r_t."""
IMAGES_TO_FULL = 500_000
"""Images in which ADA's probability goes from 0 to 1; a quarter of a trial's own budget where that is less."""


class Augmentation(nn.Module):
    """None. The base of the others.

    Args:
        settings: operations and probability.
        budget: images the critic will see in the whole trial.
    """

    def __init__(self, settings: AugmentationSettings, budget: int) -> None:
        super().__init__()
        self.settings, self.budget = settings, budget

    def forward(self, images: Tensor, draws: Draws, masks: int = 0) -> Tensor:  # noqa: ARG002
        """The augmented `[b, C, H, W]`.

        Args:
            images: `[b, C, H, W]`.
            draws: random numbers for these.
            masks: how many of the last channels are masks, which move along but have no intensity.
        """
        return images

    def observe(self, confidence: Tensor, total: int) -> None:
        """Is told, in each critic step, how sure the critic is of its real images (`Loss.confidence`, `[b]`)."""


class DiffAugment(Augmentation):
    """Zhao et al. 2020: every image, always (or with a fixed probability)."""

    def forward(self, images: Tensor, draws: Draws, masks: int = 0) -> Tensor:
        """Applies each operation of the policy to each image with the given probability."""
        return _augmented(images, self.settings.policy, self.settings.probability, draws, masks)


class AdaptiveAugment(Augmentation):
    """ADA (Karras et al. 2020): as much augmentation as keeps the critic from knowing the training images by heart.

    It starts with none (their section 3.1); the settings' probability is what it may rise to.
    """

    probability: Tensor
    confidence: Tensor

    def __init__(self, settings: AugmentationSettings, budget: int) -> None:
        super().__init__(settings, budget)
        self.register_buffer("probability", torch.zeros(()))
        self.register_buffer("confidence", torch.tensor(WANTED_CONFIDENCE))

    def forward(self, images: Tensor, draws: Draws, masks: int = 0) -> Tensor:
        """Applies each operation of the policy to each image with the present probability."""
        return _augmented(images, self.settings.policy, self.probability, draws, masks)

    @torch.no_grad()
    def observe(self, confidence: Tensor, total: int) -> None:
        """Moves the probability one step up or down; the verdict is averaged over about four steps, as in the paper."""
        self.confidence.lerp_(mean_over_workers(confidence.mean()).to(self.confidence.dtype), 0.25)
        step = total / min(IMAGES_TO_FULL, self.budget / 4)
        towards = (self.confidence - WANTED_CONFIDENCE).sign() * step
        self.probability.add_(towards).clamp_(0.0, self.settings.probability)


def _augmented(
    images: Tensor, policy: tuple[str, ...], probability: Tensor | float, draws: Draws, masks: int
) -> Tensor:
    if {"flip", "translation", "rotation"} & set(policy):
        images = _moved(images, policy, probability, draws)
    if "intensity" in policy:
        pictures, carried = images.split([images.shape[1] - masks, masks], dim=1)
        images = torch.cat([_brightened(pictures, probability, draws), carried], dim=1)
    if "cutout" in policy:
        images = _cut_out(images, probability, draws)
    return images


def _moved(images: Tensor, policy: tuple[str, ...], probability: Tensor | float, draws: Draws) -> Tensor:
    """Flip, rotation and translation by whole pixels, in one resampling."""
    size = images.shape[-1]
    b = len(images)
    exact = full_precision(images)
    flip, angle = exact.new_ones(b), exact.new_zeros(b)
    shift = exact.new_zeros(b, 2)
    if "flip" in policy:
        flip = torch.where(draws.uniform() < 0.5 * probability, -flip, flip)
    if "rotation" in policy:
        angle = _sometimes((2 * draws.uniform() - 1) * ROTATION, probability, draws)
    if "translation" in policy:
        most = round(size * TRANSLATION)
        pixels = draws.integers(2 * most + 1, 2) - most
        shift = _sometimes(pixels * (2.0 / size), probability, draws)
    cos, sin = angle.cos(), angle.sin()
    rows = torch.stack([flip * cos, -sin, shift[:, 0], flip * sin, cos, shift[:, 1]], dim=1)
    # A place in bfloat16 has eight bits, too few to name a pixel.
    with torch.autocast(images.device.type, enabled=False):
        grid = F.affine_grid(rows.view(b, 2, 3).to(exact.dtype), list(images.shape), align_corners=False)
        return F.grid_sample(exact, grid, mode="bilinear", padding_mode="border", align_corners=False)


def _brightened(images: Tensor, probability: Tensor | float, draws: Draws) -> Tensor:
    """Brightness by up to a quarter of the range, contrast by up to a half (DiffAugment's are twice the brightness)."""
    brightness = _sometimes(draws.uniform(1, 1, 1) - 0.5, probability, draws)
    contrast = 1.0 + _sometimes(draws.uniform(1, 1, 1) - 0.5, probability, draws)
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    return (images - mean) * contrast + mean + brightness


def _cut_out(images: Tensor, probability: Tensor | float, draws: Draws) -> Tensor:
    """A square anywhere, its centre inside the image."""
    size = images.shape[-1]
    half = max(round(size * CUTOUT / 2), 1)
    centre = draws.integers(size, 2)
    place = torch.arange(size, device=images.device)
    offsets = (place - centre[:, axis, None] for axis in (0, 1))
    rows, columns = ((offset >= -half) & (offset < half) for offset in offsets)
    inside = rows[:, None, :, None] & columns[:, None, None, :]
    chosen = draws.uniform(1, 1, 1) < probability
    return torch.where(inside & chosen, images.new_tensor(-1.0), images)


def _sometimes(change: Tensor, probability: Tensor | float, draws: Draws) -> Tensor:
    """`change` for some images, zero for the others."""
    chosen = draws.uniform(*(1 for _ in change.shape[1:])) < probability
    return torch.where(chosen, change, torch.zeros_like(change))
