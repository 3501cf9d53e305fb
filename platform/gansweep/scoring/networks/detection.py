"""Detectors trained on real and synthetic images, in arms that differ in nothing but the synthetic images.

Every arm makes the same number of updates on batches of the same size with the same classical augmentation. Detector
number s starts from the same weights, and sees the same real images in the same places of its batches, in every arm:
the arms share their chance, so that their difference is due to the synthetic images.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from gansweep.contracts import FitsBatches
from gansweep.scoring.networks.augmentation import AUGMENTATIONS
from gansweep.seeds import seeded, stream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from gansweep.contracts import ImageSet

__all__ = ["VERSION", "Batches", "Recipe", "fraction_of_ratio", "predict", "train_detector"]

VERSION = 2
"""Part of the cache key; to be raised with every change of what training gives."""


@dataclass(frozen=True)
class Recipe:
    """How every detector of a comparison is trained.

    Args:
        build: makes an untrained detector, images `[b, C, H, W]` to logits `[b, classes]`.
        classes: number of classes.
        steps: updates.
        batch: images per update.
        balanced: batches hold every class equally often (scarce classes are oversampled); else as they come.
        augmentation: of every training image, real or synthetic: a key of `AUGMENTATIONS`; None: none.
        lr: the peak of a one-cycle schedule of AdamW.
        use: how synthetic images are used: `mixed`, `pretrained` or `annealed`; see `ScoringSettings.synthetic_use`.
    """

    build: Callable[[], nn.Module]
    classes: int
    steps: int
    batch: int
    balanced: bool = True
    augmentation: str | None = "classical"
    lr: float = 3e-3
    use: str = "mixed"

    def synthetic_fraction(self, mean: float, step: int) -> float:
        """The fraction of synthetic images in the batch of a step, whose mean over all steps is `mean`.

        Whichever the use, a training has the same number of updates and, but for rounding, of synthetic images.
        """
        if self.use == "pretrained":
            return 1.0 if step < round(mean * self.steps) else 0.0
        if self.use == "annealed":
            # Falls in a straight line: to 0 from at most 1, or from 1 to what the mean leaves.
            done = step / max(1, self.steps - 1)
            first, last = min(1.0, 2 * mean), max(0.0, 2 * mean - 1)
            return first + (last - first) * done
        return mean


def fraction_of_ratio(ratio: float) -> float:
    """The share of synthetic images in a batch with `ratio` synthetic per real one."""
    return ratio / (1 + ratio)


def train_detector(
    recipe: Recipe,
    real: ImageSet,
    synthetic: ImageSet | None,
    synthetic_fraction: float,
    seed: int,
    device: torch.device,
) -> nn.Module:
    """One detector, trained and in evaluation mode.

    Args:
        recipe: the same in every arm.
        real: training images.
        synthetic: samples to mix in, or None. A class of which there is no sample is filled up with real images, all
            classes where the set is empty.
        synthetic_fraction: of the batch, in [0, 1]; 1 trains on synthetic images alone.
        seed: of initialisation, batches, augmentation, and what the detector itself draws, as for dropout.
        device: where it trains and stays.
    """
    batches = Batches(recipe, real, synthetic, synthetic_fraction, seed)
    shown = _augmented(batches, recipe, stream(seed, "augmentation"), device)
    with seeded(seed, device):
        detector = recipe.build().to(device).train()
        if isinstance(detector, FitsBatches):
            detector.fit_batches(shown)
            return detector.eval()
        optimiser = torch.optim.AdamW(detector.parameters(), lr=recipe.lr, weight_decay=1e-2)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=recipe.lr, total_steps=recipe.steps)
        for images, labels in shown:
            loss = functional.cross_entropy(detector(images), labels)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            schedule.step()
    return detector.eval()


def _augmented(
    batches: Batches, recipe: Recipe, generator: torch.Generator, device: torch.device
) -> Iterator[tuple[Tensor, Tensor]]:
    """The recipe's number of batches, augmented, on the device."""
    for step in range(recipe.steps):
        images, labels = (x.to(device) for x in batches[step])
        if recipe.augmentation:
            augment = AUGMENTATIONS[recipe.augmentation]
            images, labels = augment(images, labels, recipe.classes, generator)
        yield images, labels


@torch.no_grad()
def predict(detectors: Sequence[nn.Module], images: Tensor, device: torch.device, batch: int = 256) -> Tensor:
    """Class probabilities `[s, n, classes]` on the CPU of s detectors."""
    chunks = [torch.stack([d(chunk).softmax(1) for d in detectors]) for chunk in images.to(device).split(batch)]
    return torch.cat(chunks, 1).cpu()


class Batches:
    """The training batches of one detector, by step.

    A batch's first places are real and its last are synthetic. Which real image stands in a place does not depend on
    the synthetic fraction, so that arms share their real images where both have one.
    """

    def __init__(
        self, recipe: Recipe, real: ImageSet, synthetic: ImageSet | None, synthetic_fraction: float, seed: int
    ) -> None:
        self.recipe = recipe
        self.pools = (_Pool(real, recipe), _Pool(synthetic, recipe) if synthetic else None)
        self.synthetic_fraction = synthetic_fraction if synthetic else 0.0
        self.generators = stream(seed, "real images"), stream(seed, "synthetic images")

    def __getitem__(self, step: int) -> tuple[Tensor, Tensor]:
        places = torch.arange(self.recipe.batch)
        wanted = (places + step * self.recipe.batch) % self.recipe.classes
        real, synthetic = self.pools
        images, labels = real.drawn(wanted, self.generators[0])
        if synthetic is not None and self.synthetic_fraction:
            others, their_labels = synthetic.drawn(wanted, self.generators[1])
            fraction = self.recipe.synthetic_fraction(self.synthetic_fraction, step)
            first = self.recipe.batch - round(fraction * self.recipe.batch)
            replaced = (places >= first) & (their_labels >= 0)
            images = torch.where(replaced[:, None, None, None], others, images)
            labels = torch.where(replaced, their_labels, labels)
        return images, labels


class _Pool:
    """Images sorted by class, to draw from."""

    def __init__(self, images: ImageSet, recipe: Recipe) -> None:
        order = images.labels.argsort(stable=True)
        self.images = images.images[order]
        self.labels = images.labels[order]
        self.counts = torch.bincount(self.labels, minlength=recipe.classes)
        self.starts = self.counts.cumsum(0) - self.counts
        self.balanced = recipe.balanced

    def drawn(self, wanted: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """One image for each of the `wanted` classes; label -1 where the pool has none of that class."""
        u = torch.rand(len(wanted), generator=generator)
        counts, starts = (
            (self.counts[wanted], self.starts[wanted]) if self.balanced else (torch.tensor(len(self.labels)), 0)
        )
        rows = ((u * counts).long() + starts).clamp(max=len(self.labels) - 1)
        return self.images[rows], torch.where(counts > 0, self.labels[rows], -1)
