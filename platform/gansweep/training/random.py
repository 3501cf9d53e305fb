"""Random numbers that depend only on seed and step, not on the number of workers or on earlier draws.

W workers therefore compute the same as a single worker. A resumed training continues bit for bit without saved
generator states.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gansweep.seeds import seed_from

if TYPE_CHECKING:
    from gansweep.distributed import World

__all__ = ["SeededStepRandom"]


class SeededStepRandom:
    """Implementation of `contracts.StepRandom`: numbers of the global batch, sliced to this worker's rows.

    Args:
        place: identification of the step: seed, phase, iteration and turn.
        total: number of images in the global batch.
        world: the trial's workers.
        device: device of the numbers.
    """

    def __init__(self, place: tuple[int | str, ...], total: int, world: World, device: torch.device) -> None:
        self._place = place
        self._total = total
        self._rows = world.rows(total)
        self._device = device
        self._count = 0

    def normal(self, *shape: int) -> Tensor:
        """Draws standard normal numbers, `[b, *shape]`."""
        return torch.randn(self._total, *shape, generator=self._next(), device=self._device)[self._rows]

    def uniform(self, *shape: int) -> Tensor:
        """Draws uniform numbers in [0, 1), `[b, *shape]`."""
        return torch.rand(self._total, *shape, generator=self._next(), device=self._device)[self._rows]

    def integers(self, high: int, *shape: int) -> Tensor:
        """Draws uniform integers in [0, high), `[b, *shape]` int64."""
        size = (self._total, *shape)
        return torch.randint(high, size, generator=self._next(), device=self._device)[self._rows]

    def _next(self) -> torch.Generator:
        # Each draw has its own seed, so that it does not depend on the shapes of earlier ones.
        self._count += 1
        return torch.Generator(self._device).manual_seed(seed_from(*self._place, self._count))
