"""Trainings are shortened to the time that there is for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from gansweep.cohort.dataset import Cohort
from gansweep.config import TrialConfig
from gansweep.devices import device_of_trials, seconds_of_steps
from gansweep.errors import ConfigError, Diverged
from gansweep.experiment import Experiment
from gansweep.search import training_length
from gansweep.search.prechecks import config_checker
from gansweep.search.spaces import load_space
from gansweep.search.training_length import LEAST_ITERATIONS, iterations_within
from gansweep.testing.pretended_gpu.device import PretendedGpu
from trainables import TRAINABLES


def space(trial: Any) -> TrialConfig:
    lr = trial.suggest_float("lr_d", 1e-5, 1e-3, log=True)
    return TrialConfig(iterations=4_000, lr_d=lr)


CPU = torch.device("cpu")
EXPERIMENT = Experiment(name="s", space=space, trainables=TRAINABLES, first_trials=({"lr_d": 5e-4},))


def within(
    seconds: float, monkeypatch: pytest.MonkeyPatch, check: Any = lambda _: None
) -> tuple[int | None, list[float]]:
    """The iterations, and the learning rates that were timed. An iteration of the first takes 2 s, of others 1 s."""
    timed: list[float] = []

    def taken(config: TrialConfig, *_: Any) -> float:
        timed.append(config.lr_d)
        if config.lr_d < 1e-4:
            raise Diverged("at once")
        if 3e-4 < config.lr_d < 4e-4:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return config.iterations * (2.0 if config.lr_d == 5e-4 else 1.0)

    monkeypatch.setattr(training_length, "training_seconds", taken)
    found = iterations_within(seconds, EXPERIMENT, None, check, 0, CPU)  # type: ignore[arg-type]
    return found, timed


def test_the_mean_of_some_configurations_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    found, timed = within(1_000.0, monkeypatch)
    assert len(timed) == 4
    assert timed[0] == 5e-4, "the space's first trial"
    assert found == 660, "1,000 s of 1.5 s each: two of the four could not be timed"
    assert within(1_111.0, monkeypatch)[0] == 740, "two digits"
    assert within(6_000.0, monkeypatch)[0] is None, "the space's own are no longer"


def test_trainings_are_not_shortened_to_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert within(0.0, monkeypatch)[0] == LEAST_ITERATIONS
    many = EXPERIMENT.with_settings({"reports": 300})
    monkeypatch.setattr(training_length, "training_seconds", lambda config, *_: float(config.iterations))
    assert iterations_within(0.0, many, None, lambda _: None, 0, CPU) == 300  # type: ignore[arg-type]
    short = EXPERIMENT.with_settings({"iterations": 60})
    assert iterations_within(0.0, short, None, lambda _: None, 0, CPU) is None  # type: ignore[arg-type]


def test_what_cannot_be_trained_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: TrialConfig) -> None:
        raise ConfigError("no")

    assert within(1_000.0, monkeypatch, refuse) == (None, [])


def test_trials_without_a_gpu_are_timed_on_the_cpu() -> None:
    assert device_of_trials(1.0) == CPU, "there is none here"
    with PretendedGpu():
        assert device_of_trials(0.0) == CPU
        assert device_of_trials(0.5).type == "cuda"


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_what_a_run_costs_once_counts_once(monkeypatch: pytest.MonkeyPatch, device: str) -> None:
    """On a GPU, a lazy phase begins at its 16th step, and capturing its graph takes a minute."""
    clock = [0.0]
    once = 2.0 if device == "cpu" else 62.0

    def run(steps: int) -> None:
        clock[0] += 0.5 * steps + (once if steps >= 16 or device == "cpu" else 2.0)

    monkeypatch.setattr("gansweep.devices.time.perf_counter", lambda: clock[0])
    assert seconds_of_steps(run, 10_000, torch.device(device)) == pytest.approx(once + 0.5 * 10_000)


def test_real_trainings_are_timed(cohort_path: Path) -> None:
    cohort = Cohort.open(cohort_path)
    experiment = load_space(f"{Path(__file__).with_name('tiny_space.py')}:tiny").with_settings({"iterations": 100_000})
    check = config_checker(experiment.trainables, cohort, workers=1, reports=experiment.reports)
    found = iterations_within(5.0, experiment, cohort, check, 0, CPU)
    assert found is not None
    assert LEAST_ITERATIONS <= found < 100_000
