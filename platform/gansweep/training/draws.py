"""Random numbers that depend on the seed and the step alone: not on the number of workers, nor on earlier draws.

So W workers compute what one computes, and a resumed run goes on bit for bit without any generator's state being saved.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from gansweep.training.world import World

__all__ = ["StepDraws", "seed_from"]


def seed_from(*parts: int | str) -> int:
    """A well-mixed 63-bit seed from anything that names a place in the run."""
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


class StepDraws:
    """`contracts.Draws`: the numbers of the global batch, cut to this worker's rows.

    Args:
        place: what names the step: seed, iteration, phase, turn.
        total: images in the global batch.
        world: whose rows to keep.
        device: where the numbers are made and used.
    """

    def __init__(self, place: tuple[int | str, ...], total: int, world: World, device: torch.device) -> None:
        self._place, self._total, self._rows, self._device = place, total, world.rows(total), device
        self._count = 0

    def normal(self, *shape: int) -> Tensor:
        """Standard normal, `[b, *shape]`."""
        return torch.randn(self._total, *shape, generator=self._next(), device=self._device)[self._rows]

    def uniform(self, *shape: int) -> Tensor:
        """Uniform in [0, 1), `[b, *shape]`."""
        return torch.rand(self._total, *shape, generator=self._next(), device=self._device)[self._rows]

    def integers(self, high: int, *shape: int) -> Tensor:
        """Uniform in 0..high-1, `[b, *shape]` int64."""
        size = (self._total, *shape)
        return torch.randint(high, size, generator=self._next(), device=self._device)[self._rows]

    def _next(self) -> torch.Generator:
        self._count += 1
        return torch.Generator(self._device).manual_seed(seed_from(*self._place, self._count))
