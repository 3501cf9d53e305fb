"""A trial between Tune and its worker group, with a worker group that only notes what it is given."""

import time
from dataclasses import dataclass, field
from typing import Any

import pytest

from gansweep.cohort.dataset import Cohort
from gansweep.config import ScoringSettings, TrialConfig
from gansweep.search import trial as module
from gansweep.search.cluster import Footprint
from gansweep.search.mailbox import Outcome
from gansweep.search.trial import WorkerGroupTrial
from gansweep.search.worker import WorkerGroupSettings
from gansweep.store.provenance import describe_sweep
from gansweep.store.schema import ReportRow
from gansweep.store.store import Store
from search_spaces.smoke import smoke
from tests.values import report_of, sweep_options
from trainables import TRAINABLES


@dataclass
class _Group:
    settings: WorkerGroupSettings
    footprint: Footprint
    asked: list[int] = field(default_factory=list)

    def assign(self, *_: Any, reported: int, **__: Any) -> None:
        self.asked = [reported]

    def outcome(self, index: int) -> Outcome:
        assert index in range(self.asked[0], self.settings.reports), "no worker will ever hand this report in"
        final = index + 1 == self.settings.reports
        return Outcome(
            report_of(index, final, 9, 9, scores={"fid": 1.0, "accuracy": 0.5, "kid": 0.1}, fid_features="f")
        )


@pytest.fixture
def store(cohort_path, tmp_path):
    info = describe_sweep(smoke(), Cohort.open(cohort_path), sweep_options(name="s", seed=0), space="smoke")
    return Store.create(str(tmp_path), "s", info)


def _set_up(store, reports, started=0.0):
    trial = object.__new__(WorkerGroupTrial)
    settings = WorkerGroupSettings(store.uri, "", "", TRAINABLES, ScoringSettings(), reports=reports)
    config = {"trial_id": "0000", "attempt": 1, "started": started, "config": TrialConfig().as_dict()}
    trial.setup(config, settings, Footprint(1, 1.0, 1.0), {"fid": "minimize", "accuracy": "maximize"})
    return trial


@pytest.mark.parametrize("reported", [0, 1, 2])
def test_a_trial_goes_on_after_any_number_of_stored_reports(store, reported, monkeypatch):
    """Also when it died between its last report and being told that this was its end."""
    monkeypatch.setattr(module, "WorkerGroup", _Group)
    store.write_bytes("checkpoints/0000.pt", b"weights")
    for index in range(reported):
        store.write_report(ReportRow("0000", 0, report_of(index, index == 1, 5, 5)))
    trial = _set_up(store, reports=2)
    statuses = [trial.step()["result"].status for _ in range(max(1, 2 - reported))]
    assert statuses[-1] == "completed"
    assert store.reports()["index"].tolist() == [0, 1]


def test_a_retry_by_tune_forgets_neither_the_attempts_time_nor_its_best(store, monkeypatch):
    monkeypatch.setattr(module, "WorkerGroup", _Group)
    store.write_bytes("checkpoints/0000.pt", b"weights")
    for index, (attempt, fid, accuracy) in enumerate([(0, 0.5, 0.9), (1, 2.0, 0.4), (1, float("nan"), 0.4)]):
        scores = {"fid": fid, "accuracy": accuracy}
        store.write_report(ReportRow("0000", attempt, report_of(index, False, 5, 5, scores=scores)))
    result = _set_up(store, reports=4, started=time.time() - 100).step()["result"]
    assert result.reported == 4
    assert result.best == {"fid": 0.5, "accuracy": 0.9}
    assert 100 <= result.seconds < 130
    assert result.footprint.gpus == 1.0


def test_tune_gets_the_objectives_alone_as_numbers(store, monkeypatch):
    """It keeps statistics of each number of each trial for as long as the sweep runs."""
    monkeypatch.setattr(module, "WorkerGroup", _Group)
    told = _set_up(store, reports=4).step()
    assert told.keys() == {"fid", "accuracy", "reported", "done", "result"}
    assert told["result"].report.progress.scores["kid"] == 0.1


def test_a_trial_without_a_checkpoint_starts_anew(store, monkeypatch):
    """On a node whose clock is behind."""
    monkeypatch.setattr(module, "WorkerGroup", _Group)
    store.write_report(ReportRow("0000", 1, report_of(0, False, 5, 5, scores={"fid": 0.5, "accuracy": 0.9})))
    result = _set_up(store, reports=4, started=time.time() + 100).step()["result"]
    assert result.reported == 1
    assert result.best == {"fid": 1.0, "accuracy": 0.5}
    assert 0 <= result.seconds < 30
