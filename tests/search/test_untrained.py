"""What is left of a space is found, however little it is."""

from collections.abc import Callable
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from gansweep.config import TrialConfig
from gansweep.errors import ConfigError
from gansweep.search.searcher import StudySearcher
from gansweep.search.spaces import load_space
from gansweep.search.untrained import Untrained, key_of
from gansweep.store.store import Store
from tests.report.example_sweep import make_info


def _large(trial: Any) -> TrialConfig:
    return TrialConfig(n_critic=trial.suggest_int("n", 1, 80), batch_size=trial.suggest_int("batch", 2, 81))


def _conditional(trial: Any) -> TrialConfig:
    if trial.suggest_categorical("family", ["one", "other"]) == "one":
        return TrialConfig(family="one", ema_half_life=trial.suggest_float("ema", 0.0, 0.3, step=0.1))
    return TrialConfig(family="other", n_critic=trial.suggest_int("n", 1, 3))


def _rare(trial: Any) -> TrialConfig:
    value = trial.suggest_int("n", 1, 9000)
    if value % 3000:
        raise ConfigError("refused")
    return TrialConfig(n_critic=value // 3000)


@pytest.mark.parametrize(("space", "size"), [(_large, 6400), (_conditional, 7), (_rare, 3)])
def test_the_last_configurations_of_a_space_are_found(space: Callable[[Any], TrialConfig], size: int) -> None:
    left: dict[bytes, TrialConfig] = {}
    untrained = Untrained(space, seed=0)
    trained: set[bytes] = set()
    if space is _large:  # all but five
        every = [TrialConfig(n_critic=n, batch_size=batch) for n in range(1, 81) for batch in range(2, 82)]
        trained = {key_of(config) for config in every} - {key_of(config) for config in every[::1281]}
        assert len(trained) == size - 5
    for number in range(size - len(trained)):
        found = untrained.parameters(number, trained)
        assert found is not None
        config = space(optuna.trial.FixedTrial(found))
        left[key_of(config)] = config
        trained.add(key_of(config))
    assert len(trained) == size
    assert untrained.parameters(size, trained) is None
    assert untrained.parameters(size, set()) is not None, "the space may repeat itself"


def test_a_value_is_within_its_range_and_one_that_differs_by_rounding_is_the_same() -> None:
    def space(trial: Any) -> TrialConfig:
        return TrialConfig(ema_half_life=trial.suggest_float("ema", 0.0, 0.3, step=0.1))

    untrained = Untrained(space, seed=0)
    trained = {key_of(TrialConfig(ema_half_life=value)) for value in (0.0, 0.1, 0.2)}
    assert 0.1 * 3 > 0.3
    assert untrained.parameters(0, trained) == {"ema": 0.3}
    assert key_of(TrialConfig(ema_half_life=0.1 * 3)) == key_of(TrialConfig(ema_half_life=0.3))
    assert key_of(TrialConfig(lr_d=1e-9)) != key_of(TrialConfig(lr_d=2e-9))


class Insisting(optuna.samplers.RandomSampler):
    """Proposes the lowest value, always."""

    def sample_independent(self, *arguments: Any) -> Any:
        return arguments[-1].low


def _unsteady(trial: Any) -> TrialConfig:
    """Makes another configuration of the same values, as a space does that depends on what is around it."""
    is_drawn = not isinstance(trial._trial, optuna.Trial)
    return TrialConfig(n_critic=trial.suggest_int("n", 1, 2), seed=int(is_drawn))


def _by_number(trial: Any) -> TrialConfig:
    return TrialConfig(n_critic=trial.suggest_int("n", 1, 4 if trial.number == 0 else 2), seed=int(trial.number == 0))


@pytest.mark.parametrize("space", [_by_number, _unsteady])
def test_a_space_that_depends_on_more_than_its_values_does_not_end_the_search(space: Any, tmp_path: Any) -> None:
    experiment = load_space("smoke").model_copy(update={"space": space, "first_trials": ()})
    store = Store.create(str(tmp_path), "s", make_info(objectives=experiment.objectives))
    study = store.create_study(Insisting())
    searcher = StudySearcher(experiment, study, store, lambda _: None)
    for number in range(8):
        assert isinstance(searcher.suggest(str(number)), dict)
    trained = {tuple(pair) for pair in store.trials()[["config.n_critic", "config.seed"]].to_numpy().tolist()}
    assert {(1, 0), (2, 0)} <= trained
    assert searcher.mistake is None
    begun = study.get_trials(states=(TrialState.RUNNING,))
    assert {trial.params["n"] for trial in begun} <= {1, 2}
