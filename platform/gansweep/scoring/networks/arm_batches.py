"""The training batches of an arm's detectors, assembled on the device.

Random choices of images and augmentations are drawn on the CPU, so that they are the same on every device. They are
drawn and copied for many updates at once, so that no update waits for the host.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gansweep.devices import has_room
from gansweep.seeds import stream

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gansweep.contracts import ImageSet
    from gansweep.scoring.networks.augmentation import Augmentation, Drawn
    from gansweep.scoring.networks.recipe import Recipe

__all__ = ["Batches", "Feed", "Pool"]

_CPU = torch.device("cpu")

_DRAWN_BYTES = 16 * 2**20
"""Size of the random numbers for augmentation that are drawn and copied at once."""


class Pool:
    """The real and synthetic images of an arm, shared by all of its detectors.

    They are on the device if it has room for them. Otherwise batches are gathered in host memory and copied.

    Args:
        real: training images.
        synthetic: samples, or None.
        device: device of the batches.
    """

    def __init__(self, real: ImageSet, synthetic: ImageSet | None, device: torch.device = _CPU) -> None:
        self.device = device
        self.real = real.labels.cpu()
        self.synthetic: Tensor | None = None
        parts = [real.images]
        if synthetic is not None and len(synthetic):
            self.synthetic = synthetic.labels.cpu()
            parts.append(synthetic.images)
        needed = sum(part.numel() * part.element_size() for part in parts)
        self.home = device if has_room(needed, device) else _CPU
        parts = [part.to(self.home) for part in parts]
        self.images = parts[0] if len(parts) == 1 else torch.cat(parts)

    def take(self, rows: Tensor) -> Tensor:
        """Returns the images in `rows` `[...]`, `[..., C, H, W]` on the device. `rows` are on the device `home`."""
        found = self.images[rows]
        if self.home == self.device:
            return found
        return found.pin_memory().to(self.device, non_blocking=True)


class Batches:
    """The training batches of one detector, by step.

    The first images of a batch are real and the last are synthetic. The choice of the real images does not depend on
    the synthetic fraction, so that two arms have the same real image at each place that is real in both.

    Args:
        recipe: training recipe of the detector.
        real: training images.
        synthetic: samples to mix in, or None.
        synthetic_fraction: fraction of synthetic images, on average over the steps.
        seed: seed of the random choices.
        pool: the same images, shared by several detectors; None: a pool on the CPU.
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
        """Rows of the pool, `[steps, b]`, on the pool's device `home`."""
        self.labels = labels.to(self.pool.device)
        """Classes, `[steps, b]`, on the device."""

    def __getitem__(self, step: int) -> tuple[Tensor, Tensor]:
        return self.pool.take(self.rows[step]), self.labels[step]


def _chosen(
    recipe: Recipe, pool: Pool, synthetic_fraction: float, generators: tuple[torch.Generator, torch.Generator]
) -> tuple[Tensor, Tensor]:
    """Returns rows of the pool and their classes, `[steps, b]` each, on the CPU."""
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
    """Returns a random row for each of the `wanted` classes, and its class; -1 if no image has the wanted class."""
    by_class = labels.argsort(stable=True)
    counts = torch.bincount(labels, minlength=recipe.classes)
    starts = counts.cumsum(0) - counts
    # One draw for each batch: the images that a detector sees must not depend on its number of updates.
    uniform = torch.stack([torch.rand(recipe.batch, generator=generator) for _ in range(len(wanted))])
    if recipe.balanced:
        places = (uniform * counts[wanted]).long() + starts[wanted]
        exists = counts[wanted] > 0
    else:
        places = (uniform * len(labels)).long()
        exists = torch.tensor(len(labels) > 0)
    rows = by_class[places.clamp(max=len(labels) - 1)]
    return rows, torch.where(exists, labels[rows], -1)


class Feed:
    """The augmented batches of several detectors of one arm, concatenated in one tensor.

    Everything random is among the inputs of an update, in tensors of the same shapes for every update. What follows
    from them, the examples, is computed on the device.

    Args:
        recipe: training recipe of the detectors.
        batches: batches of each detector.
        seeds: seeds of the detectors.
        augmentation: augmentation of the images; None for none.
        targets: maps augmented images and their classes to what a network gets and what it should return; None: these.
    """

    def __init__(
        self,
        recipe: Recipe,
        batches: Sequence[Batches],
        seeds: Sequence[int],
        augmentation: Augmentation | None,
        targets: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] | None = None,
    ) -> None:
        self._recipe = recipe
        self._batches = batches
        self._pool = batches[0].pool
        self._rows = torch.stack([one.rows for one in batches], dim=1)
        self._labels = torch.stack([one.labels for one in batches], dim=1)
        self._augmentation = augmentation
        self._targets = targets
        self._generators = [stream(seed, "augmentation") for seed in seeds]
        self._drawn: list[Drawn] = []

    @property
    def device(self) -> torch.device:
        """Device of the examples."""
        return self._pool.device

    def inputs(self, step: int) -> list[Tensor]:
        """Returns what the examples of update `step` are computed from, on the device.

        Steps must be requested in order.
        """
        rows = self._rows[step].flatten()
        # Images that are not on the device are gathered here, because a CUDA graph cannot wait for the host.
        first = rows if self._pool.home == self._pool.device else self._pool.take(rows)
        inputs = [first, self._labels[step].flatten()]
        if self._augmentation is not None:
            if not self._drawn:
                self._drawn = self._draw(step)
            inputs += self._drawn.pop(0)
        return inputs

    def examples(self, inputs: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Returns images `[s b, C, H, W]` and targets: classes, class probabilities, or what `targets` returns."""
        first, labels, *drawn = inputs
        images = self._pool.take(first) if self._pool.home == self._pool.device else first
        if self._augmentation is not None:
            images, labels = self._augmentation.apply(images, labels, self._recipe.classes, tuple(drawn))
        return self._targets(images, labels) if self._targets else (images, labels)

    def at(self, step: int) -> tuple[Tensor, Tensor]:
        """Returns the examples of update `step`. Steps must be requested in order."""
        return self.examples(self.inputs(step))

    def _draw(self, step: int) -> list[Drawn]:
        """Draws and copies the random numbers of the next updates, `step` first."""
        assert self._augmentation is not None
        shape = torch.Size((self._recipe.batch, *self._pool.images.shape[1:]))
        updates: list[list[Tensor]] = []
        drawn_bytes = 0
        while drawn_bytes < _DRAWN_BYTES and step + len(updates) < self._recipe.steps:
            parts = _joined([self._augmentation.draw(shape, generator) for generator in self._generators])
            updates.append(parts)
            drawn_bytes += sum(part.nbytes for part in parts)
        # One copy for each kind of number, instead of one per update.
        kinds = [torch.stack(parts) for parts in zip(*updates, strict=True)]
        sent = [_sent(numbers, self._pool.device) for numbers in kinds]
        return [tuple(numbers[update] for numbers in sent) for update in range(len(updates))]


def _joined(drawn: Sequence[Drawn]) -> list[Tensor]:
    """Concatenates the random numbers of several batches. Integers are rows of a batch, so they are shifted."""
    joined = []
    for kind in range(len(drawn[0])):
        parts = []
        first_row = 0
        for numbers in drawn:
            part = numbers[kind]
            parts.append(part if part.is_floating_point() else part + first_row)
            first_row += len(part)
        joined.append(torch.cat(parts))
    return joined


def _sent(numbers: Tensor, device: torch.device) -> Tensor:
    return numbers.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else numbers
