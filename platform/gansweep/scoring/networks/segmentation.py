"""Segmenters trained on real pairs of image and mask, and on real and generated ones, in arms of equal compute.

As with detectors (see `gansweep.scoring.networks.detection`), segmenter number s starts from the same weights in every
arm and sees the same real images in the same places of its batches, with the same augmentation.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from gansweep.errors import CohortError
from gansweep.scoring.networks.augmentation import augmented
from gansweep.scoring.networks.detection import Batches, Recipe
from gansweep.seeds import seeded, stream

if TYPE_CHECKING:
    from gansweep.contracts import ImageSet

__all__ = ["VERSION", "predicted_masks", "train_segmenter", "with_lesion"]

VERSION = 2
"""Part of the cache key; to be raised with every change of what training gives."""


def train_segmenter(
    recipe: Recipe,
    real: ImageSet,
    synthetic: ImageSet | None,
    synthetic_fraction: float,
    seed: int,
    device: torch.device,
) -> nn.Module:
    """One segmenter, trained (on the sum of cross-entropy and Dice loss) and in evaluation mode.

    Args:
        recipe: the same in every arm; it builds `[b, C, H, W]` images to logits `[b, 1, H, W]`.
        real: training images with masks.
        synthetic: samples with masks to mix in, or None. A class without a sample is filled up with real images.
        synthetic_fraction: of the batch, in [0, 1].
        seed: of initialisation, batches, augmentation, and what the segmenter itself draws, as for dropout.
        device: where it trains and stays.
    """
    from monai.losses import DiceCELoss

    # Over the batch: the Dice loss of an image without a lesion says nothing of how wrong its segmentation is.
    objective = DiceCELoss(sigmoid=True, batch=True)
    batches = Batches(
        recipe, _joined(real), None if synthetic is None else _joined(synthetic), synthetic_fraction, seed
    )
    generator = stream(seed, "augmentation")
    with seeded(seed, device):
        segmenter = _FromPrior(recipe.build(), _masks(real).mean()).to(device).train()
        optimiser = torch.optim.AdamW(segmenter.parameters(), lr=recipe.lr, weight_decay=1e-2)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=recipe.lr, total_steps=recipe.steps)
        for step in range(recipe.steps):
            pairs = batches[step][0].to(device)
            if recipe.augmentation:
                pairs = augmented(pairs, generator)
            loss = objective(segmenter(pairs[:, :-1]), (pairs[:, -1:] >= 0.5).float())
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            schedule.step()
    return segmenter.eval()


@torch.no_grad()
def predicted_masks(segmenter: nn.Module, images: ImageSet, device: torch.device, batch: int = 256) -> Tensor:
    """The masks `[n, 1, H, W]` in {0, 1} that a segmenter draws for the images, on the CPU."""
    chunks = images.images.split(batch)
    return torch.cat([(segmenter(chunk.to(device)) > 0).float().cpu() for chunk in chunks])


class _FromPrior(nn.Module):
    """A segmenter that begins with the fraction of lesion pixels as its probability everywhere.

    Lesions of a few pixels are hardly found otherwise: the first hundred updates go into making all else dark (Lin et
    al. 2017, "Focal Loss for Dense Object Detection", section 4.1).
    """

    def __init__(self, network: nn.Module, fraction: Tensor) -> None:
        super().__init__()
        self.network = network
        self.offset = float(fraction.clamp(1e-4, 0.5).logit())

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.network(images) + self.offset
        return logits


def with_lesion(images: ImageSet) -> Tensor:
    """`[n]`, whether each image has a lesion.

    Raises:
        CohortError: images without masks.
    """
    return _masks(images).flatten(1).any(dim=1)


def _joined(images: ImageSet) -> ImageSet:
    """Images with their masks as a last channel: what moves one moves the other."""
    return replace(images, images=torch.cat([images.images, _masks(images)], dim=1))


def _masks(images: ImageSet) -> Tensor:
    if images.masks is None:
        raise CohortError("images without lesion masks cannot be segmented", fix="ingest with masks")
    return images.masks
