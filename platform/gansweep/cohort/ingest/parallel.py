"""Runs a function on many files on all cores.

Decoders, NumPy and hashing release Python's lock, so threads suffice for a few files. But most of a small picture's
time is Python's own, and threads take turns at it. Processes share it, if there are enough files to be worth starting
them. They come from loky, because those of the standard library run a user's script once more, unless it is guarded by
`if __name__ == "__main__"`. On one core, nothing is started.
"""

from __future__ import annotations

import os
import signal
import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
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
MOST_PROCESSES = 8  # each takes 0.3 GB, and one process finds files and writes the cohort for all
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
    results: Iterable[Result]
    if cores() == 1:
        results = map(function, items)
    elif many:
        results = _in_processes(function, items)
    else:
        results = _in_threads(function, items)
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

    processes = min(cores(), MOST_PROCESSES)
    size = max(1, min(CHUNK, len(items) // (4 * processes)))
    chunks = [items[start : start + size] for start in range(0, len(items), size)]
    executor = get_reusable_executor(max_workers=processes, timeout=IDLE_SECONDS)
    # Not by `map`, which cancels what waits when it is interrupted. The executor does, too, and fails at the second.
    with _without_interrupts():
        waiting = deque(executor.submit(_each, function, chunk) for chunk in chunks)
    try:
        while waiting:
            yield from waiting.popleft().result()
    except BrokenProcessPool:
        raise CohortError(
            "a process that read them was ended, for want of memory or by a decoder",
            where="the files",
            fix="ingest them in smaller parts to find the file, or on a machine with more memory",
        ) from None
    finally:
        if waiting:
            executor.shutdown(kill_workers=True)


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """Makes the processes that the block starts ignore Ctrl-C. A terminal sends it to them, too, and they would say so.

    Does nothing outside the main thread, where Python sets no signals.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _each(function: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    return [function(item) for item in items]
