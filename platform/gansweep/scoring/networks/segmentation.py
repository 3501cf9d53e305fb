"""Segmenters trained on real pairs of image and mask, with or without generated pairs, in arms of equal compute.

As with detectors (see `gansweep.scoring.networks.detection`), segmenter number s starts from the same weights in every
arm. It sees the same real images at the same positions of its batches, with the same augmentation.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from gansweep.devices import exact_float32
from gansweep.errors import CohortError, unknown_name
from gansweep.scoring.networks.arm_batches import Batches, Feed, Pool
from gansweep.scoring.networks.arm_training import Task, train_arm
from gansweep.scoring.networks.augmentation import OF_PAIRS
from gansweep.scoring.networks.recipe import Recipe

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gansweep.config import ScoringSettings
    from gansweep.contracts import ImageSet, ImageSpec, Trainables

__all__ = ["VERSION", "predicted_masks", "segmenter_recipe", "train_segmenter", "train_segmenters", "with_lesion"]

VERSION = 2
"""Part of the cache key. Increase it with every change that affects the result of training."""


def segmenter_recipe(scoring: ScoringSettings, trainables: Trainables, spec: ImageSpec) -> Recipe:
    """Returns how the segmenters of trials and of `confirm` are trained.

    Raises:
        ConfigError: the segmenter is unknown.
    """
    name = scoring.segmenter
    if name not in trainables.segmenters:
        raise unknown_name("segmenter", name, trainables.segmenters, where="scoring.segmenter")
    build = partial(trainables.segmenters[name], spec)
    return Recipe(build, len(spec.classes), scoring.segmenter_steps, scoring.detector_batch)


def train_segmenter(
    recipe: Recipe,
    real: ImageSet,
    synthetic: ImageSet | None,
    synthetic_fraction: float,
    seed: int,
    device: torch.device,
) -> nn.Module:
    """Trains one segmenter on the sum of cross-entropy and Dice loss and returns it in evaluation mode.

    Args:
        recipe: training recipe, the same in every arm. It builds networks from images `[b, C, H, W]` to logits
            `[b, 1, H, W]`.
        real: training images with masks.
        synthetic: samples with masks to mix in, or None. Real images replace a class without samples.
        synthetic_fraction: fraction of the batch in [0, 1].
        seed: seed of initialisation, batches, augmentation and the segmenter's own random numbers, such as dropout.
        device: device for training, on which the segmenter stays.
    """
    return train_segmenters(recipe, real, synthetic, synthetic_fraction, [seed], device)[0]


def train_segmenters(
    recipe: Recipe,
    real: ImageSet,
    synthetic: ImageSet | None,
    synthetic_fraction: float,
    seeds: Sequence[int],
    device: torch.device,
    *,
    together: bool | None = None,
) -> list[nn.Module]:
    """Trains the segmenters of an arm, one for each seed: see `train_segmenter`.

    They can be trained together like detectors: see `gansweep.scoring.networks.detection.train_detectors`.

    Args:
        recipe: training recipe, the same in every arm.
        real: training images with masks.
        synthetic: samples with masks to mix in, or None.
        synthetic_fraction: fraction of the batch in [0, 1].
        seeds: seeds of the segmenters.
        device: device for training, on which the segmenters stay.
        together: whether to train them together; None: on a GPU.
    """
    from monai.losses import DiceCELoss

    if not len(seeds):
        return []
    # Over the batch, because the Dice loss of an image without a lesion does not measure how wrong its mask is.
    objective = DiceCELoss(sigmoid=True, batch=True)
    joined = _joined(real)
    others = None if synthetic is None else _joined(synthetic)
    pool = Pool(joined, others, device)
    batches = [Batches(recipe, joined, others, synthetic_fraction, seed, pool) for seed in seeds]
    fraction = _masks(real).mean()
    task = Task(
        recipe,
        build=lambda: _FromPrior(recipe.build(), fraction),
        feed=partial(_feed, recipe),
        loss=objective,
        losses=partial(_losses, objective),
    )
    return train_arm(task, batches, seeds, together=together)


def _feed(recipe: Recipe, batches: Sequence[Batches], seeds: Sequence[int]) -> Feed:
    augmentation = OF_PAIRS[recipe.augmentation] if recipe.augmentation else None
    return Feed(recipe, batches, seeds, augmentation, _images_and_masks)


def _images_and_masks(joined: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Returns images and their masks in {0, 1}."""
    del labels
    return joined[:, :-1], (joined[:, -1:] >= 0.5).float()


def _losses(objective: nn.Module, logits: Tensor, masks: Tensor) -> Tensor:
    """Returns the loss of each segmenter, `[s]`, from logits `[s, b, 1, H, W]`."""
    return torch.stack([objective(*pair) for pair in zip(logits, masks.view_as(logits), strict=True)])


@torch.no_grad()
def predicted_masks(segmenter: nn.Module, images: ImageSet, device: torch.device, batch: int = 256) -> Tensor:
    """Returns the masks `[n, 1, H, W]` in {0, 1} that a segmenter predicts for the images, on the CPU.

    They are NaN where the segmenter gives NaN, which is no background.
    """
    found = []
    for chunk in images.images.split(batch):
        with exact_float32(device):
            logits = segmenter(chunk.to(device))
        found.append(torch.where(logits.isnan(), logits, (logits > 0).to(logits)).float().cpu())
    return torch.cat(found)


class _FromPrior(nn.Module):
    """Segmenter whose initial probability is the fraction of lesion pixels everywhere.

    Otherwise lesions of a few pixels are rarely found: the first hundred updates only make everything else dark (Lin et
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
    """Returns whether each image has a lesion, `[n]`.

    Raises:
        CohortError: the images have no masks.
    """
    return _masks(images).flatten(1).any(dim=1)


def _joined(images: ImageSet) -> ImageSet:
    """Returns images with their masks as a last channel, so that augmentation moves both together."""
    return replace(images, images=torch.cat([images.images, _masks(images)], dim=1))


def _masks(images: ImageSet) -> Tensor:
    if images.masks is None:
        raise CohortError("images without lesion masks cannot be segmented", fix="ingest with masks")
    return images.masks
