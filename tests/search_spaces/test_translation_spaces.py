"""The spaces from image to image: their first trials, and that they propose nothing that cannot be trained."""

from __future__ import annotations

from dataclasses import replace

import optuna
import pytest

from gansweep.contracts import ImageSpec
from gansweep.search.spaces import load_space
from gansweep.training.build import check_config
from trainables import TRAINABLES

CLASSES = ImageSpec(64, 1, ("control", "fahr"))
PAIRS = ImageSpec(64, 1, ("patient",), paired_channels=1)
SPACES = {"translation": PAIRS, "class_translation": CLASSES, "super_resolution": CLASSES}
FIRST = {
    "translation": ["cyclegan", "csgan", "dc2anet", "discogan", "auto_context"],
    "class_translation": ["cyclegan", "discogan"],
    "super_resolution": ["srgan"],
}


def study_of(seed: int) -> optuna.Study:
    return optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed), directions=["maximize", "minimize"])


@pytest.mark.parametrize("name", SPACES)
def test_every_family_is_first_tried_as_given(name):
    experiment, study = load_space(name), study_of(0)
    configs = []
    for given in experiment.first_trials:
        study.enqueue_trial(given)
    for given in experiment.first_trials:
        trial = study.ask()
        configs.append(experiment.config(trial))
        assert trial.params == given  # nothing left to chance, nothing unknown
        check_config(configs[-1], SPACES[name], TRAINABLES)
    assert [config.family for config in configs] == FIRST[name]


@pytest.mark.parametrize("name", SPACES)
@pytest.mark.parametrize("size", [48, 64, 128, 512])
def test_whatever_they_propose_can_be_trained(name, size):
    experiment, study = load_space(name), study_of(1)
    spec = replace(SPACES[name], size=size)
    configs = [experiment.config(study.ask()) for _ in range(200)]
    # The docstring of the space says that 512 pixels need a narrower critic.
    narrow = {"architecture.critic_width": 32} if (name, size) == ("super_resolution", 512) else {}
    for config in configs:
        check_config(config.derive(narrow), spec, TRAINABLES)
    assert {config.family for config in configs} == set(FIRST[name])


def test_each_family_brings_its_papers_weights():
    experiment, study = load_space("translation"), study_of(0)
    for given in experiment.first_trials:
        study.enqueue_trial(given)
    shapes = {config.family: config for config in (experiment.config(study.ask()) for _ in experiment.first_trials)}
    cyclegan, csgan, cascade = (shapes[name].architecture for name in ("cyclegan", "csgan", "auto_context"))
    assert (cyclegan["cycle"], cyclegan["identity"], cyclegan["pool"]) == (10.0, 0.0, 50)
    assert (csgan["cycle"], csgan["synthesized"]) == (10.0, 30.0)
    assert (cascade["adversarial"], cascade["gradient"]) == (0.5, 1.0)
    assert shapes["discogan"].loss.kind == "non_saturating"
    assert shapes["dc2anet"].loss.kind == "non_saturating"
    dc2anet = shapes["dc2anet"].architecture
    weights = [dc2anet[name] for name in ("cycle", "voxel", "gradient", "perceptual", "structural")]
    assert weights == [10.0, 100.0, 100.0, 1.0, 0.05]
