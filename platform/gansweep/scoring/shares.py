"""Work split over the workers of a gang, with the same result as one worker gets."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar, cast

import torch
from torch import Tensor, distributed

from gansweep.errors import Diverged, GansweepError
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

        Each worker fills in its rows and leaves zeros elsewhere; the sum over workers is then exact. What computing a
        part raises, every worker gets, as from `checked`.
        """
        whole = torch.zeros_like(like)

        def fill() -> None:
            for offset, part in parts:
                whole[offset : offset + len(part)] = part

        self.checked(fill)
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

    def checked(self, make: Callable[[], Item]) -> Item:
        """What `make` returns on this worker.

        Raises:
            Exception: on every worker, what any worker's `make` raised, of unknown kinds as RuntimeError: the others
                would wait for it for ever.
        """
        if self.size == 1:
            return make()
        made, error = None, None
        try:
            made = make()
        except Exception as raised:
            error = raised
        for found in self._every(_sendable(error)):
            if found is not None:
                raise found from error
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

    def _first(self, make: Callable[[], Item]) -> Item:
        """What `make` returns on the first worker, which alone calls it."""
        return cast("Item", self.broadcast(self.checked(lambda: make() if self.rank == 0 else None)))

    def _every(self, value: Item) -> list[Item]:
        """The values of all workers."""
        if self.size == 1:
            return [value]
        box: list[Any] = [None] * self.size
        distributed.all_gather_object(box, value)
        return box


def _sendable(error: Exception | None) -> Exception | None:
    """The error as it can be pickled, which those of other libraries need not be."""
    if error is None or isinstance(error, GansweepError | Diverged | torch.OutOfMemoryError):
        return error
    return RuntimeError(f"{type(error).__name__}: {error}")
