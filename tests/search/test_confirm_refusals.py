"""What `confirm` refuses before anything is trained and before the test patients are opened."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pytest
from PIL import Image

from gansweep.cohort.dataset import Cohort
from gansweep.cohort.ingest.run import IngestSettings, ingest
from gansweep.config import TrialConfig
from gansweep.errors import CohortError, ConfigError, StoreError
from gansweep.experiment import Experiment
from gansweep.options import ConfirmOptions, ConfirmSettings
from gansweep.search.confirm import RESULT, _judged_together, _Trainings, _unfinished, confirm
from gansweep.search.mailbox import Outcome
from gansweep.store.provenance import describe_sweep
from gansweep.store.schema import ReportRow, TrialRow
from gansweep.store.store import Store
from gansweep.store.sweep_info import TestOpening
from tests.values import report_of, sweep_options
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


def test_a_file_of_the_scoring_that_has_changed(
    cohort_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gansweep.search.confirm.ray_cluster", lambda: pytest.fail("Ray was started"))
    store = swept(cohort_path, tmp_path)
    features = tmp_path / "features.pt"
    features.write_bytes(b"another file")
    experiment = store.info.experiment
    scoring = {**experiment["scoring"], "features": str(features)}
    store.update_info(experiment={**experiment, "scoring": scoring}, feature_files={"features": "0" * 64})
    with pytest.raises(ConfigError, match="features"):
        confirm(store, TRAINABLES, cache=tmp_path / "cache")
    assert not Store.open(store.uri).info.test_openings


@pytest.fixture
def unmarked(tmp_path: Path) -> Path:
    """A cohort without masks."""
    rng = np.random.default_rng(0)
    for label in ("control", "fahr"):
        (tmp_path / "images" / label).mkdir(parents=True)
        for number in range(20):
            pixels = rng.integers(0, 255, (16, 16), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "images" / label / f"{label}{number}.png")
    ingest(tmp_path / "images", tmp_path / "unmarked", IngestSettings(size=16))
    return tmp_path / "unmarked"


def test_rivals_that_need_masks_are_refused_where_there_are_none(unmarked: Path, tmp_path: Path) -> None:
    store = swept(unmarked, tmp_path)
    named = ConfirmOptions(rivals=("mixup", "paste", "blend"))
    with pytest.raises(
        ConfigError, match=r"^--rivals: paste, blend paste real lesions, and unmarked has no masks; leave"
    ):
        confirm(store, TRAINABLES, named, cache=tmp_path / "cache")
    assert not Store.open(store.uri).info.test_openings


def test_without_masks_the_usual_rivals_are_fewer_and_it_is_said(
    unmarked: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = swept(unmarked, tmp_path, conditioning="none")
    with caplog.at_level("INFO", logger="gansweep"), pytest.raises(ConfigError, match="samples without labels"):
        confirm(store, TRAINABLES, cache=tmp_path / "cache")
    assert [line for line in caplog.messages if "paste" in line] == [
        "without the rivals paste, blend: they paste real lesions, and unmarked has no masks"
    ]


@pytest.mark.parametrize(
    ("second", "leaders", "why"),
    [({}, 1, "one leader has nothing to be pooled with"), ({"data.size": 8}, 2, "images of different sizes or crops")],
)
def test_leaders_that_cannot_be_pooled(
    second: dict[str, Any], leaders: int, why: str, cohort_path: Path, tmp_path: Path
) -> None:
    store = swept(cohort_path, tmp_path)
    config = TrialConfig().derive({"family": "dcgan", **second})
    scores = {"fid": 8.0, "accuracy": 0.5}
    store.write_trial(TrialRow("0001", 1, "completed", config, scores=scores, ended=datetime.now(UTC)))
    with pytest.raises(ConfigError, match=why):
        confirm(store, TRAINABLES, ConfirmOptions(leaders=leaders, pool=True), cache=tmp_path / "cache")
    assert not Store.open(store.uri).info.test_openings


def test_what_is_judged_together() -> None:
    trained = {"0003": ["a", "b", "c"], "0007": ["d", "e"]}
    alone = {"0003": [("a",), ("b",), ("c",)], "0007": [("d",), ("e",)]}
    assert _judged_together(trained, ConfirmSettings()) == alone
    assert _judged_together(trained, ConfirmSettings(pool=True)) == {**alone, "0003+0007": [("a", "d"), ("b", "e")]}


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
    opening = TestOpening(opened=datetime.now(UTC))
    Store.open(store.uri).update_info(test_openings=(opening,))
    store.write_bytes(RESULT, json.dumps({"opened": opening.opened.isoformat()}).encode())
    with pytest.raises(StoreError, match="its test patients were opened on"):
        confirm(store, TRAINABLES, cache=tmp_path / "cache")


def test_an_opening_without_a_result_is_gone_on_with(cohort_path: Path, tmp_path: Path) -> None:
    store = swept(cohort_path, tmp_path)
    assert _unfinished(store) is None
    first, second = (TestOpening(opened=datetime(2026, 1, day, 3, 4, 5, 6, tzinfo=UTC)) for day in (1, 2))
    store.update_info(test_openings=(first,))
    assert _unfinished(Store.open(store.uri)) == first
    store.write_bytes(RESULT, json.dumps({"opened": first.opened.isoformat()}).encode())
    assert _unfinished(store) is None
    store.update_info(test_openings=(first, second))
    assert _unfinished(store) == second
    for seen in (
        "{",
        "[]",
        "{}",
        '{"opened": 3}',
        '{"opened": "2026-01-01T03:04:05"}',
        "[" * 100_000,
    ):  # a damaged result may have been looked at
        store.write_bytes(RESULT, seen.encode())
        assert _unfinished(store) is None


def test_a_result_that_was_moved_away_was_seen_all_the_same(cohort_path: Path, tmp_path: Path) -> None:
    store = swept(cohort_path, tmp_path)
    store.update_info(test_openings=(TestOpening(opened=datetime.now(UTC), judged=True),))
    assert not store.exists(RESULT)
    with pytest.raises(StoreError, match="its test patients were opened on"):
        confirm(store, TRAINABLES, cache=tmp_path / "cache")


@pytest.mark.parametrize("damage", ["cut", "deleted"])
def test_a_sweep_whose_rows_are_not_whole(cohort_path: Path, tmp_path: Path, damage: str) -> None:
    """The leader may be the one that is missing, and an opening of the test patients cannot be undone."""
    store = swept(cohort_path, tmp_path)
    scores = {"fid": 1.0, "accuracy": 0.9}
    config = TrialConfig().derive({"family": "dcgan", "seed": 5})
    store.write_trial(TrialRow("0001", 0, "completed", config, scores=scores, ended=datetime.now(UTC)))
    store.write_report(ReportRow("0001", 0, report_of(0, final=True)))
    row = tmp_path / "s" / "trials" / "trial-0001.0.parquet"
    if damage == "cut":
        row.write_bytes(row.read_bytes()[:-40])
    else:
        row.unlink()
    with pytest.raises(StoreError, match=r"trial-?s?[-/ ].*0001.*; put back a copy, or continue the sweep"):
        confirm(store, TRAINABLES, cache=tmp_path / "cache")
    assert not Store.open(store.uri).info.test_openings


def test_a_training_is_made_once_and_again_only_where_it_cannot_be_used(cohort_path: Path, tmp_path: Path) -> None:
    store = swept(cohort_path, tmp_path)
    settings = ConfirmSettings(gan_seeds=3)
    config = store.config("0000")

    class Group:
        assigned: ClassVar[list[str]] = []
        endings: ClassVar[list[str | None]] = [None, "diverged", None]

        def assign(self, name: str, values: dict[str, Any]) -> None:
            self.assigned.append(name)
            store.checkpoint(name).write({"config": values})

        def outcome(self, _: int) -> Outcome:
            ending = self.endings[(len(self.assigned) - 1) % 3]
            return Outcome(ending=ending) if ending else Outcome(report=report_of(0, final=True))  # type: ignore[arg-type]

    group = Group()
    trainings = _Trainings(store, {"0000": config}, settings)
    names = [f"confirm-0000-{seed}" for seed in (10_000, 10_001, 10_002)]
    assert trainings.missing() == names
    for name in trainings.missing():
        trainings.make(group, name)  # type: ignore[arg-type]
    assert group.assigned == names
    assert trainings.missing() == []
    with pytest.raises(StoreError, match="did not train again"):
        trainings.made()
    store.checkpoint(names[2]).write_bytes(b"damaged")
    assert trainings.missing() == [names[2]]
    other = _Trainings(store, {"0000": config.derive({"lr_d": 1e-3})}, settings)
    assert other.missing() == names
