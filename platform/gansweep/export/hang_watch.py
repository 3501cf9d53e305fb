"""Detects and kills workers of a production training that hang. Ray Train then starts others."""

from __future__ import annotations

import json
import logging
import shutil
import time
from dataclasses import asdict
from typing import TYPE_CHECKING

from gansweep.files import write_atomically
from gansweep.search.hung_workers import WorkerProcess, kill_workers
from gansweep.search.silence import Silence, SilenceLimit

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable
    from pathlib import Path

__all__ = ["HangWatch", "end_of_watch", "watch_this_process"]

_FOLDER = "workers"

log = logging.getLogger(__name__)


def watch_this_process(folder: Path, rank: int) -> None:
    """Makes the driver watch this process, until `end_of_watch` or until another process has its rank.

    Args:
        folder: folder of the run.
        rank: rank of this worker.
    """
    path = _path(folder, rank)
    path.parent.mkdir(exist_ok=True)
    write_atomically(path, json.dumps(asdict(WorkerProcess.here())).encode())


def end_of_watch(folder: Path, rank: int) -> None:
    """Ends the watch of a worker, whatever it does from now on. See `watch_this_process` for the arguments."""
    _path(folder, rank).unlink(missing_ok=True)


class HangWatch:
    """Watches the workers of one production training, from the driver.

    A sign of life is a change of a file that the first worker writes: progress, interim or checkpoint.

    Args:
        folder: folder of the run.
        signs: names of these files. The first has a report of the training.
        limit: limits of the silence.
        kill: kills processes on their nodes.
        clock: returns the time in seconds.
    """

    def __init__(
        self,
        folder: Path,
        signs: Collection[str],
        limit: SilenceLimit,
        kill: Callable[[Iterable[WorkerProcess]], None] = kill_workers,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folder = folder
        self._signs = signs
        self._kill = kill
        self._silence = Silence(limit, clock)
        self.close()  # what an earlier driver's workers left
        self._workers: tuple[WorkerProcess, ...] = ()
        self._watching = False
        self._changed = [self._changed_ns(name) for name in signs]

    def look(self) -> None:
        """Looks for signs of life, and kills the workers if there has been none for too long."""
        workers = self._registered()
        if workers != self._workers:
            self._workers = workers
            self._watching = bool(workers)
            self._silence.begin()
        before = self._changed
        self._changed = [self._changed_ns(name) for name in self._signs]
        if not self._watching:
            return
        if self._changed != before:
            self._silence.end(report=self._changed[:1] != before[:1])
            self._silence.begin()
        if self._silence.is_hang():
            log.warning(
                "its workers have said nothing for %.0f s, so they count as hung; they are killed, and others go on"
                " from the last checkpoint",
                self._silence.seconds(),
            )
            self._watching = False
            self._kill(self._workers)

    def close(self) -> None:
        """Forgets all workers."""
        shutil.rmtree(self._folder / _FOLDER, ignore_errors=True)

    def _registered(self) -> tuple[WorkerProcess, ...]:
        found = []
        for path in sorted((self._folder / _FOLDER).glob("*.json")):
            try:
                found.append(WorkerProcess(**json.loads(path.read_bytes())))
            except FileNotFoundError:  # its watch has just ended
                continue
        return tuple(found)

    def _changed_ns(self, name: str) -> int:
        try:
            return (self._folder / name).stat().st_mtime_ns
        except FileNotFoundError:
            return 0


def _path(folder: Path, rank: int) -> Path:
    return folder / _FOLDER / f"{rank}.json"
