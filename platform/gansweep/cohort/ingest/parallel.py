"""Runs a function on many files, on all cores if that is quicker.

Most of a small picture's time is Python's own, so threads would take turns at it, and be slower than one. Processes
share it, but each takes a second or more to start and to load what it reads with. So the first files are read here,
and their time tells whether the rest is worth starting processes. This one goes on reading beside them.

The processes come from loky, because those of the standard library run a user's script once more, unless it is guarded
by `if __name__ == "__main__"`. On one core, nothing is started.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections import deque
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from gansweep.errors import CohortError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from gansweep.files import ProgressCallback

__all__ = ["cores", "map_in_order"]

Item = TypeVar("Item")
Result = TypeVar("Result")

FIRST_SECONDS = 0.5  # of work in this process, before its speed is known
START_SECONDS = 1.5  # that a process takes to start, without what `function` loads
MOST_PROCESSES = 8  # with this one. Each takes 0.3 GB, and this one finds files and writes the cohort for all
IDLE_SECONDS = 10  # until a process without work ends
CHUNK = 16  # items sent to a process at a time
IN_FLIGHT = 4  # chunks per process. It would wait with fewer, for this process answers late while it reads.
MOST_AHEAD = 24  # chunks whose results may wait for those before them. This process reads so many while others start.


def cores() -> int:
    """Returns the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def map_in_order(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    what: str,
    progress: ProgressCallback | None,
) -> Iterator[Result]:
    """Yields the results of `function` in the order of `items`.

    Args:
        function: can be pickled by cloudpickle.
        items: arguments of the function.
        what: name of the stage.
        progress: called with (what, items done, total items), from this thread.

    Raises:
        Exception: the first exception of `function`. Items that have not started are then dropped.
        CohortError: a process was ended from outside, such as for want of memory.
    """
    alone = cores() == 1 or multiprocessing.current_process().daemon  # such a process may start no other
    results = map(function, items) if alone else _here_then_everywhere(function, items)
    for number, result in enumerate(results, start=1):
        if progress:
            progress(what, number, len(items))
        yield result


def _here_then_everywhere(function: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
    loading = reading = 0.0  # seconds
    read = 0  # items that loaded no library
    for done, item in enumerate(items):
        if _processes_are_worth_it(loading, reading, done - read, read, len(items)):
            yield from _everywhere(function, items[done:])
            return
        loaded = len(sys.modules)
        start = time.perf_counter()
        result = function(item)
        seconds = time.perf_counter() - start
        if len(sys.modules) > loaded:
            loading += seconds
        else:
            reading += seconds
            read += 1
        yield result


def _processes_are_worth_it(loading: float, reading: float, loaders: int, read: int, total: int) -> bool:
    """Returns whether the remaining items would keep processes busy for longer than these take to start.

    Args:
        loading: seconds that the items took that also loaded libraries, as each process will. They are often not the
            first: a series that is left out may load nothing.
        reading: seconds that the other items took.
        loaders: number of items that loaded libraries.
        read: number of other items so far.
        total: number of all items.
    """
    if reading < FIRST_SECONDS:
        return False
    usual = reading / read
    loading = max(loading - usual * loaders, 0)
    return usual * (total - loaders - read) > 2 * (START_SECONDS + loading)


def _everywhere(function: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
    """Yields the results from processes, one for each other core, and from this one."""
    from loky import get_reusable_executor

    processes = min(cores(), MOST_PROCESSES) - 1
    size = max(1, min(CHUNK, len(items) // (4 * processes)))
    chunks = deque(items[start : start + size] for start in range(0, len(items), size))
    executor = get_reusable_executor(max_workers=processes, timeout=IDLE_SECONDS)
    waiting: deque[Future[list[Result]]] = deque()
    # Not by `map`, which cancels what waits when it is interrupted. The executor does, too, and fails at the second.
    with _without_interrupts():
        waiting.append(executor.submit(_each, function, chunks.popleft()))
    try:
        while waiting:
            ready = sum(future.done() for future in waiting)
            while chunks and len(waiting) - ready < IN_FLIGHT * processes:
                waiting.append(executor.submit(_each, function, chunks.popleft()))
            if chunks and not waiting[0].done() and ready < MOST_AHEAD:
                waiting.append(_done_here(function, chunks.popleft()))
            else:
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


def _done_here(function: Callable[[Item], Result], items: Sequence[Item]) -> Future[list[Result]]:
    """Returns the results of `function`, or its exception, as a process would."""
    future: Future[list[Result]] = Future()
    try:
        future.set_result(_each(function, items))
    except Exception as error:
        future.set_exception(error)
    return future


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
