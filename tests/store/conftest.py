from datetime import UTC, datetime

import pytest

from gansweep.config import Objective, TrialConfig
from gansweep.store.schema import ReportRow, TrialRow
from gansweep.store.store import Store
from gansweep.store.sweep_info import CohortReference, SweepInfo
from tests.values import report_of


@pytest.fixture
def info():
    return SweepInfo(
        name="first",
        experiment={"name": "smoke"},
        space="smoke",
        cohort=CohortReference(path="/data/cohort", content_hash="ab" * 32, classes=("control", "fahr")),
        objectives=(Objective(name="fid", direction="minimize"), Objective(name="accuracy", direction="maximize")),
        created=datetime(2026, 1, 2, tzinfo=UTC),
    )


@pytest.fixture
def store(tmp_path, info):
    return Store.create(str(tmp_path / "storage"), "first", info)


@pytest.fixture
def trial():
    def make(number, attempt=0, status="completed", config=None, **changes):
        scores = {"fid": 10.0 + number, "accuracy": min(1.0, 0.5 + number / 100)}
        values = {"scores": scores, "best": scores, "started": datetime(2026, 1, 2, tzinfo=UTC), **changes}
        return TrialRow(f"{number:04d}", attempt, status, config or TrialConfig(), **values)

    return make


@pytest.fixture
def report():
    def make(number, index, attempt=0, time=None, **changes):
        values = {"losses": {"critic": 1.5}, "scores": {"fid": 20.0 - index, "accuracy": 0.5}, **changes}
        report = report_of(index, index == 3, 100 * (index + 1), 6400, **values)
        return ReportRow(f"{number:04d}", attempt, report, **({} if time is None else {"time": time}))

    return make


@pytest.fixture
def rows(store, trial, report):
    """Five trials with two reports each."""
    for number in range(5):
        store.write_trial(trial(number))
        for index in range(2):
            store.write_report(report(number, index))
    return store
