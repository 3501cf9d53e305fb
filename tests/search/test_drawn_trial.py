"""Trials outside a study draw as Optuna's random sampler does."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import optuna
import pytest
from scipy import stats

from gansweep.search.parameters import DrawnTrial

if TYPE_CHECKING:
    from collections.abc import Callable

DRAWS = 1000


@pytest.mark.parametrize(
    "suggested",
    [
        lambda trial: trial.suggest_float("lr", 1e-5, 1e-1, log=True),
        lambda trial: trial.suggest_float("lr", 1e-5, 1e-1),
        lambda trial: trial.suggest_float("ratio", 0.0, 1.0, step=0.25),
        lambda trial: trial.suggest_int("width", 1, 1000, log=True),
        lambda trial: trial.suggest_int("width", 1, 4, log=True),
        lambda trial: trial.suggest_int("n_critic", 1, 5),
        lambda trial: trial.suggest_categorical("batch_size", [8, 16, 32]),
    ],
)
def test_draws_have_optunas_distribution(suggested: Callable[[Any], float]) -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    draws = random.Random(0)
    ours = [suggested(DrawnTrial({}, draws)) for _ in range(DRAWS)]
    theirs = [suggested(study.ask()) for _ in range(DRAWS)]
    assert stats.ks_2samp(ours, theirs).pvalue > 0.01
    assert {type(value) for value in ours} == {type(value) for value in theirs}
