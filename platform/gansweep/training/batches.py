"""The real images of each step: every image once per epoch, the same for any number of workers."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gansweep.contracts import Batch, ImageSet, Phase
from gansweep.errors import ConfigError
from gansweep.training.draws import StepDraws, seed_from

if TYPE_CHECKING:
    from gansweep.training.world import World

__all__ = ["Batches"]


class Batches:
    """Global batches, drawn without replacement within an epoch and cut to this worker's share.

    Each phase goes through the data by itself. The order is a function of (seed, phase, epoch), so that any step's
    batch can be had without those before it.

    Args:
        data: all training images, already on `device`.
        size: images of the global batch.
        seed: the trial's.
        world: whose share is wanted.
        device: of the data and of the random numbers.

    Raises:
        ConfigError: the batch cannot be shared equally, or there are no images.
    """

    def __init__(self, data: ImageSet, size: int, seed: int, world: World, device: torch.device) -> None:
        if size % world.size:
            raise ConfigError(
                f"batch_size = {size} cannot be shared equally by {world.size} workers",
                fix=f"choose a multiple of {world.size}",
            )
        if not len(data):
            raise ConfigError("the training set is empty")
        self._data, self._size, self._seed, self._world, self._device = data, size, seed, world, device
        self._orders: dict[tuple[str, int], Tensor] = {}
        self._everyone = torch.arange(len(data), device=device)

    def draw(self, phase: Phase, iteration: int, turn: int) -> Batch:
        """This worker's share of the batch of `phase`'s `turn`-th turn in `iteration`.

        Raises:
            ConfigError: the phase is stratified, and the batch or the images do not allow it.
        """
        start = (iteration * phase.repeats + turn) * self._size + self._world.rows(self._size).start
        share = self._size // self._world.size
        if phase.stratified:
            # Image r of the endless row is image r // K of class r mod K's own row.
            each = len(self._classes)
            rows = [
                self._indices(f"{phase.name} {label}", members, start // each, self._per_class(share))
                for label, members in enumerate(self._classes)
            ]
            chosen = torch.stack(rows, dim=1).flatten()
        else:
            chosen = self._indices(phase.name, self._everyone, start, share)
        data = self._data
        return Batch(
            images=data.images[chosen],
            labels=data.labels[chosen],
            masks=None if data.masks is None else data.masks[chosen],
            draws=StepDraws((self._seed, phase.name, iteration, turn), self._size, self._world, self._device),
            total=self._size,
            paired=None if data.paired is None else data.paired[chosen],
        )

    @cached_property
    def _classes(self) -> list[Tensor]:
        """The images of each class."""
        labels = self._data.labels
        members = [(labels == label).nonzero().squeeze(1) for label in range(int(labels.max()) + 1)]
        if not all(len(rows) for rows in members):
            raise ConfigError("a class has no training images, and batches must hold every class equally often")
        return members

    def _per_class(self, share: int) -> int:
        count, rest = divmod(share, len(self._classes))
        if rest:
            raise ConfigError(
                f"batch_size = {self._size} cannot hold {len(self._classes)} classes equally often on each of "
                f"{self._world.size} workers",
                fix=f"choose a multiple of {len(self._classes) * self._world.size}",
            )
        return count

    def _indices(self, stream: str, members: Tensor, start: int, count: int) -> Tensor:
        """Positions start..start+count of the stream's endless row of epochs through `members`."""
        pieces = []
        while count:
            epoch, offset = divmod(start, len(members))
            piece = self._order(stream, members, epoch)[offset : offset + count]
            pieces.append(piece)
            start, count = start + len(piece), count - len(piece)
        return pieces[0] if len(pieces) == 1 else torch.cat(pieces)

    def _order(self, phase: str, members: Tensor, epoch: int) -> Tensor:
        if (phase, epoch) not in self._orders:
            # A batch reaches back one epoch at most, unless it is larger than the data: then orders are short anyway.
            self._orders = {key: order for key, order in self._orders.items() if key[0] != phase or key[1] >= epoch - 1}
            generator = torch.Generator().manual_seed(seed_from(self._seed, phase, "epoch", epoch))
            order = torch.randperm(len(members), generator=generator).to(self._device)
            self._orders[phase, epoch] = members[order]
        return self._orders[phase, epoch]
