"""The spaces for cohorts with masks: their first trials, and that they propose nothing that cannot be trained."""

from __future__ import annotations

import optuna
import pytest

from gansweep.contracts import ImageSpec
from gansweep.search.spaces import load_space
from gansweep.training.build import check_config
from trainables import TRAINABLES

SPEC = ImageSpec(64, 1, ("control", "fahr"), mask_channels=1)
SPACES = ["demo", "fahr_ct_masks", "lesion_painter", "seeds/cwgan_gp_unet"]


def study_of(seed: int) -> optuna.Study:
    return optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed), directions=["minimize", "maximize"])


@pytest.mark.parametrize("name", SPACES)
def test_first_trials_are_as_given(name):
    experiment, study = load_space(name), study_of(0)
    for given in experiment.first_trials:
        study.enqueue_trial(given)
    for given in experiment.first_trials:
        trial = study.ask()
        check_config(experiment.config(trial), SPEC, TRAINABLES)
        assert trial.params == given  # nothing left to chance, nothing unknown


def test_the_paper_is_a_conditional_wgan_gp_over_image_and_mask():
    experiment, study = load_space("seeds/cwgan_gp_unet"), study_of(0)
    study.enqueue_trial(experiment.first_trials[0])
    config = experiment.config(study.ask())
    assert (config.family, config.architecture["base"], config.conditioning) == ("joint", "dcgan", "concat")
    assert (config.loss.kind, config.penalty.kind, config.penalty.lambda_) == ("wasserstein", "gradient_penalty", 10.0)


@pytest.mark.parametrize("name", SPACES)
def test_whatever_they_propose_can_be_trained(name):
    experiment, study = load_space(name), study_of(1)
    for _ in range(200):
        check_config(experiment.config(study.ask()), SPEC, TRAINABLES)
