"""`sweep --dry-run`: what it says is what the sweep would do, and nothing is written or started."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import ray

from gansweep.cli import main
from gansweep.cohort.dataset import Cohort
from gansweep.config import TrialConfig
from gansweep.options import SweepOptions
from gansweep.search.dry_run import dry_run
from gansweep.search.spaces import load_space
from gansweep.store.provenance import describe_sweep
from gansweep.store.schema import TrialRow
from gansweep.store.store import Store

SPACE = f"{Path(__file__).parent / 'tiny_space.py'}:tiny"


@pytest.fixture(autouse=True)
def four_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine of known size on which no Ray runs."""
    monkeypatch.setattr("gansweep.search.cluster._own_resources", lambda: {"CPU": 4.0, "GPU": 2.0})
    monkeypatch.setattr("gansweep.search.connection._HERE", Path("/nowhere"))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


@pytest.fixture
def words(cohort_path: Path, tmp_path: Path) -> list[str]:
    return ["sweep", SPACE, f"--cohort={cohort_path}", f"--storage={tmp_path / 'runs'}", "--name=n", "--dry-run"]


def document(capfd: pytest.CaptureFixture[str], words: list[str]) -> dict[str, Any]:
    assert main([*words, "--json"]) == 0
    found: dict[str, Any] = json.loads(capfd.readouterr().out)
    return found


def stored(cohort_path: Path, tmp_path: Path, name: str, seconds: list[float], **changes: Any) -> Store:
    """A store of the tiny space whose trials took so long, each in two attempts."""
    storage = str(tmp_path / "runs")
    options = SweepOptions(cohort=cohort_path, storage=storage, name=name, trials=8, **changes)
    experiment = load_space(SPACE).with_settings(options.changes())
    info = describe_sweep(experiment, Cohort.open(cohort_path), options, space=SPACE)
    store = Store.create(storage, name, info)
    start = datetime(2026, 1, 1, tzinfo=UTC)
    for number, whole in enumerate(seconds):
        row = TrialRow(f"{number:04d}", 0, "interrupted", TrialConfig(), started=start, ended=start, seconds=whole / 4)
        store.write_trial(row)
        scores = {"fid": 3.0 + number, "accuracy": 0.5}
        store.write_trial(replace(row, attempt=1, status="completed", seconds=3 * whole / 4, scores=scores))
    return store


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_first_trials_are_validated_and_nothing_is_written_or_started(
    words: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    found = document(capfd, [*words, "--trials=7", "--try=lr=2e-3,family=dcgan", "--set=iterations=12"])
    assert not (tmp_path / "runs").exists()
    assert not ray.is_initialized()
    assert [item["trial"] for item in found["proposals"]] == ["0000", "0001", "0002", "0003", "0004"]
    assert [item["origin"] for item in found["proposals"]] == ["--try", "first trial", "first trial", "tpe", "tpe"]
    assert found["proposals"][0]["parameters"] == {"lr": 2e-3, "family": "dcgan"}
    configs = [TrialConfig.model_validate(item["config"]) for item in found["proposals"]]
    assert [(config.lr_d, config.family) for config in configs[:3]] == [
        (2e-3, "dcgan"),
        (1e-3, "dcgan"),
        (1e-3, "exploding"),
    ]
    assert {config.iterations for config in configs} == {12}
    assert {item["name"]: item["values"] for item in found["parameters"]} == {
        "lr": "0.0001 to 0.01, logarithmic",
        "family": "dcgan, exploding",
    }
    assert found["refused"] == {"drawn": 100, "reasons": {}}
    assert (found["left"], found["ended"]) == (7, 0)


@pytest.mark.parametrize(
    ("more", "at_once"),
    [
        ([], 4),
        (["--workers-per-trial=2"], 2),
        (["--gpus-per-worker=1"], 2),
        (["--gpus-per-worker=0.5", "--cpus-per-worker=0.5"], 4),
        (["--concurrent=3"], 3),
    ],
)
def test_how_many_trials_fit(
    more: list[str], at_once: int, words: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    found = document(capfd, [*words, "--trials=7", "--set=batch_size=8", *more])
    assert found["at_once"] == at_once
    assert found["resources"] == {"CPU": 4.0, "GPU": 2.0}
    assert found["cluster"] is False


@pytest.mark.parametrize(
    ("more", "line"),
    [
        (["--workers-per-trial=8"], "a trial needs 8 workers x (1 CPU + 0 GPU), the cluster has 4 CPUs and 2 GPUs"),
        (["--concurrent=9"], "9 trials at once of 1 workers x (1 CPU + 0 GPU) each, the cluster has 4 CPUs"),
        (["--workers-per-trial=3"], "batch_size = 8 is not divisible by 3 workers"),
        (["--try=lr=5"], "--try: lr = 5 is not in the space"),
        (["--time-budget=soon"], "--time-budget: 'soon' is not a time above zero"),
        (["--set=scheduler.kind=asha", "--set=scheduler.metric=kid"], "scheduler.metric = 'kid' is no objective"),
    ],
)
def test_what_the_sweep_would_refuse_is_refused(
    more: list[str], line: str, words: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, "--trials=2", *more]) == 2
    assert line in capfd.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_a_sweep_that_waits_for_nodes_is_not_refused_on_an_empty_cluster(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    nodes: list[dict[str, float]] = [{"CPU": 0.0}]
    monkeypatch.setattr("gansweep.search.dry_run.expected_nodes", lambda: (nodes, True))
    assert main([*words, "--trials=9", "--concurrent=3"]) == 2
    assert "the cluster has 0 CPUs" in capfd.readouterr().err
    words = [*words, "--trials=9", "--wait-for-nodes=60"]
    found = document(capfd, words)
    assert (found["at_once"], found["fits"]) == (1, 0)
    nodes.append({"CPU": 2.0})
    assert main([*words, "--concurrent=3"]) == 0
    told = "3 at once on the cluster, which has 2 CPUs and 0 GPUs and room for 2 now."
    assert told in " ".join(capfd.readouterr().out.split())


def test_waiting_on_one_machine_begins_with_what_fits(words: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    found = document(capfd, [*words, "--trials=9", "--concurrent=7", "--wait-for-nodes=60"])
    assert (found["at_once"], found["fits"]) == (4, 4)
    assert main([*words, "--trials=9", "--workers-per-trial=8", "--wait-for-nodes=60"]) == 2
    assert "a trial needs 8 workers" in capfd.readouterr().err


def test_random_proposals_that_are_refused_are_counted_by_reason(cohort_path: Path, tmp_path: Path) -> None:
    def space(trial: Any) -> TrialConfig:
        lr = trial.suggest_float("lr", 0.5, 1.5)
        return TrialConfig(lr_d=lr, batch_size=8, iterations=9)

    experiment = load_space(SPACE).model_copy(update={"space": space, "first_trials": ({"lr": 1.5}, {"lr": 0.75})})
    options = SweepOptions(cohort=cohort_path, storage=str(tmp_path), name="n", trials=3)
    found = dry_run(experiment, options, space="mine")
    assert 35 < sum(found.refused.values()) < 65, "half of the range is above 1"
    assert all("lr_d = 1." in reason for reason in found.refused)
    first, second = found.proposals[:2]
    assert (first.parameters, first.config) == ({"lr": 1.5}, None)
    assert "lr_d = 1.5: input should be less than or equal to 1" in first.refusal
    assert second.config is not None
    assert sum(item.config is not None for item in found.proposals) == 3


def test_without_an_earlier_sweep_the_first_trial_is_timed(
    words: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = [*words, "--trials=8", "--set=iterations=3000"]
    cost = document(capfd, words)["cost"]
    seconds = cost["timing"]["seconds"]
    assert cost["timing"]["trials"] == 0
    assert 1.0 < seconds < 3000.0
    assert cost["hours"] == pytest.approx(2 * seconds / 3600), "four trials at once"
    assert not (tmp_path / "runs").exists()
    assert main(words) == 0
    assert "Cost by a few iterations of the first trial on this machine" in " ".join(capfd.readouterr().out.split())
    assert document(capfd, [*words, "--gpus-per-worker=1"])["cost"] is None, "a GPU's time is not known here"
    assert document(capfd, [*words, "--try=family=exploding"])["cost"] is not None


def test_the_cost_is_told_by_the_likest_sweep_of_the_space(
    words: list[str], cohort_path: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    stored(cohort_path, tmp_path, "unlike", [9000.0], set={"iterations": 90})
    stored(cohort_path, tmp_path, "like", [1800.0, 3600.0, 5400.0])
    (tmp_path / "runs" / "broken").mkdir()
    (tmp_path / "runs" / "broken" / "sweep.json").write_text("{")
    (tmp_path / "runs" / "like" / "sweep.json").unlink()  # its copy serves as well
    before = tree(tmp_path / "runs")
    cost = document(capfd, [*words, "--trials=10", "--gpus-per-worker=0.5"])["cost"]
    assert tree(tmp_path / "runs") == before
    assert cost["timing"] == {
        "store": str(tmp_path / "runs" / "like"),
        "trials": 3,
        "seconds": 3600.0,
        "least": 1800.0,
        "most": 5400.0,
        "differences": ["gpus_per_worker = 0.0, not 0.5"],
    }
    assert cost["hours"] == pytest.approx(10 * 1.0 / 4), "four trials at once"
    assert cost["gpu_hours"] == pytest.approx(10 * 0.5)
    budget = [*words, "--trials=10", "--gpus-per-worker=0.5", "--time-budget=1h"]
    assert document(capfd, budget)["cost"]["budget"] == "--time-budget 1h"
    assert main([*words, "--trials=10", "--gpus-per-worker=0.5"]) == 0
    said = capfd.readouterr().out
    told = f"Cost by 3 trials of {tmp_path / 'runs' / 'like'}: a trial 60 min (30 min to 90 min), 0.5 GPU hours"
    # A path longer than the line is broken inside.
    assert "".join(told.split()) in "".join(said.split()).replace("1.5h", "90min")
    assert "10 trials 2.5 h, 5 GPU hours." in " ".join(said.split())
    fits = "Footprint: a trial needs 1 x (1 CPU + 0.5 GPU). 4 at once on this machine (no Ray runs)"
    # Where the line breaks depends on the terminal.
    assert fits in " ".join(said.split())
    assert "Nothing was written." in said


def test_a_resumed_sweep_is_told_by_its_own_trials(
    words: list[str], cohort_path: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    stored(cohort_path, tmp_path, "n", [100.0, 300.0])
    before = tree(tmp_path / "runs")
    found = document(capfd, [*words, "--trials=6", "--resume"])
    assert (found["ended"], found["left"]) == (2, 4)
    assert found["cost"]["timing"]["seconds"] == 200.0
    assert found["cost"]["hours"] == pytest.approx(200.0 / 3600)
    assert min(int(item["trial"]) for item in found["proposals"]) == 2
    assert tree(tmp_path / "runs") == before
    assert main([*words, "--trials=6"]) == 2
    assert "a sweep is here already; choose another --name, or use --resume" in capfd.readouterr().err
    assert main([*words, "--trials=6", "--resume", "--set=reports=2"]) == 2
    assert "this sweep has reports = 3, not 2" in capfd.readouterr().err


def test_a_folder_in_use_is_refused(words: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "runs" / "n").mkdir(parents=True)
    (tmp_path / "runs" / "n" / "thesis.txt").touch()
    assert main([*words, "--trials=6"]) == 2
    assert "it is not empty: thesis.txt" in capfd.readouterr().err


def test_a_cluster_that_does_not_answer_is_not_taken_for_this_machine(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    monkeypatch.setattr("gansweep.search.connection._PAUSE_S", 0.0)
    assert main([*words, "--trials=2"]) == 2
    assert "no Ray cluster: nothing answers there" in capfd.readouterr().err
