"""What the generators' last step made, for the critics to judge in their next."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from gansweep.training.world import World, gathered

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["LastMade"]


class LastMade(nn.Module):
    """The images of one generator step, by name.

    All workers hold the whole batch's, so that any worker's checkpoint does.

    Args:
        blank: the global batch's images under each name, before anything was made; `[batch, C, H, W]`.
    """

    def __init__(self, blank: Mapping[str, Tensor]) -> None:
        super().__init__()
        for name, images in blank.items():
            self.register_buffer(name, images)

    @torch.no_grad()
    def keep(self, made: Mapping[str, Tensor]) -> None:
        """Takes the place of the step before: this worker's `[b, C, H, W]` under each name."""
        for name, images in made.items():
            self.get_buffer(name).copy_(gathered(images))

    def mine(self) -> dict[str, Tensor]:
        """This worker's rows of what was kept."""
        world = World.current()
        return {name: images[world.rows(len(images))] for name, images in self.named_buffers()}
