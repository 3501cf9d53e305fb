"""A history of earlier translations for the critic (Shrivastava et al. 2017, section 2.3)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from gansweep.distributed import World, gathered

if TYPE_CHECKING:
    from gansweep.contracts import StepRandom

__all__ = ["ImagePool"]


class ImagePool(nn.Module):
    """Replaces about half of the images shown to the critic by older ones, and keeps the replaced images.

    Each row of the global batch has its own slots, so no slot is used twice in one exchange. Every worker holds the
    whole pool: its content does not depend on the number of workers, and a checkpoint of any worker is complete.

    Args:
        capacity: number of images, rounded up to a multiple of the batch size; 0 disables the pool.
        batch: images in the global batch.
        shape: `(C, H, W)` of an image.
    """

    images: Tensor
    filled: Tensor

    def __init__(self, capacity: int, batch: int, shape: tuple[int, int, int]) -> None:
        super().__init__()
        self._slots = math.ceil(capacity / batch)
        self._batch = batch
        self.register_buffer("images", torch.zeros(batch, self._slots, *shape))
        self.register_buffer("filled", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def exchange(self, fresh: Tensor, draws: StepRandom) -> Tensor:
        """Takes this worker's new images, and returns the images to show the critic.

        Until the pool is full, new images are stored and shown. After that each one is, with probability 1/2, stored in
        a random slot while the slot's old image is shown.

        Args:
            fresh: `[b, C, H, W]`.
            draws: random numbers for these images.

        Returns:
            `[b, C, H, W]`.
        """
        if not self._slots:
            return fresh
        world = World.current()
        local_rows = torch.arange(self._batch, device=fresh.device)[world.rows(self._batch)]
        # While the pool fills, all rows use the same next slot. The random slot is drawn anyway, so that draws do not
        # depend on the state of the pool.
        filling = self.filled < self._slots
        chosen = torch.where(filling, self.filled, draws.integers(self._slots))
        swap = (draws.uniform() < 0.5) & ~filling
        old = self.images[local_rows, chosen]
        shown = torch.where(swap[:, None, None, None], old, fresh)
        kept = torch.where((swap | filling)[:, None, None, None], fresh, old)
        # Every worker writes all rows, its own and the others', so that the pools stay equal.
        self.images[torch.arange(self._batch, device=fresh.device), gathered(chosen)] = gathered(kept)
        self.filled.add_(1).clamp_(max=self._slots)
        return shown
