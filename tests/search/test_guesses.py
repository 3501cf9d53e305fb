"""A user's own guesses, checked against the space."""

import json
from typing import Any

import optuna
import pytest

from gansweep.cli.options import parse_group
from gansweep.command_line import as_words
from gansweep.config import TrialConfig
from gansweep.errors import ConfigError
from gansweep.experiment import Experiment
from gansweep.search.guesses import enqueue_new, guessed_parameters
from gansweep.search.parameters import SpaceParameters
from gansweep.search.spaces import load_space
from tests.values import sweep_options
from trainables import TRAINABLES


@pytest.mark.parametrize(
    ("space", "settings", "guess", "says"),
    [
        (
            "smoke",
            {},
            {"lrd": 1e-3},
            "--try: unknown parameter 'lrd'; did you mean lr_d? known: lambda, lr_d, lr_g, n_critic, width",
        ),
        ("smoke", {}, {"lr_d": 5.0}, "--try: lr_d = 5.0 is not in the space; choose one from 0.0001 to 0.002"),
        ("smoke", {}, {"lr_d": "high"}, "--try: lr_d = 'high' is not in the space; choose one from 0.0001 to 0.002"),
        ("smoke", {}, {"n_critic": 1.5}, "--try: n_critic = 1.5 is not in the space; choose one from 1 to 3"),
        ("smoke", {}, {"n_critic": True}, "--try: n_critic = True is not in the space; choose one from 1 to 3"),
        ("smoke", {}, {"width": 12}, "--try: width = 12 is not in the space; choose one of 8, 16"),
        ("smoke", {"lr_d": 1e-3}, {"lr_d": 1e-3}, "--try: lr_d is fixed by --set; leave it out of one of the two"),
        (
            "all_families",
            {},
            {"family": "r3gan", "mapping": 4},
            "--try: the space does not ask for mapping with family=r3gan; leave it out",
        ),
    ],
)
def test_a_wrong_guess_is_told_in_one_line(
    space: str, settings: dict[str, Any], guess: dict[str, Any], says: str
) -> None:
    with pytest.raises(ConfigError) as told:
        guessed_parameters(load_space(space).with_settings(settings), [guess])
    assert str(told.value) == says


def by_kind(trial: Any) -> TrialConfig:
    """The range of one parameter depends on another."""
    low, high = {"sgd": (1e-2, 1e-1), "adam": (1e-4, 1e-3)}[trial.suggest_categorical("kind", ["sgd", "adam"])]
    return TrialConfig(lr_d=trial.suggest_float("lr_d", low, high, log=True))


BY_KIND = Experiment(name="s", space=by_kind, trainables=TRAINABLES)


def test_a_guess_fits_the_range_that_its_other_values_give() -> None:
    fitting = [{"kind": "adam", "lr_d": 5e-4}, {"kind": "sgd", "lr_d": 5e-2}, {"lr_d": 5e-4}]
    assert guessed_parameters(BY_KIND, fitting) == fitting
    said = "^--try: lr_d = 0.05 is not in the space with kind=adam; choose one from 0.0001 to 0.001$"
    with pytest.raises(ConfigError, match=said):
        guessed_parameters(BY_KIND, [{"kind": "adam", "lr_d": 5e-2}])
    with pytest.raises(ConfigError, match=r"lr_d = 0\.5 is not in the space; choose one from .* or from "):
        guessed_parameters(BY_KIND, [{"lr_d": 0.5}])


def test_a_guess_is_given_by_parameter_or_by_key() -> None:
    smoke = load_space("smoke")
    guesses = [{"architecture.width": 16, "penalty.lambda": 5}, {"width": 8, "lambda": 5.0, "n_critic": 2}]
    assert guessed_parameters(smoke, guesses) == [
        {"width": 16, "lambda": 5},
        {"width": 8, "lambda": 5.0, "n_critic": 2},
    ]
    several = load_space("all_families")
    assert guessed_parameters(several, [{"family": "stylegan2", "mapping": 4}]) == [
        {"family": "stylegan2", "mapping": 4}
    ]


def test_guesses_come_first_and_once() -> None:
    study = optuna.create_study()
    proposals = [{"n": 2}, {"n": 3}]
    enqueue_new(study, proposals)
    asked = [study.ask().suggest_int("n", 1, 9) for _ in range(2)]
    assert asked == [2, 3]
    enqueue_new(study, [*proposals, {"n": 4}])  # the same command with --resume, and one more
    assert study.ask().suggest_int("n", 1, 9) == 4
    assert len(study.trials) == 3
    enqueue_new(study, [{"n": 5}, {"n": 5}])  # a guess that is also a first trial of the space
    assert len(study.trials) == 4


def test_a_guess_travels_with_a_job() -> None:
    guess = parse_group("lr_d=2e-4, augmentation.policy=[flip,cutout],family=dcgan", "--try")
    assert guess == {"lr_d": 2e-4, "augmentation.policy": ["flip", "cutout"], "family": "dcgan"}
    (word,) = [word for word in as_words(sweep_options(tries=(guess,))) if word.startswith("--try=")]
    assert parse_group(word.removeprefix("--try="), "--try") == guess
    assert json.loads(json.dumps(sweep_options(tries=(guess,)).recorded()))["try"] == [guess]


def test_a_comma_without_a_key_is_told() -> None:
    with pytest.raises(ConfigError, match="--try: 'width' is not KEY=VALUE; for example --try lr_d=2e-4"):
        parse_group("width", "--try")


@pytest.mark.parametrize(
    ("overrides", "fixed"),
    [
        ({}, {}),
        ({"architecture.width": 64}, {"width": 64}),
        ({"family": "dcgan", "lr_g": 1e-3}, {"family": "dcgan", "lr_g": 1e-3}),
        ({"penalty.lambda": 3.0}, {"penalty_lambda": 3.0}),
        ({"augmentation.kind": "none", "augmentation.policy": ["cutout"]}, {"augmentation": "none"}),
        ({"seed": 3, "batch_size": 8}, {}),
    ],
)
def test_what_overrides_make_idle(overrides: dict[str, Any], fixed: dict[str, Any]) -> None:
    assert SpaceParameters(load_space("all_families")).fixed(overrides) == fixed


def test_a_parameter_that_sets_more_than_is_overridden_is_free() -> None:
    from tests.search.tiny_space import tiny

    space = SpaceParameters(tiny())
    assert space.keys["lr"] == {"lr_d", "lr_g"}
    assert space.fixed({"lr_d": 1e-3}) == {}
    assert space.fixed({"lr_d": 1e-3, "lr_g": 2e-3}) == {"lr": 1e-3}
