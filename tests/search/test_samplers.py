"""Samplers and schedulers by name, on Optuna and on Tune's own classes."""

import importlib.util
from typing import Any, get_args

import optuna
import pandas as pd
import pytest
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from gansweep.config import SamplerName, SchedulerSettings, TrialConfig
from gansweep.constraint import Constraint
from gansweep.errors import ConfigError
from gansweep.experiment import Experiment
from gansweep.search.parameters import SpaceParameters
from gansweep.search.samplers import check_constraints, check_sampler, make_sampler
from gansweep.search.schedulers import Compared, make_scheduler
from gansweep.search.spaces import load_space
from gansweep.search.trial_end import tell
from gansweep.store.schema import TrialRow
from trainables import TRAINABLES

BOTH = ["fid", "accuracy"]


def _space(trial: Any) -> tuple[float, int, str]:
    return (
        trial.suggest_float("rate", 1e-4, 2e-3, log=True),
        trial.suggest_int("n", 1, 3),
        trial.suggest_categorical("loss", ["a", "b"]),
    )


def _ask(study: optuna.Study, kind: str, count: int) -> list[tuple[float, int, str]]:
    proposed = sum(trial.state != optuna.trial.TrialState.WAITING for trial in study.trials)
    study.sampler = make_sampler(kind, 7, proposed, 3)
    asked = []
    for _ in range(count):
        trial = study.ask()
        asked.append(_space(trial))
        study.tell(trial, [asked[-1][0]] * len(study.directions))
    return asked


@pytest.mark.parametrize("kind", [name for name in get_args(SamplerName) if name not in ("grid", "cma-es")])
def test_a_sampler_goes_on_and_is_seeded(kind: str) -> None:
    """Two calls of three proposals each: six different ones, and the same six in another sweep with this seed."""
    studies = [optuna.create_study(directions=["minimize", "maximize"]) for _ in range(2)]
    told = [_ask(study, kind, 3) + _ask(study, kind, 3) for study in studies]
    assert told[0] == told[1]
    assert len(set(told[0])) == 6


@pytest.mark.skipif(importlib.util.find_spec("cmaes") is None, reason="cmaes is not installed")
def test_cma_es_searches_one_objective() -> None:
    study = optuna.create_study()
    assert len(set(_ask(study, "cma-es", 8) + _ask(study, "cma-es", 4))) == 12


def test_a_grid_tries_everything_once() -> None:
    study = optuna.create_study(directions=["minimize", "maximize"])
    seen = []
    for number in range(6):
        study.sampler = make_sampler("grid", 0, number, 3)
        trial = study.ask()
        seen.append((trial.suggest_int("n", 1, 3), trial.suggest_categorical("loss", ["a", "b"])))
        study.tell(trial, [1.0, 1.0])
    assert len(set(seen)) == 6


def _parameters(space: Any) -> SpaceParameters:
    return SpaceParameters(Experiment(name="e", space=space, trainables=TRAINABLES))


def _finite(trial: Any) -> TrialConfig:
    return TrialConfig(n_critic=trial.suggest_int("n", 1, 3), family=trial.suggest_categorical("family", ["a", "b"]))


@pytest.mark.parametrize(
    ("kind", "objectives", "space", "says"),
    [
        ("grid", BOTH, "smoke", "a grid needs a finite space; lambda, lr_d, lr_g can be any number of a range"),
        ("gp", BOTH, "all_families", "gp needs the same parameters in every trial; some trials lack attention, "),
        ("qmc", BOTH, "all_families", "qmc needs the same parameters in every trial"),
        ("cma-es", BOTH, "smoke", "cma-es searches for one objective, and there are 2: fid, accuracy"),
        ("cma-es", ["fid"], _finite, "cma-es needs two parameters that are numbers, and the space has 1"),
    ],
)
def test_a_sampler_that_does_not_fit_is_refused(
    kind: str, objectives: list[str], space: Any, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: object())
    parameters = SpaceParameters(load_space(space)) if isinstance(space, str) else _parameters(space)
    with pytest.raises(ConfigError) as told:
        check_sampler(kind, objectives, parameters)
    assert str(told.value).startswith(f"sampler: {says}")


def test_a_grid_of_millions_is_refused() -> None:
    def large(trial: Any) -> TrialConfig:
        return TrialConfig(iterations=trial.suggest_int("n", 1, 10**9))

    with pytest.raises(ConfigError, match="sampler: a grid lists all values; n can have more than 10,000; give"):
        check_sampler("grid", BOTH, _parameters(large))


def test_a_sampler_whose_package_is_missing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(ConfigError, match="needs the package cmaes; pip install cmaes"):
        check_sampler("cma-es", ["fid"], _parameters(_finite))


@pytest.mark.parametrize("kind", ["tpe", "nsga-ii", "nsga-iii", "random"])
def test_others_fit_every_space(kind: str) -> None:
    check_sampler(kind, BOTH, SpaceParameters(load_space("all_families")))


def test_what_is_set_can_make_a_sampler_fit() -> None:
    experiment = load_space("smoke").with_settings({"lr_d": 1e-3, "lr_g": 1e-3, "penalty.lambda": 3.0})
    fixed = SpaceParameters(experiment).fixed(experiment.overrides)
    check_sampler("grid", BOTH, SpaceParameters(experiment, fixed))


def _experiment(kind: str, reports: int = 9) -> Experiment:
    settings = SchedulerSettings(kind=kind, reduction_factor=3)  # type: ignore[arg-type]
    return Experiment(name="e", space=_finite, trainables=TRAINABLES, scheduler=settings, reports=reports)


def _reports(values: dict[str, list[float]]) -> pd.DataFrame:
    rows = [(name, index, fid) for name, fids in values.items() for index, fid in enumerate(fids)]
    return pd.DataFrame(rows, columns=["trial_id", "index", "fid"])


def _verdicts(scheduler: TrialScheduler, name: str, values: list[float], first: int = 0) -> list[str]:
    """What the scheduler decides at each report of a trial, until it stops it."""
    trial = Trial("WorkerGroupTrial", config={"trial_id": name}, stub=True)
    scheduler.on_trial_add(None, trial)
    told = []
    for number, fid in enumerate(values, start=first + 1):
        told.append(scheduler.on_trial_result(None, trial, {"reported": number, "fid": fid}))
        if told[-1] == TrialScheduler.STOP:
            break
    return told


@pytest.mark.parametrize("kind", ["asha", "hyperband"])
def test_a_resumed_sweep_stops_trials_as_an_uninterrupted_one(kind: str) -> None:
    earlier = {f"{number:04d}": [float(number + 10)] * 9 for number in range(6)}
    later = {f"{number:04d}": [float(number + 8)] * 9 for number in range(6, 12)}
    whole = make_scheduler(Compared.of(_experiment(kind)), _reports({}), seed=1)
    made: dict[str, list[float]] = {}
    for name, values in earlier.items():
        made[name] = values[: len(_verdicts(whole, name, values))]
    expected = {name: _verdicts(whole, name, values) for name, values in later.items()}
    resumed = make_scheduler(Compared.of(_experiment(kind)), _reports(made), seed=1)
    assert {name: _verdicts(resumed, name, values) for name, values in later.items()} == expected
    if kind == "asha":
        empty = make_scheduler(Compared.of(_experiment(kind)), _reports({}), seed=1)
        assert {name: _verdicts(empty, name, values) for name, values in later.items()} != expected


def test_a_trial_that_goes_on_keeps_its_place_at_the_rungs() -> None:
    others = {f"{number:04d}": [10.0, 10.0, 10.0] for number in range(1, 5)}
    # Best of all at the first rung, it has become bad; at report 2 there is no rung.
    scheduler = make_scheduler(Compared.of(_experiment("asha")), _reports({"0000": [1.0], **others}), seed=1)
    assert _verdicts(scheduler, "0000", [99.0, 99.0], first=1) == [TrialScheduler.CONTINUE, TrialScheduler.STOP]


def test_hyperband_has_brackets_of_different_patience() -> None:
    scheduler = make_scheduler(Compared.of(_experiment("hyperband")), _reports({}), seed=0)
    firsts = {min(milestone for milestone, _ in scheduler._bracket(f"{n:04d}")._rungs) for n in range(60)}  # type: ignore[attr-defined]
    assert firsts == {1, 3, 9}


def test_the_median_rule_stops_what_is_worse_than_the_others_were() -> None:
    scheduler = make_scheduler(Compared.of(_experiment("median")), _reports({}), seed=0)
    for number in range(4):
        assert TrialScheduler.STOP not in _verdicts(scheduler, f"{number:04d}", [10.0] * 5)
    assert _verdicts(scheduler, "0009", [50.0] * 5)[-1] == TrialScheduler.STOP
    earlier = {f"{number:04d}": [10.0] * 5 for number in range(4)}
    resumed = make_scheduler(Compared.of(_experiment("median")), _reports(earlier), seed=0)
    assert _verdicts(resumed, "0009", [50.0] * 5)[-1] == TrialScheduler.STOP


@pytest.mark.parametrize(("kind", "reports"), [("none", 9), ("asha", 1), ("hyperband", 1), ("median", 1)])
def test_nothing_is_stopped_where_there_is_nothing_to_stop_at(kind: str, reports: int) -> None:
    assert type(make_scheduler(Compared.of(_experiment(kind, reports)), _reports({}), seed=0)) is FIFOScheduler


SLOW = Constraint(score="seconds_per_iteration", at_most=0.5)


def test_a_constraint_is_one_bound_in_units_of_the_bound() -> None:
    assert SLOW.excess({"seconds_per_iteration": 0.75}) == 0.5
    assert SLOW.excess({"seconds_per_iteration": 0.25}) == -0.5
    assert Constraint(score="lesion_fidelity", at_least=0.8).excess({"lesion_fidelity": 0.6}) == pytest.approx(0.25)
    assert SLOW.excess({}) == 1.0  # nobody knows
    with pytest.raises(ValueError, match="give either at_most or at_least"):
        Constraint(score="fid", at_most=1.0, at_least=0.0)


def test_constraints_that_nothing_would_keep_are_refused() -> None:
    check_constraints("tpe", [SLOW])
    with pytest.raises(
        ConfigError, match=r"random takes no constraints, and there are 1; choose one of tpe, gp, nsga-ii"
    ):
        check_constraints("random", [SLOW])


@pytest.mark.parametrize("kind", ["tpe", "nsga-ii", "nsga-iii"])
def test_a_sampler_learns_to_keep_a_constraint(kind: str) -> None:
    """The best values are beyond the bound; with it the sampler leaves them."""
    late = {}
    for constrained in (False, True):
        study = optuna.create_study(directions=["minimize", "minimize"])
        study.sampler = make_sampler(kind, 1, 0, 10)
        if kind != "tpe":
            study.sampler._population_size = 10  # type: ignore[attr-defined]
        beyond = []
        for number in range(160):
            trial = study.ask()
            x = trial.suggest_float("x", 0.0, 1.0)
            y = trial.suggest_float("y", 0.0, 1.0)
            row = TrialRow(
                f"{number:04d}",
                0,
                "completed",
                TrialConfig(),
                scores={"fid": 1 - x, "accuracy": 1 - x * y},
                iterations=10,
                seconds_training=10 * x,
            )
            tell(study, row, ["fid", "accuracy"], [SLOW] if constrained else [])
            beyond.append(x > 0.75)  # the optimum within the bound is at it
        late[constrained] = sum(beyond[100:])
    assert 2 * late[True] < late[False], late
