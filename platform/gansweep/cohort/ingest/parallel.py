"""Runs a function on many files on all cores.

Decoders, NumPy and hashing release Python's lock, so threads suffice for a few files. But most of a small picture's
time is Python's own, and threads take turns at it. Processes share it, if there are enough files to be worth starting
them. They come from loky, because those of the standard library run a user's script once more, unless it is guarded by
`if __name__ == "__main__"`.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TYPE_CHECKING, TypeVar

from gansweep.errors import CohortError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from gansweep.files import ProgressCallback

__all__ = ["cores", "map_in_order"]

Item = TypeVar("Item")
Result = TypeVar("Result")

MANY_FILES = 1500
"""Files from which on processes are used. Starting them takes about as long as reading this many small pictures."""
IDLE_SECONDS = 10  # until a process without work ends
CHUNK = 16  # items sent to a process at a time


def cores() -> int:
    """Returns the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def map_in_order(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    what: str,
    progress: ProgressCallback | None,
    *,
    files: int | None = None,
) -> Iterator[Result]:
    """Yields the results of `function` in the order of `items`.

    Args:
        function: thread-safe function that can be pickled by cloudpickle.
        items: arguments of the function.
        what: name of the stage.
        progress: called with (what, items done, total items), from this thread.
        files: number of files that the items stand for; None: one each.

    Raises:
        Exception: the first exception of `function`. Items that have not started are then dropped.
        CohortError: a process was ended from outside, such as for want of memory.
    """
    many = (len(items) if files is None else files) >= MANY_FILES
    results = _in_processes(function, items) if many and cores() > 1 else _in_threads(function, items)
    for number, result in enumerate(results, start=1):
        if progress:
            progress(what, number, len(items))
        yield result


def _in_threads(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    pool = ThreadPoolExecutor(cores(), thread_name_prefix="ingest")
    try:
        yield from pool.map(function, items)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _in_processes(function: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
    from loky import get_reusable_executor

    chunk = max(1, min(CHUNK, len(items) // (4 * cores())))
    executor = get_reusable_executor(max_workers=cores(), timeout=IDLE_SECONDS)
    complete = False
    try:
        yield from executor.map(function, items, chunksize=chunk)
        complete = True
    except BrokenProcessPool:
        raise CohortError(
            "a process that read them was ended, for want of memory or by a decoder",
            where="the files",
            fix="ingest them in smaller parts to find the file, or on a machine with more memory",
        ) from None
    finally:
        if not complete:
            executor.shutdown(kill_workers=True)
