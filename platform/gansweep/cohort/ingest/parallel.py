"""Runs a function on many files on all cores, in threads: decoders, NumPy and hashing release Python's lock."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from gansweep.files import ProgressCallback

__all__ = ["cores", "map_in_order"]

Item = TypeVar("Item")
Result = TypeVar("Result")


def cores() -> int:
    """Returns the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def map_in_order(
    function: Callable[[Item], Result], items: Sequence[Item], what: str, progress: ProgressCallback | None
) -> Iterator[Result]:
    """Yields the results of `function` in the order of `items`.

    Args:
        function: thread-safe function.
        items: arguments of the function.
        what: name of the stage.
        progress: called with (what, items done, total items), from this thread.

    Raises:
        Exception: the first exception of `function`. Items that have not started are then dropped.
    """
    pool = ThreadPoolExecutor(cores(), thread_name_prefix="ingest")
    try:
        for number, result in enumerate(pool.map(function, items), start=1):
            if progress:
                progress(what, number, len(items))
            yield result
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
