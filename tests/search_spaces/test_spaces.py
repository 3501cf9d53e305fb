"""No space proposes what would be refused, and each seed's space begins with the seed's own configuration."""

from __future__ import annotations

import random
from functools import cache

import optuna
import pytest

from gansweep.contracts import ImageSpec
from gansweep.search.parameters import DrawnTrial
from gansweep.training.build import check_config
from search_spaces.all_families import all_families
from search_spaces.brain_mri import brain_mri
from search_spaces.diffusion import diffusion
from search_spaces.fahr_ct import fahr_ct
from search_spaces.seeds.dcgan_brain_mri import dcgan_brain_mri
from search_spaces.seeds.fahr_wgan_gp import fahr_wgan_gp
from search_spaces.seeds.medgan_sngan import medgan_sngan

SPACES = (all_families, brain_mri, diffusion, fahr_ct, dcgan_brain_mri, fahr_wgan_gp, medgan_sngan)
TRIALS = 300


def asked(experiment, first):
    """(trial of a study, configuration) for each of the `first` parameters."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for parameters in first:
        study.enqueue_trial(parameters)
    trials = [study.ask() for _ in first]
    return [(trial, experiment.config(trial)) for trial in trials]


@cache
def drawn(space):
    """Configurations of random trials."""
    experiment, draws = space(), random.Random(0)
    return [experiment.config(DrawnTrial({}, draws)) for _ in range(TRIALS)]


@pytest.mark.parametrize("space", SPACES, ids=lambda space: space.__name__)
@pytest.mark.parametrize("size", [48, 64, 96, 128])
def test_no_refused_combination_is_proposed(space, size):
    spec = ImageSpec(size, 1, ("control", "case"))
    trainables = space().trainables
    for config in drawn(space):
        check_config(config, spec, trainables)


@pytest.mark.parametrize("space", SPACES, ids=lambda space: space.__name__)
def test_first_trials_lie_in_the_space_and_are_complete(space):
    experiment = space()
    spec = ImageSpec(64, 1, ("control", "case"))
    first = experiment.first_trials
    for wanted, (trial, config) in zip(first, asked(experiment, first), strict=True):
        assert trial.params == wanted
        assert all(trial.distributions[name]._contains(_internal(trial, name)) for name in wanted)
        check_config(config, spec, experiment.trainables)


def _internal(trial, name):
    return trial.distributions[name].to_internal_repr(trial.params[name])


def first_config(space):
    experiment = space()
    ((_, config),) = asked(experiment, experiment.first_trials[:1])
    return config


def test_fahr_paper():
    config = first_config(fahr_wgan_gp)
    assert (config.lr_d, config.lr_g, config.n_critic, config.batch_size) == (2e-4, 1e-3, 5, 64)
    assert (config.loss.kind, config.penalty.kind, config.penalty.lambda_) == ("wasserstein", "gradient_penalty", 10.0)
    assert config.iterations == 10_000


def test_fahr_table_1_is_reachable_row_by_row():
    penalties = [config.penalty for config in drawn(fahr_wgan_gp)]
    assert {penalty.interpolation for penalty in penalties} == {"uniform", "convex", "real_real", "local"}
    assert {penalty.adaptive for penalty in penalties} == {"none", "norm", "progress"}
    assert {penalty.norm for penalty in penalties} == {"l1", "l2", "linf"}
    assert {penalty.layer for penalty in penalties} == {0, 1, 2}


def test_brain_mri_paper():
    config = first_config(dcgan_brain_mri)
    assert config.architecture["critic_norm"] == config.architecture["generator_norm"] == "batch"
    assert config.architecture["upsampling"] == "transposed"
    assert config.loss.feature_matching > 0
    assert set(config.augmentation.policy) == {"flip", "rotation", "intensity"}


def test_medgan_paper():
    config = first_config(medgan_sngan)
    assert (config.family, config.data.size) == ("sngan", 128)
    assert config.architecture["critic_norm"] == "spectral_batch"
    assert config.penalty.kind == "none"


def test_every_family_from_noise_is_tried_first_and_found_by_chance():
    experiment = all_families()
    first = {parameters["family"] for parameters in experiment.first_trials}
    assert len(experiment.first_trials) == len(first)
    assert first == {config.family for config in drawn(all_families)[:100]}
