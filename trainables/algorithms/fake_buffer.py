"""Stores the fakes of the generators' last step for the critics' next step."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from gansweep.distributed import World, gathered

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["FakeBuffer"]


class FakeBuffer(nn.Module):
    """The fakes of one generator step, by name.

    Every worker holds the fakes of the global batch, so that a checkpoint of any worker is complete.

    Args:
        blank: initial content under each name, `[global batch, C, H, W]`.
    """

    def __init__(self, blank: Mapping[str, Tensor]) -> None:
        super().__init__()
        for name, images in blank.items():
            self.register_buffer(name, images)

    @torch.no_grad()
    def keep(self, made: Mapping[str, Tensor]) -> None:
        """Replaces the content with this step's fakes: this worker's `[b, C, H, W]` under each name."""
        for name, images in made.items():
            self.get_buffer(name).copy_(gathered(images))

    def local_rows(self) -> dict[str, Tensor]:
        """This worker's rows `[b, C, H, W]` under each name."""
        world = World.current()
        return {name: images[world.rows(len(images))] for name, images in self.named_buffers()}
