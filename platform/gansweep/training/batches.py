"""Batches of real images: every image once per epoch, in the same order for any number of workers."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gansweep.cohort.stored import HostImages
from gansweep.contracts import Batch, ImageSet, Phase
from gansweep.errors import ConfigError
from gansweep.seeds import seed_from
from gansweep.training.build import check_batch
from gansweep.training.placement import Prefetcher
from gansweep.training.random import SeededStepRandom

if TYPE_CHECKING:
    from gansweep.distributed import World

__all__ = ["Batches"]


class Batches:
    """Draws global batches without replacement within an epoch, and returns this worker's rows.

    Each phase has its own order of the data. The order is a function of (seed, phase, epoch), so that the batch of any
    step can be drawn without the previous ones.

    Args:
        data: all training images, already on `device`, or `HostImages` that are sent there.
        size: images in the global batch.
        seed: the trial's seed.
        world: the trial's workers.
        device: device of the data and of the random numbers.

    Raises:
        ConfigError: the batch size is not divisible by the number of workers, or there are no images.
    """

    def __init__(self, data: ImageSet, size: int, seed: int, world: World, device: torch.device) -> None:
        check_batch(size, world.size)
        if not len(data):
            raise ConfigError("the training set is empty")
        self._data = data
        self._size = size
        self._seed = seed
        self._world = world
        self._device = device
        self._orders: dict[tuple[str, int], Tensor] = {}
        # Rows of images on the host are chosen on the host: a batch must not wait for the device.
        self._prefetcher = Prefetcher(data) if isinstance(data.images, HostImages) else None
        self._labels = data.labels.cpu() if self._prefetcher else data.labels
        self._all_rows = torch.arange(len(data), device=self._labels.device)

    def draw(self, phase: Phase, iteration: int, turn: int) -> Batch:
        """Returns this worker's part of a batch.

        Args:
            phase: the phase that uses the batch.
            iteration: number of completed generator iterations.
            turn: repetition of the phase within the iteration, from 0.

        Raises:
            ConfigError: the phase is stratified, and a class has no images or the batch size is not divisible.
        """
        count = iteration * phase.repeats + turn
        chosen = self._rows(phase, count)
        draws = SeededStepRandom((self._seed, phase.name, iteration, turn), self._size, self._world, self._device)
        if self._prefetcher is not None:
            parts = self._prefetcher.take(phase.name, chosen)
            self._prefetcher.expect(phase.name, self._rows(phase, count + phase.interval))
            return Batch(
                images=parts["images"],
                labels=parts["labels"],
                masks=parts.get("masks"),
                draws=draws,
                total=self._size,
                paired=parts.get("paired"),
            )
        data = self._data
        return Batch(
            images=data.images[chosen],
            labels=data.labels[chosen],
            masks=None if data.masks is None else data.masks[chosen],
            draws=draws,
            total=self._size,
            paired=None if data.paired is None else data.paired[chosen],
        )

    def _rows(self, phase: Phase, count: int) -> Tensor:
        """Returns indices of this worker's images in the batch that follows `count` turns of the phase.

        Turns that a lazy phase skips count too.
        """
        start = count * self._size + self._world.rows(self._size).start
        per_worker = self._size // self._world.size
        if not phase.stratified:
            return self._indices(phase.name, self._all_rows, start, per_worker)
        # The K classes alternate: position r of the whole sequence is position r // K of class r mod K.
        start_in_class = start // len(self._classes)
        per_class = self._per_class(per_worker)
        rows = []
        for label, members in enumerate(self._classes):
            rows.append(self._indices(f"{phase.name} {label}", members, start_in_class, per_class))
        return torch.stack(rows, dim=1).flatten()

    @cached_property
    def _classes(self) -> list[Tensor]:
        """Returns the indices of the training images of each class."""
        labels = self._labels
        members = [(labels == label).nonzero().squeeze(1) for label in range(int(labels.max()) + 1)]
        if not all(len(rows) for rows in members):
            raise ConfigError("a class has no training images, but batches must hold every class equally often")
        return members

    def _per_class(self, per_worker: int) -> int:
        count, rest = divmod(per_worker, len(self._classes))
        if rest:
            raise ConfigError(
                f"batch_size = {self._size} cannot hold {len(self._classes)} classes equally often on each of "
                f"{self._world.size} workers",
                fix=f"choose a multiple of {len(self._classes) * self._world.size}",
            )
        return count

    def _indices(self, stream: str, members: Tensor, start: int, count: int) -> Tensor:
        """Returns elements `start` to `start + count` of a stream, an endless sequence of permutations of `members`."""
        pieces = []
        while count:
            epoch, offset = divmod(start, len(members))
            piece = self._order(stream, members, epoch)[offset : offset + count]
            pieces.append(piece)
            start = start + len(piece)
            count = count - len(piece)
        return pieces[0] if len(pieces) == 1 else torch.cat(pieces)

    def _order(self, stream: str, members: Tensor, epoch: int) -> Tensor:
        """Returns `members` in the order of an epoch. It is cached."""
        known = self._orders.get((stream, epoch))
        if known is not None:
            return known
        # Older orders are dropped. A batch may still need the previous epoch. Only a batch larger than the data set
        # needs older epochs, and then orders are short and cheap to recompute.
        for other_stream, other_epoch in list(self._orders):
            if other_stream == stream and other_epoch < epoch - 1:
                del self._orders[other_stream, other_epoch]
        generator = torch.Generator(self._device).manual_seed(seed_from(self._seed, stream, "epoch", epoch))
        # Made on the device, because a copy from the host would block in every iteration for small cohorts.
        order = torch.randperm(len(members), generator=generator, device=self._device)
        self._orders[stream, epoch] = members[order.to(members.device)]
        return self._orders[stream, epoch]
