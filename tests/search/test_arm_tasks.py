"""Tasks of `confirm` whose process or node is lost are started again, and end in one line if that does not help."""

from __future__ import annotations

import logging
import os
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import ray
from ray.exceptions import (
    NodeDiedError,
    ObjectLostError,
    OutOfMemoryError,
    RayError,
    RayTaskError,
    TaskUnschedulableError,
    WorkerCrashedError,
)

from gansweep.errors import ClusterError, CohortError
from gansweep.search.arm_tasks import MOST_DEATHS, results_of
from gansweep.search.cluster import MOST_LOST_NODES

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

LOST = ObjectLostError("00", None, "")
GONE = NodeDiedError("Task failed due to the node (where this task was running) was dead or unavailable.\nMore.")
CRASHED = WorkerCrashedError()
FULL = OutOfMemoryError("Task was killed due to the node running low on memory.\nMemory on the node ...")


class Attempts:
    """Stands for Ray: each start of a task ends as the next of its outcomes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **outcomes: Sequence[Any]) -> None:
        self.left = {name: list(ends) for name, ends in outcomes.items()}
        self.starts = dict.fromkeys(outcomes, 0)
        monkeypatch.setattr(ray, "wait", lambda running: (running[-1:], running[:-1]))
        monkeypatch.setattr(ray, "get", self._get)
        self.cancelled: list[str] = []
        monkeypatch.setattr(ray, "cancel", self._cancel)

    def run(self) -> dict[str, Any]:
        return results_of({name: partial(self._start, name) for name in self.left})

    def _start(self, name: str) -> tuple[str, int]:
        self.starts[name] += 1
        return name, self.starts[name]

    def _cancel(self, reference: tuple[str, int], *, force: bool) -> None:
        assert force
        self.cancelled.append(reference[0])

    def _get(self, reference: tuple[str, int]) -> Any:
        outcome = self.left[reference[0]].pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


def test_lost_nodes_and_lost_results_are_not_counted_as_deaths(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    lost = [GONE, LOST] * MOST_DEATHS
    attempts = Attempts(monkeypatch, a=[1], b=[*lost, CRASHED, 2], c=[3])
    with caplog.at_level(logging.WARNING, "gansweep"):
        assert attempts.run() == {"a": 1, "b": 2, "c": 3}
    assert attempts.starts == {"a": 1, "b": len(lost) + 2, "c": 1}, "what has ended is not computed again"
    assert attempts.cancelled == []
    assert [record.getMessage() for record in caplog.records] == [
        *["b: the node of its task was lost; it begins again", "b: the node of its result was lost; it is read again"]
        * MOST_DEATHS,
        "b: the process of its task died; it begins again",
    ]


@pytest.mark.parametrize(
    ("error", "starts", "reason"),
    [
        (CRASHED, MOST_DEATHS, f"the process of its task died, {MOST_DEATHS} times"),
        (FULL, MOST_DEATHS, f"its node ran out of memory, so Ray ended its task, {MOST_DEATHS} times"),
        (GONE, MOST_LOST_NODES, f"the node of its task was lost, {MOST_LOST_NODES} times"),
        (LOST, MOST_LOST_NODES, f"the node of its result was lost, {MOST_LOST_NODES} times"),
        (TaskUnschedulableError("no such\nnode"), 1, r"Ray could not run its task \(.*no such node.*\)"),
    ],
)
def test_what_is_lost_each_time_ends_in_one_line(
    error: RayError, starts: int, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts = Attempts(monkeypatch, a=[error] * 99)
    with pytest.raises(ClusterError, match=f"^a: {reason}; the same command goes on, and keeps .*$") as told:
        attempts.run()
    assert attempts.starts == {"a": starts}
    assert "\n" not in str(told.value)


def test_a_mistake_that_a_task_found_is_told_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    found = CohortError("not the cohort of this sweep")
    raised = RayTaskError("kept_arms", "Traceback ...", found).as_instanceof_cause()
    attempts = Attempts(monkeypatch, b=[1], a=[raised] * 2)
    with pytest.raises(CohortError, match=r"^not the cohort of this sweep$"):
        attempts.run()
    assert attempts.starts == {"a": 1, "b": 1}
    assert attempts.cancelled == ["b"]


def _dies_at_first(seen: Path, deaths: int) -> str:
    with seen.open("a") as file:
        file.write("x")
    if len(seen.read_text()) <= deaths:
        os._exit(1)
    return seen.read_text()


@pytest.mark.ray(shared=True)
def test_processes_that_really_die(tmp_path: Path) -> None:
    task = ray.remote(num_cpus=0, max_retries=0)(_dies_at_first)
    starts = {"once": partial(task.remote, tmp_path / "1", 1), "never": partial(task.remote, tmp_path / "2", 0)}
    assert results_of(starts) == {"once": "xx", "never": "x"}
    with pytest.raises(ClusterError, match=f"died, {MOST_DEATHS} times"):
        results_of({"always": partial(task.remote, tmp_path / "3", 99)})
    assert (tmp_path / "3").read_text() == "xxx"


def _sleeps() -> None:
    time.sleep(600)


def _refused() -> None:
    raise CohortError("not the cohort of this sweep")


@pytest.mark.ray(shared=True)
def test_tasks_beside_one_that_cannot_be_mended_return_what_they_hold() -> None:
    long = ray.remote(num_cpus=1, max_retries=0)(_sleeps)
    refused = ray.remote(num_cpus=0, max_retries=0)(_refused)
    free = ray.available_resources()["CPU"]
    with pytest.raises(CohortError):
        results_of({"long": long.remote, "waits": long.remote, "refused": refused.remote})
    until = time.monotonic() + 60
    while ray.available_resources().get("CPU", 0) < free and time.monotonic() < until:
        time.sleep(0.2)
    assert ray.available_resources().get("CPU", 0) >= free
