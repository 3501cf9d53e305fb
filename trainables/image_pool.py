"""Earlier translations that the critic is shown again (Shrivastava et al. 2017, section 2.3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from gansweep.training.world import World, gathered

if TYPE_CHECKING:
    from gansweep.contracts import Draws

__all__ = ["ImagePool"]


class ImagePool(nn.Module):
    """Half of the images shown to the critic come from this pool, and make room there for the fresh ones.

    Each row of the global batch has places of its own, so that one exchange never touches a place twice. All workers
    hold the whole pool: any number of them fills it alike, and any worker's checkpoint holds all of it.

    Args:
        capacity: images, rounded up to a multiple of the batch; 0 for no pool.
        batch: images of the global batch.
        shape: of an image.
    """

    images: Tensor
    filled: Tensor

    def __init__(self, capacity: int, batch: int, shape: tuple[int, int, int]) -> None:
        super().__init__()
        self._places = -(-capacity // batch)
        self._batch = batch
        self.register_buffer("images", torch.zeros(batch, self._places, *shape))
        self.register_buffer("filled", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def exchange(self, fresh: Tensor, draws: Draws) -> Tensor:
        """What to show the critic instead of this worker's `fresh` images `[b, C, H, W]`: some of them, some older."""
        if not self._places:
            return fresh
        world = World.current()
        mine = torch.arange(self._batch, device=fresh.device)[world.rows(self._batch)]
        filling = self.filled < self._places
        chosen = torch.where(filling, self.filled, draws.integers(self._places))
        swap = (draws.uniform() < 0.5) & ~filling
        old = self.images[mine, chosen]
        shown = torch.where(swap[:, None, None, None], old, fresh)
        kept = torch.where((swap | filling)[:, None, None, None], fresh, old)
        self.images[torch.arange(self._batch, device=fresh.device), gathered(chosen)] = gathered(kept)
        self.filled.add_(1).clamp_(max=self._places)
        return shown
