"""Detectors trained on real and synthetic images, in arms that differ only in the synthetic images.

Every arm makes the same number of updates on batches of the same size with the same classical augmentation. In every
arm, detector number s starts from the same weights and sees the same real images at the same positions of its batches.
The arms therefore share their random numbers, and their difference is due to the synthetic images.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from gansweep.devices import exact_float32
from gansweep.scoring.networks.arm_batches import Batches, Feed, Pool
from gansweep.scoring.networks.arm_training import Task, train_arm
from gansweep.scoring.networks.augmentation import AUGMENTATIONS
from gansweep.scoring.networks.recipe import Recipe

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gansweep.contracts import ImageSet

__all__ = ["VERSION", "Batches", "Recipe", "fraction_of_ratio", "predict", "train_detector", "train_detectors"]

VERSION = 2
"""Part of the cache key. Increase it with every change that affects the result of training."""


def fraction_of_ratio(ratio: float) -> float:
    """Returns the fraction of synthetic images in a batch with `ratio` synthetic images per real image."""
    return ratio / (1 + ratio)


def train_detector(
    recipe: Recipe,
    real: ImageSet,
    synthetic: ImageSet | None,
    synthetic_fraction: float,
    seed: int,
    device: torch.device,
) -> nn.Module:
    """Trains one detector and returns it in evaluation mode.

    Args:
        recipe: training recipe, the same in every arm.
        real: training images.
        synthetic: samples to mix in, or None. Real images replace a class without samples, or all classes if the set is
            empty.
        synthetic_fraction: fraction of the batch in [0, 1]; 1 trains on synthetic images alone.
        seed: seed of initialisation, batches, augmentation and the detector's own random numbers, such as dropout.
        device: device for training, on which the detector stays.
    """
    return train_detectors(recipe, real, synthetic, synthetic_fraction, [seed], device)[0]


def train_detectors(
    recipe: Recipe,
    real: ImageSet,
    synthetic: ImageSet | None,
    synthetic_fraction: float,
    seeds: Sequence[int],
    device: torch.device,
    *,
    together: bool | None = None,
) -> list[nn.Module]:
    """Trains the detectors of an arm, one for each seed: see `train_detector`.

    Detectors trained together are one network with stacked weights, which a GPU trains in little more than the time of
    one. The order of sums then differs: if training is stable, probabilities agree to 1e-3 with those of detectors
    trained one by one. Detectors with random numbers of their own, such as dropout, are always trained one by one.

    Args:
        recipe: training recipe, the same in every arm.
        real: training images.
        synthetic: samples to mix in, or None.
        synthetic_fraction: fraction of the batch in [0, 1].
        seeds: seeds of the detectors.
        device: device for training, on which the detectors stay.
        together: whether to train them together; None: on a GPU. On a CPU it is not faster.
    """
    if not len(seeds):
        return []
    pool = Pool(real, synthetic, device)
    batches = [Batches(recipe, real, synthetic, synthetic_fraction, seed, pool) for seed in seeds]
    task = Task(recipe, recipe.build, partial(_feed, recipe), functional.cross_entropy, _losses)
    return train_arm(task, batches, seeds, together=together)


def _feed(recipe: Recipe, batches: Sequence[Batches], seeds: Sequence[int]) -> Feed:
    augmentation = AUGMENTATIONS[recipe.augmentation] if recipe.augmentation else None
    return Feed(recipe, batches, seeds, augmentation)


def _losses(logits: Tensor, labels: Tensor) -> Tensor:
    """Returns the loss of each detector, `[s]`, from logits `[s, b, classes]`."""
    seeds, batch, classes = logits.shape
    each = functional.cross_entropy(logits.reshape(seeds * batch, classes), labels, reduction="none")
    return each.view(seeds, batch).mean(1)


@torch.no_grad()
def predict(detectors: Sequence[nn.Module], images: Tensor, device: torch.device, batch: int = 256) -> Tensor:
    """Returns class probabilities `[s, n, classes]` of s detectors, on the CPU."""
    found = []
    with exact_float32(device):
        for chunk in images.split(batch):
            moved = chunk.to(device)
            found.append(torch.stack([detector(moved).softmax(1) for detector in detectors]))
    return torch.cat(found, dim=1).cpu()
