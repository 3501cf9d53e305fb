"""Detectors trained on real and synthetic images, in arms that differ only in the synthetic images.

Every arm makes the same number of updates on batches of the same size with the same classical augmentation. In every
arm, detector number s starts from the same weights and sees the same real images at the same positions of its batches.
The arms therefore share their random numbers, and their difference is due to the synthetic images.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from gansweep.contracts import FitsBatches
from gansweep.scoring.networks.arm_batches import Batches, Feed, Pool
from gansweep.scoring.networks.recipe import Recipe
from gansweep.scoring.networks.stacked import CannotStackError, train_stacked
from gansweep.seeds import seeded

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gansweep.contracts import ImageSet

__all__ = ["VERSION", "Batches", "Recipe", "fraction_of_ratio", "predict", "train_detector", "train_detectors"]

VERSION = 2
"""Part of the cache key. Increase it with every change that affects the result of training."""

log = logging.getLogger(__name__)


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
    """The detectors of an arm, as `train_detector` gives for each of the `seeds`.

    Together they are one network with stacked weights, which a GPU trains in little more than the time of one. Sums are
    then added in another order: probabilities agree with those of detectors trained one by one to 1e-3 where training
    is stable. Detectors with random numbers of their own, as for dropout, are always trained one by one.

    Args:
        recipe: the same in every arm.
        real: training images.
        synthetic: samples to mix in, or None.
        synthetic_fraction: of the batch, in [0, 1].
        seeds: of the detectors.
        device: where they train and stay.
        together: whether to train them together; None: on a GPU. On a CPU it is no faster.
    """
    if not len(seeds):
        return []
    pool = Pool(real, synthetic, device)
    batches = [Batches(recipe, real, synthetic, synthetic_fraction, seed, pool) for seed in seeds]
    if len(seeds) > 1 and (device.type == "cuda" if together is None else together):
        detectors = []
        for seed in seeds:
            with seeded(seed, device):
                detectors.append(recipe.build().to(device).train())
        try:
            if any(isinstance(detector, FitsBatches) for detector in detectors):
                raise CannotStackError("they are fitted, not trained by gradients")
            train_stacked(detectors, recipe, Feed(recipe, batches, seeds, recipe.augmentation).at, _losses)
        except CannotStackError as reason:
            log.info("detectors are trained one by one: %s", reason)
        else:
            return [detector.eval() for detector in detectors]
    return [_alone(recipe, one, seed, device) for one, seed in zip(batches, seeds, strict=True)]


def _alone(recipe: Recipe, batches: Batches, seed: int, device: torch.device) -> nn.Module:
    feed = Feed(recipe, [batches], [seed], recipe.augmentation)
    with seeded(seed, device):
        detector = recipe.build().to(device).train()
        if isinstance(detector, FitsBatches):
            detector.fit_batches(feed.at(step) for step in range(recipe.steps))
            return detector.eval()
        optimiser = torch.optim.AdamW(detector.parameters(), lr=recipe.lr, weight_decay=1e-2)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=recipe.lr, total_steps=recipe.steps)
        for step in range(recipe.steps):
            images, labels = feed.at(step)
            loss = functional.cross_entropy(detector(images), labels)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            schedule.step()
    return detector.eval()


def _losses(logits: Tensor, labels: Tensor) -> Tensor:
    """The loss of each detector, `[s]`, of logits `[s, b, classes]`."""
    seeds, batch, classes = logits.shape
    each = functional.cross_entropy(logits.reshape(seeds * batch, classes), labels, reduction="none")
    return each.view(seeds, batch).mean(1)


@torch.no_grad()
def predict(detectors: Sequence[nn.Module], images: Tensor, device: torch.device, batch: int = 256) -> Tensor:
    """Returns class probabilities `[s, n, classes]` of s detectors, on the CPU."""
    chunks = [torch.stack([d(chunk).softmax(1) for d in detectors]) for chunk in images.to(device).split(batch)]
    return torch.cat(chunks, 1).cpu()
