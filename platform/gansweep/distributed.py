"""The workers that train and score one trial together.

All computations are exact: W workers with B/W images each compute the same as one worker with B images.
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

__all__ = ["GPU_BACKEND", "World", "gathered", "mean_over_workers", "successors", "sum_over_workers"]

Item = TypeVar("Item")

GPU_BACKEND = "cpu:gloo,cuda:nccl"
"""Backend of workers with GPUs. NCCL alone, Ray's default, rejects tensors on the CPU."""


@dataclass(frozen=True)
class World:
    """This worker and the other workers of its trial.

    Args:
        rank: 0 for the first worker.
        size: number of workers.
        device: device from which small tensors and pickled objects are communicated: the CPU, or this worker's GPU if
            the group supports only GPUs (NCCL).
    """

    rank: int = 0
    size: int = 1
    device: torch.device = torch.device("cpu")  # noqa: RUF009 (a device is immutable)

    @classmethod
    def current(cls, device: torch.device | None = None) -> World:
        """Returns the initialised process group, or a world of one worker.

        Args:
            device: device on which this worker computes; None: the CPU, or the current GPU if the group supports only
                GPUs.
        """
        if not (dist.is_available() and dist.is_initialized()):
            return cls()
        if _takes_cpu_tensors(dist.get_backend()):
            device = torch.device("cpu")
        elif device is None:
            device = torch.device("cuda")
        return cls(dist.get_rank(), dist.get_world_size(), device)

    # Work split over the workers --------------------------------------------------------------------------------------

    def rows(self, total: int) -> slice:
        """Returns this worker's contiguous rows of a global batch of `total` rows."""
        per_worker = total // self.size
        first = self.rank * per_worker
        return slice(first, first + per_worker)

    def mine(self, items: Sequence[Item]) -> Sequence[Item]:
        """Returns every size-th item, starting with item number `rank`."""
        return items[self.rank :: self.size]

    # Tensors ----------------------------------------------------------------------------------------------------------

    def average_gradients(self, gradients: Sequence[Tensor | None]) -> list[Tensor | None]:
        """Returns the mean of each gradient over all workers, by one flat all-reduce, as in StyleGAN3.

        Not DistributedDataParallel: if a backward pass leaves a parameter without a gradient (a penalty-only phase
        never reaches the critic's last bias), its gradients are silently wrong (PyTorch issue 47562).

        Args:
            gradients: one gradient per parameter; None if the loss does not depend on it, on every worker alike.

        Returns:
            The same list with means, as views of one buffer.
        """
        present = [gradient for gradient in gradients if gradient is not None]
        if self.size == 1 or not present:
            return list(gradients)
        # Gradients stay on their device. One on another device than the group's is a bug of the family, and ends the
        # trial.
        flat = torch.cat([gradient.flatten() for gradient in present])
        dist.all_reduce(flat)
        flat /= self.size
        means: list[Tensor | None] = []
        offset = 0
        for gradient in gradients:
            if gradient is None:
                means.append(None)
                continue
            means.append(flat[offset : offset + gradient.numel()].view_as(gradient))
            offset += gradient.numel()
        return means

    def broadcast_tensors(self, tensors: Iterable[Tensor]) -> None:
        """Overwrites `tensors` with those of the first worker."""
        if self.size > 1:
            for tensor in tensors:
                sent = self._reachable(tensor.detach())
                dist.broadcast(sent, src=0)
                if sent.device != tensor.device:
                    tensor.detach().copy_(sent)

    def sum(self, tensor: Tensor) -> Tensor:
        """Returns the sum over workers, without a graph, on the device of `tensor`."""
        if self.size == 1:
            return tensor
        total = self._reachable(tensor.detach().clone())
        dist.all_reduce(total)
        return total.to(tensor.device)

    def mean(self, tensor: Tensor) -> Tensor:
        """Returns the mean over workers, without a graph, on the device of `tensor`."""
        return tensor if self.size == 1 else self.sum(tensor) / self.size

    def assembled(self, parts: Iterable[tuple[int, Tensor]], like: Tensor) -> Tensor:
        """Returns a tensor shaped as `like`, whose rows were computed by different workers.

        Each worker fills its rows and leaves zeros elsewhere, so the sum over workers is exact.

        Args:
            parts: (offset, rows) of this worker: slices of the rows that start at an offset.
            like: tensor with the shape, type and device.

        Raises:
            Exception: computing a part raised; raised on every worker, as by `checked`.
        """
        whole = torch.zeros_like(like)

        def fill() -> None:
            for offset, part in parts:
                whole[offset : offset + len(part)] = part

        self.checked(fill)
        return self.sum(whole)

    # Objects ----------------------------------------------------------------------------------------------------------

    def broadcast(self, value: Item) -> Item:
        """Returns the first worker's value."""
        if self.size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0, device=self.device)
        return box[0]

    def merged(self, part: dict[Any, Item]) -> dict[Any, Item]:
        """Returns the union of all workers' dictionaries."""
        union: dict[Any, Item] = {}
        for other in self._every(part):
            union |= other
        return union

    def checked(self, make: Callable[[], Item]) -> Item:
        """Returns the result of `make` on this worker.

        Raises:
            Exception: `make` raised on any worker; raised on every worker, because the others would otherwise wait
                forever. Unknown kinds become RuntimeError.
        """
        if self.size == 1:
            return make()
        result = None
        own_error = None
        try:
            result = make()
        except Exception as raised:
            own_error = raised
        for error in self._every(_sendable(own_error)):
            if error is not None:
                raise error from own_error
        return cast("Item", result)

    def cached(self, path: Path, make: Callable[[], Any], *, together: bool = False) -> Any:
        """Returns the content of `path`, or the result of `make`, which is then stored in `path`.

        Every worker gets the same result.

        Args:
            path: file of tensors, which only the first worker reads or writes.
            make: function that computes the content on the CPU.
            together: whether `make` needs every worker; otherwise only the first calls it.

        Raises:
            Exception: `make`, reading or writing raised; raised on every worker, as by `checked`.
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
        """Calls `make` on the first worker only, and returns its result on every worker."""

        def make_if_first() -> Item | None:
            return make() if self.rank == 0 else None

        return cast("Item", self.broadcast(self.checked(make_if_first)))

    def _reachable(self, tensor: Tensor) -> Tensor:
        """Returns `tensor` where the group can communicate it: tensors on the CPU move to the GPU for an NCCL group."""
        return tensor.to(self.device) if tensor.device.type == "cpu" else tensor

    def _every(self, value: Item) -> list[Item]:
        """Returns the values of all workers, by rank."""
        if self.size == 1:
            return [value]
        box: list[Any] = [None] * self.size
        dist.all_gather_object(box, value)  # from the CPU, or with NCCL from the process's current GPU
        return box


def _takes_cpu_tensors(backend: str) -> bool:
    """Returns whether a process group supports tensors on the CPU: `nccl` does not, `cpu:gloo,cuda:nccl` does."""
    if ":" in backend:
        return "cpu:" in backend
    return backend != "nccl"


def _sendable(error: Exception | None) -> Exception | None:
    """Returns the error in a form that can be pickled, because errors of other libraries may not be."""
    if error is None or isinstance(error, GansweepError | Diverged | torch.OutOfMemoryError):
        return error
    return RuntimeError(f"{type(error).__name__}: {error}")


class _Sum(torch.autograd.Function):
    """Differentiable sum over workers, of any order: the gradient of a sum is a sum."""

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
    """Returns the differentiable sum of `tensor` over all workers."""
    if World.current().size == 1:
        return tensor
    total: Tensor = _Sum.apply(tensor)  # type: ignore[no-untyped-call]
    return total


def mean_over_workers(tensor: Tensor) -> Tensor:
    """Returns the differentiable mean of `tensor` over all workers, for batch statistics of the global batch."""
    return sum_over_workers(tensor) / World.current().size


def gathered(rows: Tensor) -> Tensor:
    """Returns the rows of all workers in the order of the global batch, without a graph.

    Args:
        rows: this worker's rows `[b, ...]`, equally many on each worker.
    """
    world = World.current()
    rows = rows.detach().contiguous()
    if world.size == 1:
        return rows
    parts = [torch.empty_like(rows) for _ in range(world.size)]
    dist.all_gather(parts, rows)
    return torch.cat(parts)


def successors(rows: Tensor) -> Tensor:
    """Returns, for each row of this worker, the next row of the global batch (the first follows the last).

    Pairing images within one worker's rows would make the result depend on the number of workers.

    Args:
        rows: this worker's rows `[b, ...]`. No gradient flows through them.
    """
    world = World.current()
    rows = rows.detach()
    if world.size == 1:
        return rows.roll(-1, dims=0)
    first_rows = [torch.empty_like(rows[:1]) for _ in range(world.size)]
    dist.all_gather(first_rows, rows[:1].contiguous())
    next_worker = (world.rank + 1) % world.size
    return torch.cat([rows[1:], first_rows[next_worker]])
