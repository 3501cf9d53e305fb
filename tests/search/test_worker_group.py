"""The warm worker group without Tune, and under Tune's own checkpoints."""

import io
import logging
import os
import re
import signal
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from gansweep.cohort.dataset import Cohort
from gansweep.config import TrialConfig
from gansweep.experiment import Experiment
from gansweep.search.cluster import Footprint
from gansweep.search.spaces import load_space
from gansweep.search.worker import WorkerGroupSettings
from gansweep.search.worker_group import WorkerGroup
from gansweep.store.provenance import describe_sweep
from gansweep.store.store import Store
from tests.values import sweep_options

pytestmark = [pytest.mark.ray(shared=True), pytest.mark.slow, pytest.mark.timeout(300)]

SPACE = Path(__file__).with_name("tiny_space.py")
CONFIG = TrialConfig(
    iterations=40,
    batch_size=8,
    n_critic=1,
    lr_d=1e-3,
    lr_g=1e-3,
    ema_half_life=0.05,
    architecture={"width": 8, "latent": 8, "generator_norm": "batch"},
)


@pytest.fixture(scope="module")
def experiment() -> Experiment:
    return load_space(f"{SPACE}:tiny")


@pytest.fixture(scope="module")
def store(experiment: Experiment, cohort_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Store:
    info = describe_sweep(experiment, Cohort.open(cohort_path), sweep_options(name="g", seed=0), space="tiny")
    return Store.create(str(tmp_path_factory.mktemp("worker group")), "g", info)


@pytest.fixture(scope="module")
def settings(experiment: Experiment, cohort_path: Path, store: Store) -> WorkerGroupSettings:
    assert store.local is not None
    return WorkerGroupSettings(
        store=store.uri,
        cohort=str(cohort_path),
        cache=str(store.local / "cache"),
        trainables=experiment.trainables,
        scoring=experiment.scoring,
        reports=4,
    )


@pytest.fixture(scope="module")
def group(settings: WorkerGroupSettings) -> Iterator[WorkerGroup]:
    group = WorkerGroup(settings, Footprint(workers=2), max_starts=2)
    yield group
    group.close()


def _run(group: WorkerGroup, trial_id: str, config: TrialConfig) -> list[Any]:
    group.assign(trial_id, config.as_dict())
    return [group.outcome(index) for index in range(4)]


def _state(store: Store, trial_id: str) -> dict[str, Any]:
    state: dict[str, Any] = torch.load(io.BytesIO(store.read_bytes(f"checkpoints/{trial_id}.pt")), weights_only=True)
    return state


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return bool(torch.equal(one, other))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_equal(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(_equal, one, other))
    return bool(one == other)


@pytest.fixture(scope="module")
def undisturbed(group: WorkerGroup) -> list[Any]:
    """Outcomes of trial 0000, under which nothing was killed."""
    return _run(group, "0000", CONFIG)


@pytest.mark.parametrize("rank", [0, 1])
def test_a_killed_worker_costs_a_restart_and_changes_nothing(
    rank: int, undisturbed: list[Any], group: WorkerGroup, store: Store
) -> None:
    """The first rank writes reports and checkpoints, so that its end is another fault than that of the second."""
    trial = f"000{rank}-killed"
    group.assign(trial, CONFIG.as_dict())
    outcomes = [group.outcome(0)]
    workers = _workers_by_rank(group)
    assert set(workers.values()) == _workers()
    assert sorted(workers) == [0, 1]
    os.kill(workers[rank], signal.SIGKILL)
    outcomes += [group.outcome(index) for index in (1, 2, 3)]
    assert workers[rank] not in _workers()

    def scores(all_outcomes: list[Any]) -> list[Any]:
        return [outcome.report.progress.scores for outcome in all_outcomes]

    assert scores(outcomes) == scores(undisturbed)
    assert _equal(_state(store, "0000"), _state(store, trial))


def test_a_mistake_in_a_configuration_fails_the_trial_and_keeps_the_group(group: WorkerGroup) -> None:
    before = _workers()
    group.assign("0002", CONFIG.derive({"batch_size": 7}).as_dict())
    outcome = group.outcome(0)
    assert outcome.ending == "failed"
    assert "batch_size" in outcome.reason
    after = _workers()
    assert before == after


def test_another_world_size_starts_other_processes(group: WorkerGroup) -> None:
    group.recycle(Footprint(workers=1))
    assert all(outcome.report for outcome in _run(group, "0003", CONFIG))
    assert len(_workers()) == 1


def test_a_trial_that_poisons_its_processes_fails_and_the_next_gets_fresh_ones(group: WorkerGroup) -> None:
    group.assign("0004", CONFIG.derive({"family": "faulty"}).as_dict())
    outcome = group.outcome(0)
    assert outcome.ending == "failed"
    assert "CUDA error" in outcome.reason
    assert all(outcome.report for outcome in _run(group, "0005", CONFIG))


@pytest.mark.acceptance
def test_a_stopped_worker_is_noticed_told_and_replaced(
    group: WorkerGroup, settings: WorkerGroupSettings, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    group.close()  # the cluster has room for one
    hasty = replace(settings, hang_seconds=10.0, checkpoint_seconds=1.0, hang_factor=3.0)
    with closing(WorkerGroup(hasty, Footprint(workers=2), max_starts=2)) as other, caplog.at_level(logging.WARNING):
        undisturbed = _run(other, "0009", CONFIG)
        other.assign("0010", CONFIG.as_dict())
        scores = [other.outcome(0).report.progress.scores]  # type: ignore[union-attr]
        stopped = sorted(_workers())
        os.kill(stopped[0], signal.SIGSTOP)
        scores += [other.outcome(index).report.progress.scores for index in (1, 2, 3)]  # type: ignore[union-attr]
        assert not set(stopped) & _workers()
        assert len(_workers()) == 2
    assert scores == [outcome.report.progress.scores for outcome in undisturbed]
    assert _equal(_state(store, "0009"), _state(store, "0010")), "it goes on from its checkpoint"
    told = [record.getMessage() for record in caplog.records if "hung" in record.getMessage()]
    assert len(told) == 1
    assert re.fullmatch(
        r"trial 0010: its workers have said nothing for \d+ s, so they count as hung; they are killed, and others go on"
        r" from its last checkpoint",
        told[0],
    )


@pytest.mark.acceptance
def test_population_based_training_clones_trials_through_tunes_checkpoints(
    settings: WorkerGroupSettings, tmp_path: Path
) -> None:
    from ray import tune
    from ray.tune.schedulers import PopulationBasedTraining

    from gansweep.search.trial import WorkerGroupTrial

    def configuration(lr: float) -> dict[str, Any]:
        return CONFIG.derive({"lr_g": lr, "iterations": 80}).as_dict()

    trainable = tune.with_parameters(
        WorkerGroupTrial, settings=settings, footprint=Footprint(workers=1), objectives={"fid": "minimize"}
    )
    results = tune.Tuner(
        tune.with_resources(trainable, tune.PlacementGroupFactory([{"CPU": 0, "memory": 2**28}])),
        param_space={
            "trial_id": tune.grid_search(["0100", "0101"]),
            "attempt": 0,
            "started": time.time(),
            "config": configuration(1e-3),
        },
        tune_config=tune.TuneConfig(
            reuse_actors=True,
            scheduler=PopulationBasedTraining(
                time_attr="reported",
                metric="fid",
                mode="min",
                perturbation_interval=1,
                quantile_fraction=0.5,
                hyperparam_mutations={"attempt": [0]},
            ),
        ),
        run_config=tune.RunConfig(
            storage_path=str(tmp_path),
            verbose=0,
            checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=1, checkpoint_at_end=False),
        ),
    ).fit()
    assert not results.errors
    assert [result.metrics["reported"] for result in results] == [4, 4]
    assert {result.metrics["result"].status for result in results} == {"completed"}


def _workers() -> set[int]:
    """Processes of this test's own cluster; the machine may run others."""
    return {process.pid for process in psutil.Process().children(recursive=True) if "RayTrainWorker" in _title(process)}


def _workers_by_rank(group: WorkerGroup) -> dict[int, int]:
    """Process ids as the workers told their mailbox."""
    import ray

    asked = group._mailbox.__ray_call__.remote(lambda mailbox: {r: w.pid for r, w in mailbox._workers.items()})
    found: dict[int, int] = ray.get(asked)
    return found


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""
