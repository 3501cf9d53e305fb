"""Runs trainings in parallel: each worker group has a thread that takes one training after another."""

from __future__ import annotations

import threading
from collections import deque
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import closing
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gansweep.search.room import Room
    from gansweep.search.worker_group import WorkerGroup

__all__ = ["train_side_by_side"]

Training = TypeVar("Training")

_HEAD_START_S = 1.0  # of the first group, so that only one group meets a mistake that all would meet
_POLL_S = 1.0  # between two waits, the main thread handles signals


def train_side_by_side(
    trainings: Iterable[Training],
    room: Room,
    start: Callable[[], WorkerGroup],
    train: Callable[[WorkerGroup, Training], None],
) -> None:
    """Runs all trainings, in their order. Each gives the same result as alone.

    Args:
        trainings: the trainings.
        room: number of worker groups, which may grow.
        start: starts a worker group.
        train: runs one training on a worker group, in the thread of the group.

    Raises:
        BaseException: the error of the first training that raised one. The others have then ended: the group's
            `outcome` raises a KeyboardInterrupt in their `train`, as after Ctrl-C.
    """
    waiting = deque(trainings)
    stop = threading.Event()

    def work() -> None:
        if not waiting or stop.is_set():
            return
        with closing(start()) as group:
            group.stop = stop
            while not stop.is_set():
                try:
                    training = waiting.popleft()
                except IndexError:
                    return
                train(group, training)

    running: list[Future[None]] = []
    with ThreadPoolExecutor(max(1, len(waiting)), thread_name_prefix="trainings") as threads:
        try:
            if waiting:
                running.append(threads.submit(work))
                wait(running, timeout=_HEAD_START_S)
            while not _failed(running):
                missing = min(room.groups() - len(running), len(waiting))
                running += [threads.submit(work) for _ in range(missing)]
                if not wait(running, timeout=_POLL_S, return_when=FIRST_EXCEPTION).not_done:
                    break
        finally:
            stop.set()
    errors = [error for error in (future.exception() for future in running) if error is not None]
    # A group that was asked to end raises KeyboardInterrupt. Its error is raised only if there is no other.
    errors.sort(key=lambda error: isinstance(error, KeyboardInterrupt))
    if errors:
        raise errors[0]


def _failed(running: Iterable[Future[None]]) -> bool:
    return any(future.done() and future.exception() is not None for future in running)
