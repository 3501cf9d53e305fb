"""The workers that train and score one trial together.

Everything here is exact: W workers on B/W images each compute what one worker computes on B images.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar, cast

import torch
import torch.distributed as dist

from gansweep.cache import locked, read, write
from gansweep.errors import Diverged, GansweepError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from torch import Tensor

__all__ = ["World", "gathered", "mean_over_workers", "successors", "sum_over_workers"]

Item = TypeVar("Item")


@dataclass(frozen=True)
class World:
    """This worker among the workers of its trial.

    Args:
        rank: 0 for the first worker.
        size: number of workers.
        device: where small tensors and pickled objects are communicated from: the CPU, or this worker's GPU where the
            group knows GPUs alone (NCCL).
    """

    rank: int = 0
    size: int = 1
    device: torch.device = torch.device("cpu")  # noqa: RUF009 (a device is immutable)

    @classmethod
    def current(cls, device: torch.device | None = None) -> World:
        """The initialised process group, or a world of one.

        Args:
            device: the device this worker computes on; None: the CPU, or the current GPU where the group knows GPUs
                alone.
        """
        if not (dist.is_available() and dist.is_initialized()):
            return cls()
        on = torch.device("cpu") if _takes_cpu_tensors(dist.get_backend()) else device or torch.device("cuda")
        return cls(dist.get_rank(), dist.get_world_size(), on)

    # Work split over the workers --------------------------------------------------------------------------------------

    def rows(self, total: int) -> slice:
        """This worker's contiguous rows of a global batch of `total` rows."""
        share = total // self.size
        return slice(self.rank * share, (self.rank + 1) * share)

    def mine(self, items: Sequence[Item]) -> Sequence[Item]:
        """Every size-th item, beginning with the rank-th."""
        return items[self.rank :: self.size]

    # Tensors ----------------------------------------------------------------------------------------------------------

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
        # Not moved: a gradient on another device than the group's is a fault of the family, and ends the trial.
        flat = torch.cat([gradient.flatten() for gradient in present])
        dist.all_reduce(flat)
        flat /= self.size
        pieces = iter(flat.split([gradient.numel() for gradient in present]))
        return [None if gradient is None else next(pieces).view_as(gradient) for gradient in gradients]

    def broadcast_tensors(self, tensors: Iterable[Tensor]) -> None:
        """Overwrites `tensors` with the first worker's."""
        if self.size > 1:
            for tensor in tensors:
                sent = self._reachable(tensor.detach())
                dist.broadcast(sent, src=0)
                if sent.device != tensor.device:
                    tensor.detach().copy_(sent)

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum over workers, outside any graph; on the device of `tensor`, whichever that is."""
        if self.size == 1:
            return tensor
        total = self._reachable(tensor.detach().clone())
        dist.all_reduce(total)
        return total.to(tensor.device)

    def mean(self, tensor: Tensor) -> Tensor:
        """The mean over workers, outside any graph; on the device of `tensor`, whichever that is."""
        return tensor if self.size == 1 else self.sum(tensor) / self.size

    def assembled(self, parts: Iterable[tuple[int, Tensor]], like: Tensor) -> Tensor:
        """A tensor shaped `like`, with its rows (slices that begin at an offset) computed by different workers.

        Each worker fills in its rows and leaves zeros elsewhere; the sum over workers is then exact.

        Args:
            parts: (offset, rows) of this worker.
            like: gives shape, type and device.

        Raises:
            Exception: what computing a part raised, on every worker, as from `checked`.
        """
        whole = torch.zeros_like(like)

        def fill() -> None:
            for offset, part in parts:
                whole[offset : offset + len(part)] = part

        self.checked(fill)
        return self.sum(whole)

    # Objects ----------------------------------------------------------------------------------------------------------

    def broadcast(self, value: Item) -> Item:
        """The first worker's value."""
        if self.size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0, device=self.device)
        return box[0]

    def merged(self, part: dict[Any, Item]) -> dict[Any, Item]:
        """The union of all workers' dictionaries."""
        return {key: value for other in self._every(part) for key, value in other.items()}

    def checked(self, make: Callable[[], Item]) -> Item:
        """What `make` returns on this worker.

        Raises:
            Exception: on every worker, what any worker's `make` raised, of unknown kinds as RuntimeError. Otherwise
                the other workers would wait for it for ever.
        """
        if self.size == 1:
            return make()
        made = None
        error = None
        try:
            made = make()
        except Exception as raised:
            error = raised
        for found in self._every(_sendable(error)):
            if found is not None:
                raise found from error
        return cast("Item", made)

    def cached(self, path: Path, make: Callable[[], Any], *, together: bool = False) -> Any:
        """What `path` holds, or what `make` returns, kept in `path`; the first worker's, on every worker.

        Args:
            path: a file of tensors; only the first worker reads or writes it.
            make: computes the content, on the CPU.
            together: whether `make` needs every worker; otherwise only the first calls it.

        Raises:
            Exception: what `make`, reading or writing raised, on every worker, as from `checked`.
        """
        with ExitStack() as lock:

            def look() -> Any:
                lock.enter_context(locked(path))
                return read(path)

            found = self._first(look)
            if found is None:
                found = self.broadcast(self.checked(make)) if together else self._first(make)
                self._first(lambda: write(path, found))
        return found

    def _first(self, make: Callable[[], Item]) -> Item:
        """What `make` returns on the first worker, which alone calls it."""
        return cast("Item", self.broadcast(self.checked(lambda: make() if self.rank == 0 else None)))

    def _reachable(self, tensor: Tensor) -> Tensor:
        """`tensor` where the group can communicate it: a tensor on the CPU moves to the GPU of an NCCL group."""
        return tensor.to(self.device) if tensor.device.type == "cpu" else tensor

    def _every(self, value: Item) -> list[Item]:
        """The values of all workers, by rank."""
        if self.size == 1:
            return [value]
        box: list[Any] = [None] * self.size
        dist.all_gather_object(box, value)  # from the CPU, or under NCCL from the process's current GPU
        return box


def _takes_cpu_tensors(backend: str) -> bool:
    """Whether a process group communicates tensors on the CPU: `nccl` does not, `cpu:gloo,cuda:nccl` does."""
    return "cpu:" in backend if ":" in backend else backend != "nccl"


def _sendable(error: Exception | None) -> Exception | None:
    """The error in a form that can be pickled, which errors of other libraries need not be."""
    if error is None or isinstance(error, GansweepError | Diverged | torch.OutOfMemoryError):
        return error
    return RuntimeError(f"{type(error).__name__}: {error}")


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
