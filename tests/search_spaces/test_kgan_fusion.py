"""The space of the KGAN paper: its first trials, and that it proposes nothing that cannot be trained."""

from __future__ import annotations

import optuna
import pytest

from gansweep.contracts import ImageSpec
from gansweep.training.build import check_config
from search_spaces.seeds.kgan_fusion import kgan_fusion
from trainables import TRAINABLES

SPEC = ImageSpec(256, 1, ("CT",), paired_channels=1)


def study_of(seed: int) -> optuna.Study:
    return optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed), directions=["maximize", "maximize"])


def test_the_first_trials_are_the_papers_three_methods_as_given():
    experiment, study = kgan_fusion(), study_of(0)
    for given in experiment.first_trials:
        study.enqueue_trial(given)
    configs = []
    for given in experiment.first_trials:
        trial = study.ask()
        configs.append(experiment.config(trial))
        assert trial.params == given  # nothing left to chance, nothing unknown
    assert [config.family for config in configs] == ["kgan", "cyclegan", "csgan"]
    assert [config.loss.kind for config in configs] == ["non_saturating", "least_squares", "least_squares"]
    for config in configs:
        assert config.architecture["domains"] == "fusion"
        check_config(config, SPEC, TRAINABLES)


@pytest.mark.parametrize("seed", range(3))
def test_whatever_it_proposes_can_be_trained(seed):
    experiment, study = kgan_fusion(), study_of(seed)
    for _ in range(20):
        check_config(experiment.config(study.ask()), SPEC, TRAINABLES)
