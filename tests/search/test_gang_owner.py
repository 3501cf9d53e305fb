"""The gang's owner without Ray: where it keeps Ray Train's files, and what it makes of a gang that is gone."""

from types import SimpleNamespace
from typing import Any

import pytest
import ray
from ray.train import ControllerError, WorkerGroupError
from ray.train.v2._internal.exceptions import WorkerGroupStartupTimeoutError

from gansweep.errors import CohortError
from gansweep.experiment import ScoringSettings
from gansweep.search.capacity import Footprint
from gansweep.search.desk import Job, Outcome
from gansweep.search.gang import Gang
from gansweep.search.worker import GangSettings
from trainables import TRAINABLES


def _gang(store: str) -> Gang:
    gang = object.__new__(Gang)
    gang._settings = GangSettings(store, "cohort", "cache", TRAINABLES, ScoringSettings(), reports=2)
    gang._footprint, gang._desk = Footprint(), None
    return gang


def test_ray_trains_files_lie_inside_a_store_whose_uri_has_a_query() -> None:
    trainer = _gang("s3://bucket/sweep?region=eu-west-1&scheme=https")._trainer()
    assert trainer.run_config.storage_path == "s3://bucket/sweep/ray?region=eu-west-1&scheme=https"


class _Gang(Gang):
    """Every start ends with the next of these errors; the last start, None, reports."""

    def __init__(self, *ends: Exception | None) -> None:
        self._ends, self._max_starts, self._job = list(ends), 3, Job(0, "0000", {})
        desk = SimpleNamespace(remote=lambda *_: Outcome(report={"index": 0}))
        self._desk = SimpleNamespace(outcome=desk)
        self.recycle()

    def recycle(self, *_: Any) -> None:
        self._error = self._ends.pop(0)
        self._thread = SimpleNamespace(is_alive=lambda: self._error is None)

    def assign(self, *_: Any, **__: Any) -> None: ...


@pytest.fixture(autouse=True)
def _ray_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "wait", lambda references, **_: (references, []))
    monkeypatch.setattr(ray, "get", lambda reference: reference)


def test_a_gang_that_finds_no_room_waits_as_long_as_it_takes() -> None:
    no_room = ControllerError(WorkerGroupStartupTimeoutError(2))
    assert _Gang(*[no_room] * 10, None).outcome(0).report
    assert _Gang(no_room, ValueError("a"), no_room, ValueError("b"), None).outcome(0).report


def test_a_gang_that_dies_too_often_fails_its_trial_with_the_last_reason() -> None:
    outcome = _Gang(*[WorkerGroupError("no space left on /dev/shm", {})] * 2, ValueError("why"), None).outcome(0)
    assert (outcome.ending, outcome.reason) == ("failed", "its gang died 3 times: why")


def test_a_trial_that_its_node_refused_is_no_outcome() -> None:
    gang = _Gang(None)
    mistake = CohortError("is another one", where="/data/cohort")
    gang._desk = SimpleNamespace(outcome=SimpleNamespace(remote=lambda *_: Outcome(mistake=mistake)))
    with pytest.raises(CohortError, match="/data/cohort: is another one"):
        gang.outcome(0)
