"""Workers of a production training that are silent for too long are killed once."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

import pytest

from gansweep.export import hang_watch
from gansweep.export.hang_watch import HangWatch, end_of_watch, watch_this_process
from gansweep.search.hung_workers import WorkerProcess
from gansweep.search.silence import SilenceLimit

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

REPORTS = "progress.jsonl"
INTERIM = "interim.json"
LIMIT = SilenceLimit(least_s=10.0, checkpoint_s=1.0, factor=2.0)
BEFORE_A_REPORT = 60.0  # six times the least


class Watched:
    """A watch, with a clock that is set, and processes that are made up."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.now = 0.0
        self.killed: list[tuple[WorkerProcess, ...]] = []
        self._writes = 0
        self._monkeypatch = monkeypatch
        self.watch = HangWatch(folder, (REPORTS, INTERIM), LIMIT, self._kill, lambda: self.now)

    def _kill(self, workers: Iterable[WorkerProcess]) -> None:
        self.killed.append(tuple(workers))

    def starts(self, *pids: int) -> None:
        for rank, pid in enumerate(pids):
            self._monkeypatch.setattr(hang_watch.WorkerProcess, "here", lambda pid=pid: WorkerProcess("n", pid, 1.0))
            watch_this_process(self.folder, rank)
        self.watch.look()

    def writes(self, name: str) -> None:
        self._writes += 1
        (self.folder / name).write_text("")
        os.utime(self.folder / name, ns=(self._writes, self._writes))

    def after(self, seconds: float) -> int:
        """Returns how often workers were killed until so many seconds later."""
        self.now += seconds
        self.watch.look()
        return len(self.killed)


@pytest.fixture
def watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Watched:
    return Watched(tmp_path, monkeypatch)


def test_silent_workers_are_killed_once_and_told(watched: Watched, caplog: pytest.LogCaptureFixture) -> None:
    assert watched.after(1_000) == 0, "there are none yet"
    watched.starts(7, 8)
    assert watched.after(BEFORE_A_REPORT) == 0
    with caplog.at_level(logging.WARNING):
        assert watched.after(1) == 1
    assert watched.killed == [(WorkerProcess("n", 7, 1.0), WorkerProcess("n", 8, 1.0))]
    (told,) = caplog.messages
    assert told.startswith("its workers have said nothing for 61 s, so they count as hung; they are killed, and others")
    assert watched.after(1_000) == 1, "those that were killed are not watched"
    watched.starts(9, 10)
    assert watched.after(BEFORE_A_REPORT) == 1
    assert watched.after(1) == 2


@pytest.mark.parametrize(("name", "allowed"), [(INTERIM, BEFORE_A_REPORT), (REPORTS, 12.0)])
def test_a_file_that_changes_is_a_sign_of_life(watched: Watched, name: str, allowed: float) -> None:
    """After a report the limit is twice the longest silence, which was 6 s, or 10 s."""
    watched.starts(7)
    for _ in range(20):
        watched.writes(name)
        assert watched.after(6) == 0
    assert watched.after(allowed) == 0
    assert watched.after(1) == 1


def test_final_scores_may_take_any_time(watched: Watched) -> None:
    watched.starts(7, 8)
    watched.writes(REPORTS)
    assert watched.after(1) == 0
    for rank in (0, 1):
        end_of_watch(watched.folder, rank)
    assert watched.after(1_000) == 0


def test_workers_of_an_earlier_driver_are_not_watched(watched: Watched) -> None:
    watched.starts(7)
    later = Watched(watched.folder, watched._monkeypatch)
    assert later.after(1_000) == 0
    assert list(watched.folder.iterdir()) == []
