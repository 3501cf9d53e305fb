"""Work split over the workers of a gang, with the same result as one worker gets."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar, cast

import torch
from torch import Tensor, distributed

from gansweep.errors import GansweepError
from gansweep.scoring.cache import locked, read, write

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

__all__ = ["Shares"]

Item = TypeVar("Item")


@dataclass(frozen=True)
class Shares:
    """This worker's place among the workers of the process group; alone where there is none.

    Args:
        rank: of this worker.
        size: number of workers.
        device: where tensors must lie to be communicated.
    """

    rank: int
    size: int
    device: torch.device

    @classmethod
    def current(cls, device: torch.device) -> Shares:
        """The shares of the initialised process group."""
        if not (distributed.is_available() and distributed.is_initialized()):
            return cls(0, 1, device)
        on = device if distributed.get_backend() == "nccl" else torch.device("cpu")
        return cls(distributed.get_rank(), distributed.get_world_size(), on)

    def mine(self, items: Sequence[Item]) -> Sequence[Item]:
        """Every size-th item, beginning with the rank-th."""
        return items[self.rank :: self.size]

    def gathered(self, parts: Iterable[tuple[int, Tensor]], like: Tensor) -> Tensor:
        """A tensor shaped `like`, its rows (slices from an offset on) computed by different workers.

        Each worker fills in its rows and leaves zeros elsewhere; the sum over workers is then exact.
        """
        whole = torch.zeros_like(like)
        for offset, part in parts:
            whole[offset : offset + len(part)] = part
        if self.size == 1:
            return whole
        whole = whole.to(self.device)
        distributed.all_reduce(whole)
        return whole.to(like.device)

    def cached(self, path: Path, make: Callable[[], Any], *, together: bool = False) -> Any:
        """What `path` holds, or what `make` returns, kept in `path`; the first worker's, on every worker.

        Args:
            path: a file of tensors; only the first worker reads or writes it.
            make: computes the content, on the CPU.
            together: whether `make` needs every worker; otherwise only the first calls it.
        """
        lead = self.rank == 0
        with locked(path) if lead else nullcontext():
            found = self.broadcast(read(path) if lead else None)
            if found is not None:
                return found
            made = self.broadcast(make() if lead or together else None)
            if lead:
                write(path, made)
        return made

    def checked(self, make: Callable[[], Item]) -> Item:
        """What `make` returns on this worker.

        Raises:
            GansweepError: on every worker, if any worker's `make` raised it; the others would wait for it for ever.
        """
        made, error = None, None
        try:
            made = make()
        except GansweepError as raised:
            error = raised
        for found in self._every(error):
            if found is not None:
                raise found
        return cast("Item", made)

    def merged(self, part: dict[Any, Item]) -> dict[Any, Item]:
        """The union of all workers' dictionaries."""
        return {key: value for other in self._every(part) for key, value in other.items()}

    def broadcast(self, value: Item) -> Item:
        """The first worker's value."""
        if self.size == 1:
            return value
        box = [value]
        distributed.broadcast_object_list(box, src=0, device=self.device)
        return box[0]

    def _every(self, value: Item) -> list[Item]:
        """The values of all workers."""
        if self.size == 1:
            return [value]
        box: list[Any] = [None] * self.size
        distributed.all_gather_object(box, value)
        return box
