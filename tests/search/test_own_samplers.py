"""Samplers that a space's file gives as a class: made with the sweep's seed, recorded, and refused in one line."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Any

import optuna
import pytest
from optuna.samplers import (
    BruteForceSampler,
    CmaEsSampler,
    NSGAIIISampler,
    NSGAIISampler,
    PartialFixedSampler,
    QMCSampler,
    RandomSampler,
    TPESampler,
)

from gansweep.config import TrialConfig
from gansweep.constraint import Constraint
from gansweep.errors import ConfigError, StoreError
from gansweep.experiment import Experiment, sampler_text
from gansweep.search.parameters import SpaceParameters
from gansweep.search.samplers import check_constraints, check_own_sampler, make_sampler, name_of
from gansweep.search.spaces import load_space
from gansweep.store.continuation import check_continues
from tests.report.example_sweep import make_info
from trainables import TRAINABLES

if TYPE_CHECKING:
    from pathlib import Path


def _space(trial: optuna.Trial) -> TrialConfig:
    return TrialConfig(lr_d=trial.suggest_float("lr_d", 1e-5, 1e-2, log=True))


def _experiment(sampler: Any) -> Experiment:
    return Experiment(name="own", space=_space, trainables=TRAINABLES, sampler=sampler)


def _half(_count: int) -> int:
    return 3


class _Passing(TPESampler):
    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)


class _Failing(RandomSampler):
    def sample_independent(self, *_args: Any) -> float:  # type: ignore[override]
        raise ZeroDivisionError("nothing to choose from")


def _proposals(sampler: Any, seed: int, proposed: int) -> list[float]:
    study = optuna.create_study(directions=["minimize"])
    study.sampler = make_sampler(sampler, seed, proposed, 10)
    return [study.ask().suggest_float("x", 0.0, 1.0) for _ in range(3)]


@pytest.mark.parametrize(
    ("sampler", "text", "name"),
    [
        (TPESampler, "TPESampler()", "tpe"),
        (partial(TPESampler, n_ei_candidates=64, group=True), "TPESampler(group=True, n_ei_candidates=64)", "tpe"),
        (partial(TPESampler, gamma=_half), "TPESampler(gamma=_half)", "tpe"),
        (partial(NSGAIISampler, population_size=8), "NSGAIISampler(population_size=8)", "nsga-ii"),
        (NSGAIIISampler, "NSGAIIISampler()", "nsga-iii"),
        (partial(CmaEsSampler, x0={"lr_d": 0.5}), "CmaEsSampler(x0={'lr_d': 0.5})", "cma-es"),
        (
            partial(QMCSampler, independent_sampler=RandomSampler()),
            "QMCSampler(independent_sampler=RandomSampler(...))",
            "qmc",
        ),
        (partial(_Passing, group=True), "tests.search.test_own_samplers._Passing(group=True)", "tpe"),
        (_Failing, "tests.search.test_own_samplers._Failing()", "random"),
    ],
)
def test_it_is_recorded_by_class_and_arguments(sampler: Any, text: str, name: str) -> None:
    experiment = _experiment(sampler)
    assert sampler_text(experiment.sampler) == text
    assert experiment.model_dump(mode="json")["sampler"] == text
    assert json.loads(experiment.model_dump_json())["sampler"] == text
    assert experiment.with_settings({"reports": 2}).sampler is sampler
    assert name_of(sampler) == name


def test_its_seed_is_the_sweeps_and_a_resumed_sweep_repeats_no_proposal() -> None:
    own = partial(TPESampler, n_startup_trials=5)
    assert _proposals(own, 1, 0) == _proposals(own, 1, 0)
    assert _proposals(own, 1, 0) == _proposals(RandomSampler, 1, 0)  # it begins at random, from the seed
    assert not set(_proposals(own, 1, 0)) & set(_proposals(own, 1, 3))
    assert make_sampler(own, 0, 0, 10)._n_startup_trials == 5  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("sampler", "says"),
    [
        (
            TPESampler(seed=1),
            "sampler: a TPESampler that is already made has its own seed, and cannot be made again on a resume; give a",
        ),
        (
            lambda seed: TPESampler(seed=seed),
            "sampler: test_own_samplers.<locals> is no class of Optuna samplers; give a name, or partial(",
        ),
        (dict, "sampler: dict is no class of Optuna samplers; "),
        (7, "sampler: int is no class of Optuna samplers; "),
        (None, "sampler: NoneType is no class of Optuna samplers; "),
        (partial(RandomSampler, 3), "sampler: arguments of RandomSampler have no names; "),
        (
            partial(TPESampler, n_candidates=3),
            "sampler TPESampler: unknown argument 'n_candidates'; did you mean n_ei_candidates?",
        ),
        (partial(TPESampler, seed=3), "sampler: TPESampler has the argument seed; leave it out: --seed gives it"),
        (
            partial(TPESampler, constraints_func=lambda _: [0.0]),
            "sampler: TPESampler has the argument constraints_func; use Experiment(constraints=...)",
        ),
        (
            partial(PartialFixedSampler, fixed_params={}, base_sampler=RandomSampler()),
            "sampler: PartialFixedSampler has no parameter seed, so a resumed sweep would repeat its proposals; ",
        ),
    ],
)
def test_a_wrong_object_is_one_line(sampler: Any, says: str) -> None:
    with pytest.raises(ConfigError) as told:
        _experiment(sampler)
    found = str(told.value)
    assert "\n" not in found
    assert found.startswith(says) or "<lambda> is no class of Optuna samplers" in found


def test_an_unknown_name_is_one_line() -> None:
    with pytest.raises(ConfigError, match=r"sampler = 'tpee': input should be one of 'tpe', 'gp', "):
        _experiment("tpe").with_settings({"sampler": "tpee"})


def test_what_fails_on_the_space_is_told_before_anything_starts() -> None:
    experiment = _experiment("tpe")
    free = SpaceParameters(experiment)

    def checked(sampler: Any) -> None:
        check_own_sampler(sampler, experiment.objectives, free)

    checked(partial(TPESampler, n_startup_trials=0))
    with pytest.raises(ConfigError, match=r"_Passing\(candidates=3\).*: TypeError: .*unexpected keyword argument"):
        checked(partial(_Passing, candidates=3))
    with pytest.raises(
        ConfigError, match=r"_Failing\(\) \(.*test_own_samplers.*\): ZeroDivisionError: nothing to choose"
    ):
        checked(_Failing)
    with pytest.raises(ConfigError, match=r"sampler NSGAIISampler\(population_size=1\): ValueError: "):
        checked(partial(NSGAIISampler, population_size=1))
    with pytest.raises(ConfigError, match=r"sampler TPESampler\(n_ei_candidates='many'\): \w+Error: "):
        checked(partial(TPESampler, n_ei_candidates="many"))  # it is not used before the eleventh trial
    with pytest.raises(ConfigError) as told:
        checked(BruteForceSampler)
    assert str(told.value) == "sampler: BruteForceSampler() stops a study itself, and not the sweep; choose grid"
    with pytest.raises(ConfigError, match="random takes no constraints"):
        check_constraints(name_of(_Failing), [Constraint(score="fid", at_most=1.0)])


def test_a_resumed_sweep_must_have_the_same_arguments() -> None:
    def info(candidates: int) -> Any:
        own = _experiment(partial(TPESampler, n_ei_candidates=candidates))
        return make_info(experiment=own.model_dump(mode="json"))

    check_continues(info(64), info(64), "runs/fahr")
    with pytest.raises(StoreError) as told:
        check_continues(info(64), info(24), "runs/fahr")
    assert str(told.value).startswith(
        "runs/fahr: this sweep has sampler = TPESampler(n_ei_candidates=64), not TPESampler(n_ei_candidates=24)"
    )


def test_a_spaces_file_gives_one(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "from functools import partial\n"
        "from optuna.samplers import TPESampler\n"
        "from gansweep.experiment import Experiment, TrialConfig\n"
        "from trainables import TRAINABLES\n"
        "def space(trial):\n"
        "    return TrialConfig()\n"
        "def mine():\n"
        "    sampler = partial(TPESampler, n_ei_candidates=9)\n"
        "    return Experiment(name='mine', space=space, trainables=TRAINABLES, sampler=sampler)\n"
        "def made():\n"
        "    sampler = TPESampler(n_ei_candidates=9)\n"
        "    return Experiment(name='mine', space=space, trainables=TRAINABLES, sampler=sampler)\n"
    )
    experiment = load_space(f"{file}:mine")
    assert sampler_text(experiment.sampler) == "TPESampler(n_ei_candidates=9)"
    assert experiment.with_settings({"sampler": "random"}).sampler == "random"
    with pytest.raises(ConfigError, match="sampler: a TPESampler that is already made has its own seed"):
        load_space(f"{file}:made")
