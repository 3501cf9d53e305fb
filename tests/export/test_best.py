"""What an export holds, and what it refuses."""

from __future__ import annotations

import json
import logging
import shutil
import subprocess
import warnings
from typing import TYPE_CHECKING

import pytest
import torch
from safetensors.torch import load_file

from gansweep.cohort.dataset import Cohort
from gansweep.cohort.ingest.run import IngestSettings, ingest
from gansweep.cohort.phantom.scans import write_phantom
from gansweep.config import TrialConfig
from gansweep.errors import CohortError, ExportError, StoreError
from gansweep.export.best import export_best
from gansweep.export.config_file import read_config, read_plan
from gansweep.export.evidence import search_evidence
from gansweep.export.loading import load_generator
from gansweep.store.schema import TrialRow
from gansweep.store.store import Store
from trainables import TRAINABLES

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Sweep


def test_weights_are_the_averaged_ones_of_the_best_trial(sweep: Sweep, exported: Path) -> None:
    kept = load_file(exported / "generator.safetensors")
    averaged = sweep.states["0001"]["ema"]["generator"]
    assert {key.removeprefix("generator.") for key in kept if key.startswith("generator.")} == set(averaged)
    assert all(torch.equal(kept[f"generator.{key}"], tensor) for key, tensor in averaged.items())
    live = sweep.states["0001"]["networks"]["generator"]
    assert any(not torch.equal(kept[f"generator.{key}"], tensor) for key, tensor in live.items())


def test_the_configuration_is_complete_and_says_where_it_is_from(sweep: Sweep, exported: Path) -> None:
    text = (exported / "config.yaml").read_text()
    assert read_config(exported / "config.yaml") == sweep.store.config("0001")
    keys = {line.split(":")[0] for line in text.splitlines() if line[0].isalpha()}
    assert keys == {*TrialConfig().as_dict(), "scoring", "origin"}
    plan = read_plan(exported / "config.yaml")
    assert plan.scoring == sweep.store.scoring
    assert plan.origin is not None
    assert (plan.origin.trial, plan.origin.scores["accuracy"]) == ("0001", 0.80)
    assert "rank" not in plan.origin.scores
    assert "  lambda: 10.0\n" in text
    assert "# Trial 0001 of sweep tiny" in text
    assert sweep.store.info.cohort.content_hash in text


def test_the_evidence_has_scores_sizes_seeds_and_their_source(exported: Path) -> None:
    evidence = json.loads((exported / "evidence.json").read_text())
    assert evidence["scores"]["accuracy"] == 0.80
    assert evidence["scores"]["fid_floor"] == 4.0
    assert evidence["intervals"] == {}
    assert "confirm" in evidence["intervals_note"]
    assert evidence["fid_features"] == "cohort-encoder:abc"
    assert evidence["n"]["validation_patients"] == 2
    assert evidence["n"]["train_patients"] == 8
    assert evidence["seeds"] == {"sampler": 3, "cohort_split": 0, "trial": 1}
    assert evidence["selection"] == {
        "sweep": "tiny",
        "trials": 3,
        "rank": 1,
        "chosen": "by rank",
        "status": "completed",
        "objectives": ["fid minimize", "accuracy maximize"],
        "infeasible": "",
    }
    assert evidence["versions"]["torch"] == torch.__version__


def test_the_evidence_counts_the_time_of_every_attempt(sweep: Sweep, tmp_path: Path) -> None:
    assert sweep.store.local is not None
    store = Store.open(str(shutil.copytree(sweep.store.local, tmp_path / "tiny")))
    config = store.config("0001")
    store.write_trial(TrialRow("0001", 0, "interrupted", config, seconds=30.0, gpu_seconds=60.0))
    store.write_trial(TrialRow("0001", 1, "completed", config, seconds=12.0, gpu_seconds=24.0))
    row = store.latest_trials().set_index("trial_id", drop=False).loc["0001"]
    budget = search_evidence(store, row, config, Cohort.open(sweep.cohort), 1, "by rank").budget
    assert (budget.seconds, budget.gpu_seconds) == (42.0, 84.0)


def test_the_checksums_are_those_of_every_file(exported: Path) -> None:
    told = subprocess.run(
        ["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=exported, capture_output=True, text=True, check=False
    )
    assert told.returncode == 0, told.stderr
    files = {str(path.relative_to(exported)) for path in exported.rglob("*") if path.is_file()} - {"SHA256SUMS"}
    assert {line.partition(": ")[0] for line in told.stdout.splitlines()} == files


def test_nothing_in_an_export_names_a_place_or_a_patient(sweep: Sweep, exported: Path) -> None:
    from gansweep.cohort.dataset import Cohort

    patients = set(Cohort.open(sweep.cohort).manifest["patient"])
    for path in exported.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert str(sweep.cohort.parent).encode() not in content, path
            assert not any(patient.encode() in content for patient in patients), path


def test_exporting_twice_gives_the_same_bytes(sweep: Sweep, exported: Path, tmp_path: Path) -> None:
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("always")
        again = export_best(sweep.store, tmp_path / "again", TRAINABLES, cache=sweep.cache)
    assert [str(warning.message) for warning in shown] == []
    names = sorted(path.relative_to(exported) for path in exported.rglob("*") if path.is_file())
    assert names == sorted(path.relative_to(again) for path in again.rglob("*") if path.is_file())
    for name in names:
        if name.suffix != ".pt":  # a zip file with dates in it
            assert (exported / name).read_bytes() == (again / name).read_bytes(), name


@pytest.mark.usefixtures("without_program")
def test_a_trial_can_be_chosen(sweep: Sweep, tmp_path: Path) -> None:
    out = export_best(sweep.store, tmp_path / "second", TRAINABLES, trial_id="0002", cache=sweep.cache)
    evidence = json.loads((out / "evidence.json").read_text())
    assert (evidence["trial_id"], evidence["selection"]["rank"]) == ("0002", 2)
    assert "Number 2 of the 3 trials" in (out / "MODEL_CARD.md").read_text()


@pytest.mark.usefixtures("without_program")
def test_a_store_that_cannot_be_written_is_exported(
    sweep: Sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A colleague may only read it. The picture of the nearest pairs shows patients, so it goes nowhere else."""

    def refuse(*_: object) -> None:
        raise StoreError("cannot write: Read-only file system", where="store")

    monkeypatch.setattr(Store, "write_bytes", refuse)
    caplog.set_level("INFO")
    out = export_best(sweep.store, tmp_path / "out", TRAINABLES, cache=sweep.cache)
    assert (out / "generator.safetensors").is_file()
    assert not list(tmp_path.rglob("*nearest*"))
    assert "nearest pairs: not kept, because the store cannot be written (cannot write: Read-only" in caplog.text


def test_the_exporters_own_warnings_are_not_shown(
    sweep: Sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[str] = []
    handler = logging.Handler()
    monkeypatch.setattr(handler, "emit", lambda record: shown.append(record.getMessage()))
    exporter = logging.getLogger("torch.onnx")
    exporter.addHandler(handler)
    try:
        export_best(sweep.store, tmp_path / "out", TRAINABLES, cache=sweep.cache)
    finally:
        exporter.removeHandler(handler)
    assert shown == []


@pytest.mark.parametrize("damage", ["truncated", "of another trial"])
def test_a_checkpoint_that_is_not_the_trials_own_is_refused(sweep: Sweep, tmp_path: Path, damage: str) -> None:
    assert sweep.store.local is not None
    store = Store.open(str(shutil.copytree(sweep.store.local, tmp_path / "tiny")))
    own = store.checkpoint("0001")
    other = store.checkpoint("0002").read_bytes()
    own.write_bytes(own.read_bytes()[:5000] if damage == "truncated" else other)
    with pytest.raises(StoreError, match=r"checkpoints/0001\.pt: (damaged checkpoint|checkpoint of another)"):
        export_best(store, tmp_path / "out", TRAINABLES, cache=sweep.cache)
    assert not (tmp_path / "out").exists()


def test_a_sweep_with_a_damaged_row_is_exported_only_by_name(sweep: Sweep, tmp_path: Path) -> None:
    """The trial whose row is damaged could be the better one."""
    assert sweep.store.local is not None
    store = Store.open(str(shutil.copytree(sweep.store.local, tmp_path / "tiny")))
    store.write_bytes("trials/trial-0001.0.parquet", b"PAR1")
    with pytest.raises(StoreError, match=r"left out 1 damaged file: trials/trial-0001\.0\.parquet"):
        export_best(store, tmp_path / "out", TRAINABLES, cache=sweep.cache)
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("without_program")
def test_a_checkpoint_of_an_earlier_iteration_is_refused(sweep: Sweep, tmp_path: Path) -> None:
    store = Store.open(shutil.copytree(sweep.store.local, tmp_path / "store"))
    trial = store.latest_trials().query("status == 'completed'")["trial_id"].iloc[0]
    checkpoint = store.checkpoint(trial)
    checkpoint.write(checkpoint.read() | {"iteration": 1})
    with pytest.raises(
        ExportError, match=r"its checkpoint is of iteration 1, and its scores are of iteration \d+; put"
    ):
        export_best(store, tmp_path / "out", TRAINABLES, trial, sweep.cohort, cache=sweep.cache)
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("without_program")
def test_repeats_are_no_trials_that_the_search_tried(sweep: Sweep, tmp_path: Path) -> None:
    assert sweep.store.local is not None
    store = Store.open(str(shutil.copytree(sweep.store.local, tmp_path / "tiny")))
    for seed, fid in enumerate((24.0, 26.0, 25.0), start=20_000):
        name, config = f"0001-{seed}", store.config("0001").derive({"seed": seed})
        store.checkpoint(name).write(store.checkpoint("0001").read() | {"config": config.as_dict()})
        store.write_trial(
            TrialRow(name, 0, "completed", config, scores={"fid": fid, "accuracy": 0.78}, repeat_of="0001")
        )
    for trial_id, rank, said in ((None, 1, "The best"), ("0001-20001", 1, "Number 1"), ("0002", 2, "Number 2")):
        out = export_best(store, tmp_path / str(trial_id), TRAINABLES, trial_id=trial_id, cache=sweep.cache)
        selection = json.loads((out / "evidence.json").read_text())["selection"]
        assert (selection["rank"], selection["trials"]) == (rank, 3)
        assert f"{said} of the 3 trials" in (out / "MODEL_CARD.md").read_text()
        assert f", number {rank} of 3." in (out / "config.yaml").read_text()


def test_mistakes_are_one_line_and_leave_nothing(sweep: Sweep, tmp_path: Path) -> None:
    store = sweep.store
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "mine.txt").write_text("mine")
    write_phantom(tmp_path / "scans", patients=8, slices=1, size=32)
    ingest(tmp_path / "scans", tmp_path / "other", IngestSettings(size=16))
    before = sorted(tmp_path.rglob("*"))
    cases = [
        (CohortError, {"out": tmp_path / "used"}, "not empty"),
        (ExportError, {"trial_id": "0"}, "no trial '0'; write --trial 0000"),
        (ExportError, {"trial_id": "0009"}, "no trial '0009'"),
        (ExportError, {"trial_id": "0003"}, "has no checkpoint"),
        (CohortError, {"cohort": tmp_path / "nowhere"}, "no such folder"),
        (ExportError, {"cohort": tmp_path / "other"}, "the sweep's is"),
    ]
    for kind, given, said in cases:
        with pytest.raises(kind) as refused:
            export_best(store, given.pop("out", tmp_path / "out"), TRAINABLES, cache=sweep.cache, **given)
        assert said in str(refused.value)
        assert "\n" not in str(refused.value)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_sweep_without_a_finished_trial_is_refused(sweep: Sweep, tmp_path: Path) -> None:
    empty = Store.create(str(tmp_path), "empty", sweep.store.info)
    with pytest.raises(ExportError, match="no trial has come to a usable end"):
        export_best(empty, tmp_path / "out", TRAINABLES)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda folder: (folder / "generator.json").unlink(), "no generator.json"),
        (lambda folder: (folder / "generator.safetensors").unlink(), "no generator.safetensors"),
        (lambda folder: (folder / "generator.safetensors").open("ab").write(b"x"), "SHA-256 differs"),
        (lambda folder: (folder / "generator.json").write_text('{"config"'), "Invalid JSON.*; export again"),
        (lambda folder: (folder / "generator.json").write_text("{}"), "Field required; export again"),
        (lambda folder: (folder / "generator.json").write_bytes(b'{"\xff": 1}'), "Invalid JSON.*; export again"),
        (lambda folder: _rewrite(folder, positive_class="fahs"), "positive_class must be one of the classes"),
        (lambda folder: _rewrite(folder, classes=["fahr", "fahr"]), "each class is given once; export again"),
        (lambda folder: _edit(folder, family="vanished"), "family: unknown family 'vanished'"),
        (lambda folder: _edit(folder, architecture={"latent": 8, "width": 8}), "size mismatch"),
    ],
)
def test_a_damaged_export_is_refused_in_one_line(exported: Path, tmp_path: Path, damage: object, said: str) -> None:
    folder = shutil.copytree(exported, tmp_path / "copy", ignore=shutil.ignore_patterns("bundle"))
    damage(folder)  # type: ignore[operator]
    with pytest.raises(ExportError, match=said) as refused:
        load_generator(folder, TRAINABLES)
    assert "\n" not in str(refused.value)


def _rewrite(folder: Path, **changes: object) -> None:
    """Changes keys of `generator.json`."""
    record = json.loads((folder / "generator.json").read_text())
    (folder / "generator.json").write_text(json.dumps(record | changes))


def _edit(folder: Path, **changes: object) -> None:
    record = json.loads((folder / "generator.json").read_text())
    record["config"] |= changes
    (folder / "generator.json").write_text(json.dumps(record))


@pytest.mark.usefixtures("without_program")
def test_a_trial_that_breaks_a_constraint_is_exported_only_by_name(sweep: Sweep, tmp_path: Path) -> None:
    folder = tmp_path / "tiny"
    shutil.copytree(sweep.store.uri, folder)
    record = json.loads((folder / "sweep.json").read_text())
    record["experiment"]["constraints"] = [{"score": "fid", "at_least": 22.0}]
    (folder / "sweep.json").write_text(json.dumps(record))
    best = export_best(Store.open(str(folder)), tmp_path / "best", TRAINABLES, cache=sweep.cache)
    selection = json.loads((best / "evidence.json").read_text())["selection"]
    assert (selection["rank"], selection["infeasible"]) == (1, "")
    assert json.loads((best / "evidence.json").read_text())["trial_id"] == "0002"  # 0001 is better, with FID 20

    record["experiment"]["constraints"] = [{"score": "fid", "at_least": 50.0}]
    (folder / "sweep.json").write_text(json.dumps(record))
    store = Store.open(str(folder))
    with pytest.raises(ExportError) as told:
        export_best(store, tmp_path / "none", TRAINABLES, cache=sweep.cache)
    assert str(told.value).endswith(
        "no trial keeps the constraints; the first, 0001: fid = 20 < 50; "
        "run more trials, or export it all the same: --trial 0001"
    )
    assert not (tmp_path / "none").exists()
    asked = export_best(store, tmp_path / "asked", TRAINABLES, "0001", cache=sweep.cache)
    assert "It breaks a constraint of its search: fid = 20 < 50." in (asked / "MODEL_CARD.md").read_text()


def test_a_record_with_unusable_scoring_is_one_line(sweep: Sweep, tmp_path: Path) -> None:
    folder = tmp_path / "tiny"
    shutil.copytree(sweep.store.uri, folder)
    record = json.loads((folder / "sweep.json").read_text())
    record["experiment"]["scoring"] = {"samples": "x"}
    (folder / "sweep.json").write_text(json.dumps(record))
    with pytest.raises(StoreError, match=r"sweep\.json: samples = 'x'"):
        export_best(Store.open(str(folder)), tmp_path / "best", TRAINABLES, cache=sweep.cache)
