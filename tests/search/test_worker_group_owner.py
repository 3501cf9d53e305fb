"""The group's owner without Ray: where it keeps Ray Train's files, and what it makes of a group that is gone."""

from types import SimpleNamespace
from typing import Any

import pytest
import ray
from ray.train import ControllerError, WorkerGroupError
from ray.train.v2._internal.exceptions import WorkerGroupStartupTimeoutError

from gansweep.config import ScoringSettings
from gansweep.errors import CohortError
from gansweep.search.cluster import Footprint
from gansweep.search.mailbox import Job, Outcome
from gansweep.search.worker import WorkerGroupSettings
from gansweep.search.worker_group import WorkerGroup
from tests.values import report_of
from trainables import TRAINABLES


def _group(store: str) -> WorkerGroup:
    group = object.__new__(WorkerGroup)
    group._settings = WorkerGroupSettings(store, "cohort", "cache", TRAINABLES, ScoringSettings(), reports=2)
    group._footprint, group._mailbox = Footprint(), None
    return group


def test_ray_trains_files_lie_inside_a_store_whose_uri_has_a_query() -> None:
    trainer = _group("s3://bucket/sweep?region=eu-west-1&scheme=https")._trainer()
    assert trainer.run_config.storage_path == "bucket/sweep/ray", "Ray shows it, so it is without what the URI adds"
    assert trainer.run_config.storage_filesystem.region == "eu-west-1"


class _Group(WorkerGroup):
    """Every start ends with the next of these errors; the last start, None, reports."""

    def __init__(self, *ends: Exception | None) -> None:
        self._ends, self._max_starts, self._job = list(ends), 3, Job(0, "0000", {})
        mailbox = SimpleNamespace(remote=lambda *_: Outcome(report=report_of(0)))
        self._mailbox = SimpleNamespace(outcome=mailbox)
        self.recycle()

    def recycle(self, *_: Any) -> None:
        self._error = self._ends.pop(0)
        self._thread = SimpleNamespace(is_alive=lambda: self._error is None)

    def assign(self, *_: Any, **__: Any) -> None: ...


@pytest.fixture(autouse=True)
def _ray_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "wait", lambda references, **_: (references, []))
    monkeypatch.setattr(ray, "get", lambda reference: reference)


def test_a_group_that_finds_no_room_waits_as_long_as_it_takes() -> None:
    no_room = ControllerError(WorkerGroupStartupTimeoutError(2))
    assert _Group(*[no_room] * 10, None).outcome(0).report
    assert _Group(no_room, ValueError("a"), no_room, ValueError("b"), None).outcome(0).report


def test_a_group_that_dies_too_often_fails_its_trial_with_the_last_reason() -> None:
    outcome = _Group(*[WorkerGroupError("no space left on /dev/shm", {})] * 2, ValueError("why"), None).outcome(0)
    assert (outcome.ending, outcome.reason) == ("failed", "its worker group died 3 times: why")


def test_a_trial_that_its_node_refused_is_no_outcome() -> None:
    group = _Group(None)
    mistake = CohortError("is another one", where="/data/cohort")
    group._mailbox = SimpleNamespace(outcome=SimpleNamespace(remote=lambda *_: Outcome(mistake=mistake)))
    with pytest.raises(CohortError, match="/data/cohort: is another one"):
        group.outcome(0)
