"""TPE that leaves out a part of the trials of a long sweep."""

from __future__ import annotations

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState, create_trial

from gansweep.search.bounded_tpe import BoundedTPESampler
from gansweep.search.samplers import make_sampler, name_of

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")

RATE = {"rate": FloatDistribution(0.0, 1.0)}


def objectives(trial: optuna.Trial) -> tuple[float, float]:
    rate = trial.suggest_float("rate", 0.0, 1.0)
    if trial.suggest_categorical("family", ["dcgan", "progan"]) == "progan":
        rate += trial.suggest_float("fade", 0.0, 0.1)
    return (rate - 0.3) ** 2, 1 - (rate - 0.5) ** 2


def proposals(sampler: optuna.samplers.BaseSampler, trials: int) -> list[dict[str, object]]:
    study = optuna.create_study(directions=["minimize", "maximize"], sampler=sampler)
    for _ in range(trials):
        trial = study.ask()
        study.tell(trial, objectives(trial))
    return [trial.params for trial in study.trials]


def bounded(most: int) -> BoundedTPESampler:
    return BoundedTPESampler(seed=3, most=most, multivariate=True, group=True, constant_liar=True)


def seen(sampler: BoundedTPESampler, study: optuna.Study) -> set[int]:
    """Returns the trials from which the sampler makes its next proposal."""
    sampler._choose(study)
    trials = sampler._bounded(study)._get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))
    return {trial.number for trial in trials}


def test_it_is_tpe_until_there_are_many() -> None:
    tpe = optuna.samplers.TPESampler(seed=3, multivariate=True, group=True, constant_liar=True)
    plain = proposals(tpe, 60)
    assert proposals(bounded(59), 60) == plain
    assert proposals(bounded(40), 60)[:41] == plain[:41]
    assert proposals(bounded(40), 60) != plain


def test_the_best_stay_and_the_others_are_drawn() -> None:
    study = optuna.create_study(directions=["minimize", "maximize"])
    for number in range(100):
        # The last ten are better than all others in both objectives.
        values = [float(100 - number), float(number)]
        study.add_trial(create_trial(params={"rate": number / 100}, distributions=RATE, values=values))
    sampler = bounded(50)
    stay = seen(sampler, study)
    assert len(stay) == 25
    assert {98, 99} <= stay
    assert min(stay) < 50 < max(stay - {98, 99})
    # New ones are seen, up to the limit. Then all trials are chosen from again.
    for number in range(100, 125):
        study.add_trial(create_trial(params={"rate": 0.5}, distributions=RATE, values=[50.0, 50.0]))
        assert seen(sampler, study) == stay | set(range(100, number + 1))
    study.add_trial(create_trial(params={"rate": 0.5}, distributions=RATE, values=[0.0, 200.0]))
    assert len(seen(sampler, study)) == 25
    assert {99, 125} <= seen(sampler, study)


def test_trials_that_break_constraints_or_have_no_values_are_not_the_best() -> None:
    study = optuna.create_study(directions=["minimize"])
    for number in range(90):
        trial = create_trial(params={"rate": 0.5}, distributions=RATE, value=float(number))
        trial.set_constraint("memorisation", 1.0 if number < 50 else -1.0)
        study.add_trial(trial)
    for _ in range(10):
        study.add_trial(create_trial(params={"rate": 0.9}, distributions=RATE, state=TrialState.PRUNED))
    stay = seen(bounded(99), study)
    assert len(stay) == 49
    assert {50, 51, 52, 53, 54} <= stay, "a tenth, the best of those that keep the constraint"
    assert stay & set(range(90, 100)), "bad regions are still known"


def test_a_sweep_of_which_all_trials_diverged_goes_on() -> None:
    study = optuna.create_study(directions=["minimize", "maximize"], sampler=bounded(50))
    for _ in range(51):
        study.add_trial(create_trial(params={"rate": 0.9}, distributions=RATE, state=TrialState.PRUNED))
    assert 0.0 <= study.ask(RATE).params["rate"] <= 1.0
    assert len(seen(bounded(50), study)) == 25


def test_long_sweeps_get_it_by_the_name_of_tpe() -> None:
    sampler = make_sampler("tpe", 0, 0, 10)
    assert isinstance(sampler, BoundedTPESampler)
    assert name_of(BoundedTPESampler) == "tpe"
