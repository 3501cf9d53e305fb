"""What `confirm` refuses before anything is trained and before the test patients are opened."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from gansweep.cohort.dataset import Cohort
from gansweep.cohort.ingest.run import IngestSettings, ingest
from gansweep.config import ConfirmOptions, TrialConfig
from gansweep.errors import CohortError, ConfigError, StoreError
from gansweep.experiment import Experiment
from gansweep.search.confirm import confirm
from gansweep.store.provenance import describe_sweep
from gansweep.store.schema import TestOpening, TrialRow
from gansweep.store.store import Store
from tests.values import sweep_options
from trainables import TRAINABLES

if TYPE_CHECKING:
    from pathlib import Path

EXPERIMENT = Experiment(name="tiny", space=lambda _: TrialConfig(), trainables=TRAINABLES)


def swept(cohort: Path, storage: Path, conditioning: str = "concat") -> Store:
    """A sweep of one completed trial."""
    info = describe_sweep(EXPERIMENT, Cohort.open(cohort), sweep_options(), space="tiny")
    store = Store.create(str(storage), "s", info)
    config = TrialConfig().derive({"family": "dcgan", "conditioning": conditioning})
    scores = {"fid": 9.0, "accuracy": 0.6}
    store.write_trial(TrialRow("0000", 0, "completed", config, scores=scores, ended=datetime.now(UTC)))
    return store


@pytest.mark.parametrize(("split", "count"), [((0.6, 0.4, 0.0), 0), ((0.6, 0.3, 0.1), 1)])
def test_too_few_test_patients(
    split: tuple[float, float, float], count: int, cohort_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scans = cohort_path.parent / "scans"
    ingest(scans, tmp_path / "cohort", IngestSettings(size=16, labels=scans / "labels.csv", split=split))
    store = swept(tmp_path / "cohort", tmp_path)
    monkeypatch.setattr(Cohort, "load_test", lambda *_: pytest.fail("the test patients were opened"))
    with pytest.raises(CohortError, match=f"{count} test patient.s. with .*, and a verdict needs 2"):
        confirm(store, TRAINABLES, cache=tmp_path / "cache")
    assert not Store.open(store.uri).info.test_openings


def test_a_leader_without_labelled_samples(cohort_path: Path, tmp_path: Path) -> None:
    store = swept(cohort_path, tmp_path, conditioning="none")
    with pytest.raises(ConfigError, match="trial 0000 makes samples without labels"):
        confirm(store, TRAINABLES, cache=tmp_path / "cache")
    assert not Store.open(store.uri).info.test_openings


def test_a_leader_that_so_many_workers_cannot_train(cohort_path: Path, tmp_path: Path) -> None:
    store = swept(cohort_path, tmp_path)
    with pytest.raises(ConfigError, match="is not divisible by 3 workers"):
        confirm(store, TRAINABLES, ConfirmOptions(workers_per_trial=3), cache=tmp_path / "cache")


def test_a_sweep_that_another_process_works_on(cohort_path: Path, tmp_path: Path) -> None:
    store = swept(cohort_path, tmp_path)
    with store.exclusive(), pytest.raises(StoreError, match="is at work on this sweep"):
        confirm(store, TRAINABLES, cache=tmp_path / "cache")


def test_test_patients_that_were_opened_since_the_store_was_read(cohort_path: Path, tmp_path: Path) -> None:
    store = swept(cohort_path, tmp_path)
    Store.open(store.uri).update_info(test_openings=(TestOpening(opened=datetime.now(UTC)),))
    with pytest.raises(StoreError, match="its test patients were opened on"):
        confirm(store, TRAINABLES, cache=tmp_path / "cache")
