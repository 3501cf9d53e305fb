"""The training batches of an arm's detectors, assembled on the device.

Which images a batch holds, and how they are augmented, is drawn on the CPU, for every device alike. It is drawn for
many updates at once and copied together, so that no update waits for the host.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gansweep.devices import has_room
from gansweep.scoring.networks.augmentation import AUGMENTATIONS
from gansweep.seeds import stream

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gansweep.contracts import ImageSet
    from gansweep.scoring.networks.augmentation import Drawn
    from gansweep.scoring.networks.recipe import Recipe

__all__ = ["Batches", "Feed", "Pool"]

_CPU = torch.device("cpu")

_DRAWN_BYTES = 16 * 2**20
"""Random numbers of augmentations that are drawn and copied at once."""


class Pool:
    """The real and synthetic images of an arm, once for all of its detectors.

    They are on the device where it has room for them; else batches are gathered in host memory and copied.

    Args:
        real: training images.
        synthetic: samples, or None.
        device: where batches are wanted.
    """

    def __init__(self, real: ImageSet, synthetic: ImageSet | None, device: torch.device = _CPU) -> None:
        self.device = device
        self.real = real.labels.cpu()
        self.synthetic = synthetic.labels.cpu() if synthetic is not None and len(synthetic) else None
        parts = [real.images] if synthetic is None or not len(synthetic) else [real.images, synthetic.images]
        needed = sum(part.numel() * part.element_size() for part in parts)
        self.home = device if has_room(needed, device) else _CPU
        parts = [part.to(self.home) for part in parts]
        self.images = parts[0] if len(parts) == 1 else torch.cat(parts)

    def take(self, rows: Tensor) -> Tensor:
        """Images `[..., C, H, W]` on the device of `rows` `[...]`, which are where the images are (`home`)."""
        found = self.images[rows]
        return found if self.home == self.device else found.pin_memory().to(self.device, non_blocking=True)


class Batches:
    """The training batches of one detector, by step.

    A batch's first places are real and its last are synthetic. Which real image stands in a place does not depend on
    the synthetic fraction, so that arms share their real images where both have one.

    Args:
        recipe: of the detector.
        real: training images.
        synthetic: samples to mix in, or None.
        synthetic_fraction: of the batches, on average over the steps.
        seed: of the choice.
        pool: the same images, where several detectors share them; None: they stay on the CPU.
    """

    def __init__(
        self,
        recipe: Recipe,
        real: ImageSet,
        synthetic: ImageSet | None,
        synthetic_fraction: float,
        seed: int,
        pool: Pool | None = None,
    ) -> None:
        self.pool = pool or Pool(real, synthetic)
        self.generators = stream(seed, "real images"), stream(seed, "synthetic images")
        rows, labels = _chosen(recipe, self.pool, synthetic_fraction, self.generators)
        self.rows = rows.to(self.pool.home)
        """`[steps, b]` rows of the pool, where it is."""
        self.labels = labels.to(self.pool.device)
        """`[steps, b]` classes, on the device."""

    def __getitem__(self, step: int) -> tuple[Tensor, Tensor]:
        return self.pool.take(self.rows[step]), self.labels[step]


def _chosen(
    recipe: Recipe, pool: Pool, synthetic_fraction: float, generators: tuple[torch.Generator, torch.Generator]
) -> tuple[Tensor, Tensor]:
    """Rows of the pool and their classes, `[steps, b]` each, on the CPU."""
    batch = recipe.batch
    places = torch.arange(batch)
    wanted = (places + torch.arange(recipe.steps)[:, None] * batch) % recipe.classes
    rows, labels = _drawn(pool.real, wanted, recipe, generators[0])
    if pool.synthetic is not None and synthetic_fraction:
        others, their_labels = _drawn(pool.synthetic, wanted, recipe, generators[1])
        fractions = [recipe.synthetic_fraction(synthetic_fraction, step) for step in range(recipe.steps)]
        first = torch.tensor([batch - round(fraction * batch) for fraction in fractions])
        replaced = (places >= first[:, None]) & (their_labels >= 0)
        rows = torch.where(replaced, others + len(pool.real), rows)
        labels = torch.where(replaced, their_labels, labels)
    return rows, labels


def _drawn(labels: Tensor, wanted: Tensor, recipe: Recipe, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """A row for each of the `wanted` classes, and its class: -1 where there is none of that class."""
    order = labels.argsort(stable=True)
    counts = torch.bincount(labels, minlength=recipe.classes)
    starts = counts.cumsum(0) - counts
    # A draw for each batch: what a detector sees must not depend on the number of its updates.
    u = torch.stack([torch.rand(recipe.batch, generator=generator) for _ in range(len(wanted))])
    if recipe.balanced:
        rows = (u * counts[wanted]).long() + starts[wanted]
        there = counts[wanted] > 0
    else:
        rows = (u * len(labels)).long()
        there = torch.tensor(len(labels) > 0)
    rows = order[rows.clamp(max=len(labels) - 1)]
    return rows, torch.where(there, labels[rows], -1)


class Feed:
    """The augmented batches of several detectors of one arm, one after the other in one tensor.

    Args:
        recipe: of the detectors.
        batches: of each detector.
        seeds: of the detectors.
        augmentation: a key of `AUGMENTATIONS`; None: none.
    """

    def __init__(
        self, recipe: Recipe, batches: Sequence[Batches], seeds: Sequence[int], augmentation: str | None
    ) -> None:
        self._recipe = recipe
        self._batches = batches
        self._pool = batches[0].pool
        self._rows = torch.stack([one.rows for one in batches], dim=1)
        self._labels = torch.stack([one.labels for one in batches], dim=1)
        self._augmentation = AUGMENTATIONS[augmentation] if augmentation else None
        self._generators = [stream(seed, "augmentation") for seed in seeds]
        self._drawn: list[Drawn] = []

    def at(self, step: int) -> tuple[Tensor, Tensor]:
        """Images `[s b, C, H, W]` and their classes or probabilities of update `step`; steps must come in order."""
        images = self._pool.take(self._rows[step].flatten())
        labels = self._labels[step].flatten()
        if self._augmentation is None:
            return images, labels
        if not self._drawn:
            self._drawn = self._draw(step, images)
        return self._augmentation.apply(images, labels, self._recipe.classes, self._drawn.pop(0))

    def _draw(self, step: int, images: Tensor) -> list[Drawn]:
        """The random numbers of as many updates as are copied at once, from `step` on."""
        assert self._augmentation is not None
        seeds = len(self._generators)
        shape = torch.Size((len(images) // seeds, *images.shape[1:]))
        found: list[list[Tensor]] = []
        drawn_bytes = 0
        while drawn_bytes < _DRAWN_BYTES and step + len(found) < self._recipe.steps:
            found.append(_joined([self._augmentation.draw(shape, one) for one in self._generators]))
            drawn_bytes += sum(math.prod(part.shape) * part.element_size() for part in found[-1])
        moved = [_sent(torch.stack(parts), self._pool.device) for parts in zip(*found, strict=True)]
        return [tuple(parts[update] for parts in moved) for update in range(len(found))]


def _joined(drawn: Sequence[Drawn]) -> list[Tensor]:
    """The numbers of several batches for their images one after the other; integers are rows, and move along."""
    parts = []
    for numbers in zip(*drawn, strict=True):
        batch = len(numbers[0])
        moved = [one if one.is_floating_point() else one + batch * place for place, one in enumerate(numbers)]
        parts.append(torch.cat(moved))
    return parts


def _sent(numbers: Tensor, device: torch.device) -> Tensor:
    return numbers.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else numbers
