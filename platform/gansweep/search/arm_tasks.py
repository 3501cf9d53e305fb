"""Runs Ray tasks to their end, and starts those again whose process or node was lost."""

from __future__ import annotations

import logging
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from gansweep.errors import ClusterError, GansweepError, one_line
from gansweep.search.cluster import MOST_LOST_NODES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["MOST_DEATHS", "results_of"]

MOST_DEATHS = 3
"""A task whose process dies so often is not started again: it may be what ends the process, as by its memory."""

log = logging.getLogger(__name__)


def results_of(starts: Mapping[str, Callable[[], Any]]) -> dict[str, Any]:
    """Starts all tasks and returns their results, by the same names.

    Ray's own retries do not tell a lost node from a process that died, and do not end if its memory monitor ended it.
    A started task must therefore have `max_retries=0`. If one cannot be mended, the others are ended, so that they
    keep no resources.

    Args:
        starts: by the name of each task, what starts it and returns the reference to its result. A task that is
            started again must not repeat what it has stored.

    Raises:
        GansweepError: the first that a task raised.
        ClusterError: the process or the node of a task was lost too often, or Ray cannot run it.
    """
    import ray

    losses = {name: _Losses(name) for name in starts}
    running = {start(): name for name, start in starts.items()}
    found: dict[str, Any] = {}
    try:
        while running:
            ended = ray.wait(list(running))[0][0]
            name = running.pop(ended)
            try:
                found[name] = ray.get(ended)
            except ray.exceptions.RayTaskError as error:
                # Ray's own error prints the whole traceback, but the cause has a one-line message.
                raise error.cause if isinstance(error.cause, GansweepError) else error from None
            except ray.exceptions.RayError as error:
                losses[name].count(error)
                running[starts[name]()] = name
    finally:
        for reference in running:
            with suppress(ray.exceptions.RayError):  # it must not hide why the tasks are ended
                ray.cancel(reference, force=True)
    return {name: found[name] for name in starts}


class _Losses:
    """What a task has lost so far.

    Args:
        name: name of the task, for messages.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._counts: Counter[str] = Counter()

    def count(self, error: Exception) -> None:
        """Counts a loss and logs it.

        Raises:
            ClusterError: it was one too many, or the error is none that another start can mend.
        """
        what, then, most = _loss(error)
        self._counts[what] += 1
        if self._counts[what] < most:
            log.warning("%s: %s; %s", self._name, what, then)
            return
        often = f", {most} times" if most > 1 else ""
        raise ClusterError(
            f"{what}{often}", where=self._name, fix="the same command goes on, and keeps what has ended"
        ) from error


def _loss(error: Exception) -> tuple[str, str, int]:
    """Returns what was lost, what is done about it, and how often it may happen to a task."""
    from ray.exceptions import NodeDiedError, ObjectLostError, OutOfMemoryError, WorkerCrashedError

    again = "it begins again"
    if isinstance(error, NodeDiedError):
        return "the node of its task was lost", again, MOST_LOST_NODES
    if isinstance(error, ObjectLostError):
        return "the node of its result was lost", "it is read again", MOST_LOST_NODES
    if isinstance(error, OutOfMemoryError):
        return "its node ran out of memory, so Ray ended its task", again, MOST_DEATHS
    if isinstance(error, WorkerCrashedError):
        return "the process of its task died", again, MOST_DEATHS
    return f"Ray could not run its task ({one_line(error, 200) or type(error).__name__})", "", 1
