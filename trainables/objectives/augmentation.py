"""Differentiable augmentation of the critic's inputs.

Real and fake images are augmented alike, so that the generator does not learn to produce augmented images. Edges are
extended and cut-out parts become background (-1), so that no intensity appears that a scan cannot have. The operation
`intensity` changes the meaning of a Hounsfield unit; do not use it for CT.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gansweep.distributed import mean_over_workers
from trainables.layers.precision import full_precision

if TYPE_CHECKING:
    from gansweep.config import AugmentationSettings
    from gansweep.contracts import StepRandom

__all__ = ["AdaptiveAugment", "Augmentation", "DiffAugment"]

TRANSLATION = 1 / 8
"""Maximum shift as a fraction of the image size (DiffAugment)."""
CUTOUT = 1 / 2
"""Side of the cut-out square as a fraction of the image size (DiffAugment)."""
ROTATION = math.radians(15)
"""Maximum angle in radians: about how far a patient's head is turned in a scanner."""
WANTED_CONFIDENCE = 0.6
"""ADA's target value of r_t (Karras et al. 2020, section 3.1)."""
IMAGES_TO_FULL = 500_000
"""Number of images in which ADA's probability can rise from 0 to 1; at most a quarter of the trial's budget."""


class Augmentation(nn.Module):
    """No augmentation, and the base class of the others.

    Args:
        settings: operations and probability.
        budget: number of images the critic sees in the whole trial.
    """

    def __init__(self, settings: AugmentationSettings, budget: int) -> None:
        super().__init__()
        self.settings = settings
        self.budget = budget

    def forward(self, images: Tensor, draws: StepRandom, masks: int = 0) -> Tensor:  # noqa: ARG002
        """Augments images.

        Args:
            images: `[b, C, H, W]`.
            draws: random numbers for these b images.
            masks: number of mask channels, which come last. They are moved with the image; `intensity` skips them.

        Returns:
            `[b, C, H, W]`.
        """
        return images

    def observe(self, confidence: Tensor, total: int) -> None:
        """Adapts to the critic's confidence in its real images; called in each critic step.

        Args:
            confidence: `[b]`, from `Loss.confidence`.
            total: images in the global batch.
        """


class DiffAugment(Augmentation):
    """DiffAugment (Zhao et al. 2020): each operation with a fixed probability, by default always."""

    def forward(self, images: Tensor, draws: StepRandom, masks: int = 0) -> Tensor:
        """Applies each operation of the policy to each image with the given probability."""
        return _augment(images, self.settings.policy, self.settings.probability, draws, masks)


class AdaptiveAugment(Augmentation):
    """ADA (Karras et al. 2020): augments just enough that the critic does not overfit to the training images.

    The probability starts at 0 (section 3.1) and may rise to the probability in the settings.
    """

    probability: Tensor
    confidence: Tensor

    def __init__(self, settings: AugmentationSettings, budget: int) -> None:
        super().__init__(settings, budget)
        self.register_buffer("probability", torch.zeros(()))
        self.register_buffer("confidence", torch.tensor(WANTED_CONFIDENCE))

    def forward(self, images: Tensor, draws: StepRandom, masks: int = 0) -> Tensor:
        """Applies each operation of the policy to each image with the current probability."""
        return _augment(images, self.settings.policy, self.probability, draws, masks)

    @torch.no_grad()
    def observe(self, confidence: Tensor, total: int) -> None:
        """Moves the probability one step up or down, by the average confidence of about four steps, as in the paper."""
        self.confidence.lerp_(mean_over_workers(confidence.mean()).to(self.confidence.dtype), 0.25)
        step = total / min(IMAGES_TO_FULL, self.budget / 4)
        change = (self.confidence - WANTED_CONFIDENCE).sign() * step
        self.probability.add_(change).clamp_(0.0, self.settings.probability)


def _augment(
    images: Tensor, policy: tuple[str, ...], probability: Tensor | float, draws: StepRandom, masks: int
) -> Tensor:
    if {"flip", "translation", "rotation"} & set(policy):
        images = _move(images, policy, probability, draws)
    if "intensity" in policy:
        channels, mask_channels = images.split([images.shape[1] - masks, masks], dim=1)
        images = torch.cat([_jitter_intensity(channels, probability, draws), mask_channels], dim=1)
    if "cutout" in policy:
        images = _cut_out_square(images, probability, draws)
    return images


def _move(images: Tensor, policy: tuple[str, ...], probability: Tensor | float, draws: StepRandom) -> Tensor:
    """Flip, rotation and translation by whole pixels, with a single resampling."""
    size = images.shape[-1]
    count = len(images)
    exact = full_precision(images)
    flip = exact.new_ones(count)
    angle = exact.new_zeros(count)
    shift = exact.new_zeros(count, 2)
    if "flip" in policy:
        flip = torch.where(draws.uniform() < 0.5 * probability, -flip, flip)
    if "rotation" in policy:
        angle = _randomly_applied((2 * draws.uniform() - 1) * ROTATION, probability, draws)
    if "translation" in policy:
        most = round(size * TRANSLATION)
        pixels = draws.integers(2 * most + 1, 2) - most
        shift = _randomly_applied(pixels * (2.0 / size), probability, draws)
    cos = angle.cos()
    sin = angle.sin()
    # The affine map of each image: a mirrored rotation, and the shift in the last column.
    first_row = torch.stack([flip * cos, -sin, shift[:, 0]], dim=1)
    second_row = torch.stack([flip * sin, cos, shift[:, 1]], dim=1)
    affine = torch.stack([first_row, second_row], dim=1)
    # bfloat16 has 8 bits, too few for the coordinate of a pixel.
    with torch.autocast(images.device.type, enabled=False):
        grid = F.affine_grid(affine.to(exact.dtype), list(images.shape), align_corners=False)
        return F.grid_sample(exact, grid, mode="bilinear", padding_mode="border", align_corners=False)


def _jitter_intensity(images: Tensor, probability: Tensor | float, draws: StepRandom) -> Tensor:
    """Changes brightness by up to a quarter of the range (half of DiffAugment's) and contrast by up to a half."""
    brightness = _randomly_applied(draws.uniform(1, 1, 1) - 0.5, probability, draws)
    contrast = 1.0 + _randomly_applied(draws.uniform(1, 1, 1) - 0.5, probability, draws)
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    return (images - mean) * contrast + mean + brightness


def _cut_out_square(images: Tensor, probability: Tensor | float, draws: StepRandom) -> Tensor:
    """Cuts out a square whose centre is anywhere in the image."""
    size = images.shape[-1]
    half = max(round(size * CUTOUT / 2), 1)
    centre = draws.integers(size, 2)
    # Distance of each row and column from the centre, `[b, size]`.
    places = torch.arange(size, device=images.device)
    down = places - centre[:, 0, None]
    across = places - centre[:, 1, None]
    in_rows = (down >= -half) & (down < half)
    in_columns = (across >= -half) & (across < half)
    inside = in_rows[:, None, :, None] & in_columns[:, None, None, :]
    chosen = draws.uniform(1, 1, 1) < probability
    return torch.where(inside & chosen, -1.0, images)


def _randomly_applied(change: Tensor, probability: Tensor | float, draws: StepRandom) -> Tensor:
    """Returns `change` for randomly chosen images, and zero for the others."""
    one_per_image = [1] * (change.ndim - 1)
    chosen = draws.uniform(*one_per_image) < probability
    return torch.where(chosen, change, torch.zeros_like(change))
