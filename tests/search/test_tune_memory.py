"""Tune forgets trials that have ended."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING, Any

import pytest
from ray import tune
from ray.tune.experiment import Trial
from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler, MedianStoppingRule, TrialScheduler

from gansweep.search import tune_memory
from gansweep.search.tune_memory import NoProgress, forget_ended_trials

if TYPE_CHECKING:
    from pathlib import Path

_KEPT = 4
_AT_ONCE = 2


class Alive(tune.Callback):
    """Counts the ended trials that something in this process refers to."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.alive = 0

    def on_trial_start(self, *_: Any, trial: Trial, **__: Any) -> None:
        self.names.append(trial.trial_id)
        gc.collect()
        trials = [found for found in gc.get_objects() if type(found) is Trial and found.trial_id in self.names]
        self.alive = max(self.alive, sum(found.is_finished() for found in trials))


def _fails_for_some(config: dict[str, Any]) -> None:
    for _ in range(3):
        tune.report({"loss": config["lr"]})
    if config["lr"] > 0.8:
        raise ValueError(config["lr"])


@pytest.mark.ray(shared=True)
@pytest.mark.parametrize(
    "scheduler",
    [
        FIFOScheduler(),
        AsyncHyperBandScheduler(metric="loss", mode="min", max_t=3),
        MedianStoppingRule(time_attr="training_iteration", metric="loss", mode="min", grace_period=1),
    ],
)
def test_tune_keeps_the_last_ended_trials_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheduler: TrialScheduler
) -> None:
    monkeypatch.setattr(tune_memory, "_KEPT", _KEPT)
    monkeypatch.setenv("TUNE_MAX_PENDING_TRIALS_PG", "1")  # else Tune draws most trials before the first begins
    monkeypatch.setenv("TUNE_PRINT_ALL_TRIAL_ERRORS", "0")  # pytest keeps what is logged, which has the trial
    forget_ended_trials(scheduler)
    alive = Alive()
    results = tune.Tuner(
        tune.with_resources(_fails_for_some, {"CPU": 0.1}),
        param_space={"lr": tune.uniform(0, 1)},
        tune_config=tune.TuneConfig(
            scheduler=scheduler, num_samples=20, max_concurrent_trials=_AT_ONCE, reuse_actors=True
        ),
        run_config=tune.RunConfig(storage_path=str(tmp_path), verbose=0, callbacks=[alive, NoProgress()]),
    ).fit()
    assert len(set(alive.names)) == 20
    assert results.num_terminated
    assert _KEPT <= alive.alive <= _KEPT + _AT_ONCE


class Counts(tune.Callback):
    """Counts the reports of each trial."""

    def __init__(self) -> None:
        self.reports: dict[float, int] = {}

    def on_trial_result(self, *_: Any, result: dict[str, Any], **__: Any) -> None:
        self.reports[result["loss"]] = result["training_iteration"]


def _reports_its_rate(config: dict[str, Any]) -> None:
    for _ in range(3):
        tune.report({"loss": config["lr"]})


@pytest.mark.ray(shared=True)
def test_the_median_rule_still_compares_with_forgotten_trials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tune_memory, "_KEPT", 1)
    monkeypatch.setenv("TUNE_MAX_PENDING_TRIALS_PG", "1")  # else Tune draws most trials before the first begins
    rule = MedianStoppingRule(
        time_attr="training_iteration", metric="loss", mode="min", grace_period=1, min_samples_required=4
    )
    forget_ended_trials(rule)
    counts = Counts()
    tune.Tuner(
        tune.with_resources(_reports_its_rate, {"CPU": 0.1}),
        param_space={"lr": tune.grid_search([0.5, 0.4, 0.3, 0.2, 0.9, 0.1, 0.8])},
        tune_config=tune.TuneConfig(scheduler=rule, max_concurrent_trials=1, reuse_actors=True),
        run_config=tune.RunConfig(storage_path=str(tmp_path), verbose=0, callbacks=[counts, NoProgress()]),
    ).fit()
    # The first four have too few others to be compared with. The medians of the others are 0.35, 0.4 and 0.35 then.
    assert counts.reports == {0.5: 3, 0.4: 3, 0.3: 3, 0.2: 3, 0.9: 1, 0.1: 3, 0.8: 1}
    assert sum(isinstance(trial, str) for trial in rule._results) >= 5
