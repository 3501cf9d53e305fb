"""The workers that train one trial together.

Everything here is exact: W workers on B/W images each compute what one worker computes on B images.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from torch import Tensor

__all__ = ["World", "gathered", "mean_over_workers", "successors", "sum_over_workers"]


@dataclass(frozen=True)
class World:
    """This worker's place among the workers of its trial.

    Args:
        rank: 0 for the first worker.
        size: how many there are.
    """

    rank: int = 0
    size: int = 1

    @classmethod
    def current(cls) -> World:
        """The process group that is initialised, or a world of one."""
        if not (dist.is_available() and dist.is_initialized()):
            return cls()
        return cls(dist.get_rank(), dist.get_world_size())

    def rows(self, total: int) -> slice:
        """This worker's contiguous share of a global batch of `total` rows."""
        share = total // self.size
        return slice(self.rank * share, (self.rank + 1) * share)

    def average_gradients(self, gradients: Sequence[Tensor | None]) -> list[Tensor | None]:
        """The mean of each gradient over all workers, by one flat all-reduce (StyleGAN3's way).

        Not DistributedDataParallel: a backward that leaves a parameter without a gradient (a penalty-only phase never
        reaches the critic's last bias) gives silently wrong gradients there (PyTorch issue 47562).

        Args:
            gradients: one per parameter; None where the loss does not reach it, on every worker alike.

        Returns:
            The same list with means; they are views of one buffer.
        """
        present = [gradient for gradient in gradients if gradient is not None]
        if self.size == 1 or not present:
            return list(gradients)
        flat = torch.cat([gradient.flatten() for gradient in present])
        dist.all_reduce(flat)
        flat /= self.size
        pieces = iter(flat.split([gradient.numel() for gradient in present]))
        return [None if gradient is None else next(pieces).view_as(gradient) for gradient in gradients]

    def broadcast(self, tensors: Iterable[Tensor]) -> None:
        """Overwrites `tensors` with the first worker's."""
        if self.size > 1:
            for tensor in tensors:
                dist.broadcast(tensor.detach(), src=0)

    def mean(self, tensor: Tensor) -> Tensor:
        """The mean over workers, outside any graph."""
        if self.size == 1:
            return tensor
        total = tensor.detach().clone()
        dist.all_reduce(total)
        return total / self.size


class _Sum(torch.autograd.Function):
    """Sum over workers that can be differentiated, any number of times: the gradient of a sum is a sum."""

    @staticmethod
    def forward(_ctx: Any, tensor: Tensor) -> Tensor:
        total = tensor.contiguous().clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(_ctx: Any, *gradients: Tensor) -> Tensor:
        total: Tensor = _Sum.apply(gradients[0])  # type: ignore[no-untyped-call]
        return total


def sum_over_workers(tensor: Tensor) -> Tensor:
    """The sum of `tensor` over all workers, differentiable."""
    if World.current().size == 1:
        return tensor
    total: Tensor = _Sum.apply(tensor)  # type: ignore[no-untyped-call]
    return total


def mean_over_workers(tensor: Tensor) -> Tensor:
    """The mean of `tensor` over all workers, differentiable: the batch statistics of the global batch."""
    return sum_over_workers(tensor) / World.current().size


def gathered(rows: Tensor) -> Tensor:
    """The rows of all workers in the order of the global batch, outside any graph.

    Args:
        rows: `[b, ...]` of this worker, equally many on each.
    """
    world = World.current()
    rows = rows.detach().contiguous()
    if world.size == 1:
        return rows
    parts = [torch.empty_like(rows) for _ in range(world.size)]
    dist.all_gather(parts, rows)
    return torch.cat(parts)


def successors(rows: Tensor) -> Tensor:
    """For each row of this worker the row that follows it in the global batch (the first follows the last).

    Pairing images inside one worker's share would make the pairs, and so the result, depend on the number of workers.

    Args:
        rows: `[b, ...]`; no gradient flows through.
    """
    world = World.current()
    rows = rows.detach()
    if world.size == 1:
        return rows.roll(-1, dims=0)
    first = [torch.empty_like(rows[:1]) for _ in range(world.size)]
    dist.all_gather(first, rows[:1].contiguous())
    return torch.cat([rows[1:], first[(world.rank + 1) % world.size]])
