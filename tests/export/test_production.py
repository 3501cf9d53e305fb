"""Production training: the whole budget, whatever comes between."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from ray.exceptions import RayTaskError
from ray.train import ControllerError, WorkerGroupError

from gansweep.cohort.dataset import Cohort
from gansweep.config import DataView, ScoringSettings, TrialConfig
from gansweep.errors import ClusterError, CohortError, ConfigError, ExportError
from gansweep.export import production
from gansweep.export.config_file import Origin, config_yaml, digest_of, read_plan
from gansweep.export.loading import load_generator
from gansweep.export.production import train_production
from gansweep.export.production_worker import Run, _Keeper, progress_rows, train_run
from gansweep.options import TrainOptions
from gansweep.search.cluster import Footprint
from trainables import TRAINABLES

pytestmark = pytest.mark.usefixtures("without_program")

ROOT = Path(__file__).parents[2]
CONFIG = TrialConfig(
    data=DataView(size=16), architecture={"latent": 8, "width": 4}, batch_size=4, n_critic=1, iterations=6, seed=2
)
SCORING = ScoringSettings(samples=8, encoder_steps=2, detector_steps=2, detector_seeds=1)


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trains here instead of under Ray, which the acceptance tests start."""
    monkeypatch.setattr(production, "_train", lambda run, *_: train_run(run, torch.device("cpu")))
    monkeypatch.setattr("ray.init", lambda **_: SimpleNamespace(dashboard_url=""))
    monkeypatch.setattr("ray.nodes", lambda: [{"Alive": True, "Resources": {"CPU": 2.0}}])
    monkeypatch.setattr("ray.shutdown", lambda: None)


def produce(cohort: Path, out: Path, config: TrialConfig = CONFIG, **changes: object) -> Path:
    return train_production(config, cohort, out, TRAINABLES, TrainOptions(**{"reports": 3, **changes}), SCORING)  # type: ignore[arg-type]


@pytest.mark.usefixtures("in_this_process")
def test_an_interrupted_training_goes_on_to_the_same_generator(
    cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    produce(cohort, tmp_path / "whole")
    report = _Keeper.report

    def interrupted(keeper: _Keeper, progress: object) -> bool:
        if len(progress_rows(tmp_path / "parts" / "training")) == 1:
            raise KeyboardInterrupt
        return report(keeper, progress)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(_Keeper, "report", interrupted)
        with pytest.raises(KeyboardInterrupt):
            produce(cohort, tmp_path / "parts")
    assert not (tmp_path / "parts" / "generator.json").exists()
    produce(cohort, tmp_path / "parts")
    weights = [(tmp_path / name / "generator.safetensors").read_bytes() for name in ("whole", "parts")]
    assert weights[0] == weights[1]
    rows = [progress_rows(tmp_path / name / "training") for name in ("whole", "parts")]
    assert [row["iteration"] for row in rows[1]] == [2, 4, 6]
    assert rows[0][-1]["scores"] == rows[1][-1]["scores"]


@pytest.mark.usefixtures("in_this_process")
def test_the_configuration_of_an_export_repeats_its_scores(
    cohort: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As a search's trial: other reports, the same scores bit for bit; then with other settings, nothing to compare."""
    first = produce(cohort, tmp_path / "trial", reports=1)
    scores = json.loads((first / "evidence.json").read_text())["scores"]
    # Bounds stand among a row's scores; evidence tells them apart.
    rows = progress_rows(first / "training")
    origin = Origin(
        trial="0001",
        cohort=Cohort.open(cohort).content_hash,
        config=digest_of(CONFIG, SCORING),
        scores=rows[-1]["scores"],
    )
    path = tmp_path / "config.yaml"
    path.write_text(config_yaml(CONFIG, [], SCORING, origin))
    plan = read_plan(path)
    with caplog.at_level("INFO", logger="gansweep"):
        again = train_production(
            plan.config, cohort, tmp_path / "again", TRAINABLES, TrainOptions(reports=3), plan.scoring, plan.origin
        )
        other = plan.derive({"lr_d": 1e-5})
        train_production(
            other.config, cohort, tmp_path / "other", TRAINABLES, TrainOptions(reports=3), other.scoring, other.origin
        )
    assert json.loads((again / "evidence.json").read_text())["scores"] == scores
    told = [message for message in caplog.messages if "trial 0001" in message]
    assert told == [f"all {len(origin.scores)} scores of trial 0001 were repeated exactly"]


@pytest.mark.usefixtures("in_this_process")
def test_the_result_is_an_export_with_evidence_of_its_own(
    cohort: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "gansweep")
    out = produce(cohort, tmp_path / "out")
    evidence = json.loads((out / "evidence.json").read_text())
    assert evidence["selection"] is None
    assert evidence["scores"]["fid_floor"] > 0
    assert evidence["fid_features"].startswith("cohort-encoder:")
    assert evidence["n"]["validation_patients"] == 2
    assert evidence["budget"]["iterations"] == 6
    assert load_generator(out / "bundle", TRAINABLES).sample(2).shape == (2, 1, 16, 16)
    assert len(list((out / "training" / "sheets").iterdir())) == 3
    assert not (out / "training" / "cache").exists()
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    produce(cohort, out)
    assert "finished already" in caplog.text
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before


@pytest.mark.usefixtures("in_this_process")
def test_mistakes_are_one_line(cohort: Path, tmp_path: Path) -> None:
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "mine.txt").write_text("mine")
    produce(cohort, tmp_path / "done")
    for kind, change, said in [
        (CohortError, {"cohort": tmp_path / "none"}, "no such folder"),
        (ConfigError, {"config": CONFIG.derive({"family": "vanished"})}, "unknown family 'vanished'"),
        (ExportError, {"out": tmp_path / "used"}, "no training of ours"),
        (ExportError, {"out": tmp_path / "done", "config": CONFIG.derive({"seed": 9})}, "holds another training"),
        (ClusterError, {"workers": 64}, "needs 64 workers"),
    ]:
        with pytest.raises(kind) as refused:
            produce(**{"cohort": cohort, "out": tmp_path / "out", **change})  # type: ignore[arg-type]
        assert said in str(refused.value)
        assert "\n" not in str(refused.value)


@pytest.mark.usefixtures("in_this_process")
@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("run.json", b"{", r"run\.json: is damaged; name a new folder"),
        ("run.json", b"\xff", r"run\.json: is damaged; name a new folder"),
        ("progress.jsonl", b'{"seconds": 1', r"progress\.jsonl: is damaged; train again in a new folder"),
        *(
            ("progress.jsonl", content, r"progress\.jsonl: is damaged; train again in a new folder")
            for content in (b"5\n", b"null\n", b"[1]\n", b'{"iteration": 20}\n')
        ),
        (
            "checkpoint.pt",
            b"cut",
            r"checkpoint\.pt: damaged checkpoint \(torch cannot read it: BadZipFile\); delete it",
        ),
    ],
)
def test_damaged_files_of_an_unfinished_training(
    cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, content: bytes, said: str
) -> None:
    def interrupted(*_: object) -> bool:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(_Keeper, "report", interrupted)
        with pytest.raises(KeyboardInterrupt):
            produce(cohort, tmp_path / "out")
    (tmp_path / "out" / "training" / file).write_bytes(content)
    with pytest.raises(ExportError, match=said):
        produce(cohort, tmp_path / "out")


@pytest.mark.usefixtures("in_this_process")
def test_a_checkpoint_of_another_training_is_not_gone_on_with(cohort: Path, tmp_path: Path) -> None:
    other = produce(cohort, tmp_path / "other", CONFIG.derive({"seed": 3}))
    out = produce(cohort, tmp_path / "out")
    (out / "generator.json").unlink()
    shutil.copy(other / "training" / "checkpoint.pt", out / "training" / "checkpoint.pt")
    with pytest.raises(ExportError, match=r"checkpoint\.pt: checkpoint of another configuration; delete it"):
        produce(cohort, out)


@pytest.mark.usefixtures("in_this_process")
def test_a_checkpoint_that_is_older_than_the_scores_is_not_exported(
    cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = produce(cohort, tmp_path / "out")
    (out / "generator.json").unlink()
    path = out / "training" / "checkpoint.pt"
    torch.save(torch.load(path, weights_only=True) | {"iteration": 4}, path)
    monkeypatch.setattr(production, "_train", lambda *_: None)
    with pytest.raises(ExportError, match="its checkpoint is of iteration 4, and its scores are of iteration 6 of 6"):
        produce(cohort, out)
    assert not (out / "generator.json").exists()


def test_a_divergence_is_told_and_not_tried_again(cohort: Path, tmp_path: Path) -> None:
    from gansweep.cohort.dataset import Cohort

    config = CONFIG.derive({"lr_d": 1.0, "lr_g": 1.0, "iterations": 400, "penalty.lambda": 10000.0})
    tmp_path.joinpath("training").mkdir()
    content_hash = Cohort.open(cohort).content_hash
    run = Run(config, str(cohort), content_hash, str(tmp_path / "training"), TRAINABLES, SCORING, 2, 0.0)
    train_run(run, torch.device("cpu"))
    ended = json.loads((tmp_path / "training" / "ended.json").read_text())
    assert ended["kind"] == "Diverged"
    assert ended["reason"]


class _Dying:
    """A trainer whose workers die, after each of these numbers of iterations; None: they end."""

    def __init__(self, iterations: list[int | None], error: Exception) -> None:
        self._left = list(iterations)
        self._error = error
        self.reached = -1

    def fit(self) -> None:
        reached = self._left.pop(0)
        if reached is not None:
            self.reached = reached
            raise self._error


def _dying(monkeypatch: pytest.MonkeyPatch, iterations: list[int | None], error: Exception) -> _Dying:
    trainer = _Dying(iterations, error)
    monkeypatch.setattr(production, "_trainer", lambda *_: trainer)
    monkeypatch.setattr(production, "_iteration", lambda _: trainer.reached)
    return trainer


def test_workers_that_made_progress_may_die_any_number_of_times(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    trainer = _dying(monkeypatch, [10, 20, 30, None], WorkerGroupError("lost", {0: RuntimeError("lost")}))
    production._train_while_it_advances(SimpleNamespace(folder="f"), Footprint())  # type: ignore[arg-type]
    assert trainer.reached == 30
    assert caplog.messages[-1] == "its workers died 4 times; others go on from iteration 30"


def test_workers_that_die_without_progress_are_told_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    run = SimpleNamespace(folder="f")
    _dying(monkeypatch, [10, 10, None], WorkerGroupError("a long\ntraceback", {0: RuntimeError("a node\nwas lost")}))
    with pytest.raises(ClusterError) as told:
        production._train_while_it_advances(run, Footprint())  # type: ignore[arg-type]
    assert str(told.value) == (
        "f: its workers died 4 times without a newer checkpoint: a node was lost; "
        "the same command goes on from the last one"
    )
    _dying(monkeypatch, [-1], ControllerError(RuntimeError("no\nroom")))
    with pytest.raises(ClusterError, match=r"newer checkpoint: Training failed due to controller error: no room"):
        production._train_while_it_advances(run, Footprint())  # type: ignore[arg-type]
    other = CohortError("another cohort than the driver's", where="c")
    _dying(monkeypatch, [-1], WorkerGroupError("x", {1: RayTaskError("f", "traceback", other)}))
    with pytest.raises(CohortError, match="another cohort"):
        production._train_while_it_advances(run, Footprint())  # type: ignore[arg-type]


def start(cohort: Path, out: Path, options: str) -> subprocess.Popen[bytes]:
    """Starts a training of 1,000 iterations in a process of its own, with the log on stderr."""
    script = out.with_suffix(".py")
    script.write_text(
        "import logging\n"
        "from pathlib import Path\n"
        "from gansweep.experiment import ScoringSettings, TrialConfig\n"
        "from gansweep.export.production import train_production\n"
        "from gansweep.options import TrainOptions\n"
        "from trainables import TRAINABLES\n"
        "logging.basicConfig()\n"
        f"config = TrialConfig.model_validate({CONFIG.derive({'iterations': 1000}).as_dict()!r})\n"
        f"scoring = ScoringSettings.model_validate({SCORING.model_dump()!r})\n"
        f"train_production(config, Path({str(cohort)!r}), Path({str(out)!r}), TRAINABLES,\n"
        f"                 TrainOptions(reports=20, {options}), scoring)\n"
    )
    path = os.pathsep.join([str(ROOT / "platform"), str(ROOT)])
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen([sys.executable, str(script)], env=environment, stderr=subprocess.PIPE)


def wait_for_reports(running: subprocess.Popen[bytes], out: Path, count: int) -> None:
    while len(progress_rows(out / "training")) < count and running.poll() is None:
        time.sleep(0.1)
    assert running.poll() is None, f"ended by itself with {running.returncode}"


@pytest.mark.acceptance
@pytest.mark.ray
@pytest.mark.timeout(600)
@pytest.mark.parametrize("workers", [1, 2])
def test_a_worker_that_hangs_is_told_and_replaced(cohort: Path, tmp_path: Path, workers: int) -> None:
    options = f"workers={workers}, checkpoint_minutes=0.01, hang_minutes=0.15, hang_factor=3"
    running = start(cohort, tmp_path / "stopped", options)
    wait_for_reports(running, tmp_path / "stopped", 2)
    process = json.loads((tmp_path / "stopped" / "training" / "workers" / "0.json").read_bytes())
    os.kill(process["pid"], signal.SIGSTOP)
    _, errors = running.communicate(timeout=500)
    assert running.returncode == 0, errors.decode()
    assert errors.count(b"so they count as hung; they are killed, and others go on from the last checkpoint") == 1
    undisturbed = start(cohort, tmp_path / "whole", f"workers={workers}")
    assert undisturbed.wait(timeout=500) == 0
    weights = [(tmp_path / name / "generator.safetensors").read_bytes() for name in ("whole", "stopped")]
    assert weights[0] == weights[1]
    assert [row["index"] for row in progress_rows(tmp_path / "stopped" / "training")] == list(range(20))


@pytest.mark.acceptance
@pytest.mark.ray
def test_ctrl_c_under_ray_loses_nothing(cohort: Path, tmp_path: Path) -> None:
    """Two workers, interrupted in mid-training by SIGINT and called again, against two workers left alone."""
    first = start(cohort, tmp_path / "parts", "workers=2")
    wait_for_reports(first, tmp_path / "parts", 2)
    first.send_signal(signal.SIGINT)
    _, errors = first.communicate(timeout=120)
    assert first.returncode == -signal.SIGINT, errors.decode()
    assert b"KeyboardInterrupt" in errors
    assert 2 <= len(progress_rows(tmp_path / "parts" / "training")) < 20
    for name in ("parts", "whole"):
        assert start(cohort, tmp_path / name, "workers=2").wait(timeout=900) == 0
    weights = [(tmp_path / name / "generator.safetensors").read_bytes() for name in ("whole", "parts")]
    assert weights[0] == weights[1]
    assert [row["index"] for row in progress_rows(tmp_path / "parts" / "training")] == list(range(20))
