"""Loggers that follow a sweep: what TensorBoard, MLflow and Weights & Biases have of it, read back."""

from __future__ import annotations

import json
import logging
import time
from types import SimpleNamespace

import pytest

from gansweep.config import TrialConfig
from gansweep.errors import ConfigError
from gansweep.search.cluster import Footprint
from gansweep.search.loggers import MlflowRuns, Runs, TensorBoardRuns, WandbRuns, check_loggers, loggers_of
from gansweep.search.trial import TrialResult
from gansweep.store.artifacts import sheet_path
from gansweep.store.store import Store
from tests.report.example_sweep import make_info, write_sheet
from tests.values import report_of, sweep_options


@pytest.fixture
def store(tmp_path):
    store = Store.create(str(tmp_path), "fahr", make_info())
    write_sheet(store, "0003", seed=0)
    return store


def trial(trial_id="0003", lr_d=2e-4):
    config = TrialConfig(lr_d=lr_d).as_dict()
    return SimpleNamespace(config={"trial_id": trial_id, "attempt": 0, "started": 0.0, "config": config})


def told(status, index=None):
    report = None
    if index is not None:
        scores = {"fid": 50.0 - index, "accuracy": 0.7}
        report = report_of(index, index == 1, 100 * (index + 1), 6400, {"critic_loss": -1.0 - index}, scores)
    return {"result": TrialResult(status, "", report, {}, 1, 2.0, Footprint())}


def followed(store, logger):
    """Trial 0003 with two reports, and trial 0004, which the scheduler stops after its first."""
    runs = Runs(store, [logger])
    runs.on_trial_result(1, [], trial(), told("running", 0))
    runs.on_trial_result(2, [], trial("0004", 1e-3), told("running", 0))
    runs.on_trial_complete(2, [], trial("0004", 1e-3))
    runs.on_trial_result(3, [], trial(), told("completed", 1))
    runs.on_trial_complete(3, [], trial())
    runs.on_experiment_end([])


def test_tensorboard_has_a_run_for_each_trial_with_curves_and_sheets(store, tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    followed(store, TensorBoardRuns(tmp_path / "tensorboard"))
    assert sorted(path.name for path in (tmp_path / "tensorboard").iterdir()) == ["0003", "0004"]
    events = EventAccumulator(str(tmp_path / "tensorboard" / "0003"))
    events.Reload()
    assert [(event.step, event.value) for event in events.Scalars("scores/fid")] == [(100, 50.0), (200, 49.0)]
    assert [event.value for event in events.Scalars("losses/critic_loss")] == [-1.0, -2.0]
    (first, _) = events.Images("samples")
    assert first.encoded_image_string.startswith(b"\x89PNG")
    assert first.width > 400
    (text,) = events.Tensors("configuration/text_summary")
    assert b"lr_d: 0.0002" in text.tensor_proto.string_val[0]
    assert b"completed" in events.Tensors("status/text_summary")[0].tensor_proto.string_val[0]
    stopped = EventAccumulator(str(tmp_path / "tensorboard" / "0004"))
    stopped.Reload()
    assert b"stopped" in stopped.Tensors("status/text_summary")[0].tensor_proto.string_val[0]


def test_mlflow_has_parameters_metrics_sheets_and_how_it_ended(store, tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "mlruns").as_uri())
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    followed(store, MlflowRuns(store.info))
    followed(store, MlflowRuns(store.info))  # a resumed sweep goes on with its runs
    client = mlflow.MlflowClient()
    experiment = client.get_experiment_by_name("fahr <first>")
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    assert set(runs) == {"0003", "0004"}
    run = runs["0003"]
    assert run.data.params["lr_d"] == "0.0002"
    assert run.data.metrics["scores/fid"] == 49.0
    assert run.info.status == "FINISHED"
    assert [metric.step for metric in client.get_metric_history(run.info.run_id, "scores/fid")][:2] == [100, 200]
    assert [item.path for item in client.list_artifacts(run.info.run_id, "samples")] == [
        "samples/00000100.png",
        "samples/00000200.png",
    ]
    assert runs["0004"].data.tags["gansweep.status"] == "stopped"


@pytest.mark.slow
def test_wandb_offline_keeps_a_run_for_each_trial(store, tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    monkeypatch.setenv("WANDB_PROJECT", "gansweep")
    followed(store, WandbRuns(store.info))
    folders = sorted((tmp_path / "wandb").glob("offline-run-*"))
    assert [folder.name.rpartition("-")[2] for folder in folders] == ["0003", "0004"]
    assert len(list(folders[0].rglob("samples_*.png"))) == 2
    (record,) = folders[0].glob("run-*.wandb")
    # A process of W&B's writes the file, and may still do so after the run's end.
    deadline = time.monotonic() + 60
    while b"scores/fid" not in record.read_bytes():
        assert time.monotonic() < deadline, record.read_bytes()[:100]
        time.sleep(0.2)


class Broken:
    def begin(self, *_):
        raise OSError("no route to host")


def test_a_logger_that_fails_is_told_once_and_the_others_go_on(store, caplog):
    seen = []
    good = SimpleNamespace(begin=lambda *_: seen.append("begin"), report=lambda *_: None, end=lambda *_: None)
    runs = Runs(store, [Broken(), good])
    with caplog.at_level(logging.WARNING):
        for number in (3, 4):
            runs.on_trial_result(1, [], trial(f"000{number}"), told("running", 0))
    assert caplog.messages == ["Broken follows no longer: OSError: no route to host"]
    assert seen == ["begin", "begin"]


def test_a_trial_without_a_report_has_no_run(store):
    runs = Runs(store, [Broken()])
    runs.on_trial_result(1, [], trial(), told("failed"))
    runs.on_trial_error(1, [], trial())
    runs.on_experiment_end([])


def test_what_is_interrupted_is_ended(store):
    ended = []
    logger = SimpleNamespace(
        begin=lambda *_: None, report=lambda *_: None, end=lambda trial_id, status: ended.append((trial_id, status))
    )
    runs = Runs(store, [logger])
    runs.on_trial_result(1, [], trial(), told("running", 0))
    runs.on_experiment_end([])
    assert ended == [("0003", "interrupted")]


@pytest.mark.parametrize("name", ["mlflow", "wandb"])
def test_a_package_that_is_not_installed_is_named(name, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=rf"--{name}: {name} is not installed; pip install 'gansweep\[{name}\]'"):
        check_loggers(sweep_options(**{name: True}))
    check_loggers(sweep_options())


def test_tensorboard_needs_a_local_disk(store):
    with pytest.raises(ConfigError, match="--tensorboard: it writes to a local disk"):
        check_loggers(sweep_options(storage="s3://bucket/runs", tensorboard=True))
    (logger,) = loggers_of(sweep_options(tensorboard=True), store)
    assert isinstance(logger, TensorBoardRuns)
    assert loggers_of(sweep_options(), store) == []
    assert sheet_path("0003") == "artifacts/0003.png"
    assert json.loads(sweep_options(tensorboard=True).model_dump_json())["tensorboard"] is True
