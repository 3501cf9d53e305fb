"""Checks a sweep before anything is created or trained."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from gansweep.errors import ConfigError, GansweepError, unknown_name
from gansweep.search.aims import check_objectives
from gansweep.search.parameters import SpaceParameters
from gansweep.search.pruning import check_prune
from gansweep.search.samplers import check_constraints, check_own_sampler, check_sampler, name_of
from gansweep.search.space_checks import check_first_trials, check_parameters
from gansweep.search.spaces import users_code

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gansweep.cohort.dataset import Cohort
    from gansweep.config import TrialConfig
    from gansweep.contracts import Trainables
    from gansweep.experiment import Experiment

__all__ = ["config_checker", "precheck"]

_LEAST_IMAGES = 2  # to which those of a generator have a Fréchet distance
_DRAWS = 30  # proposals, at least one of which must be trainable


def config_checker(
    trainables: Trainables, cohort: Cohort, *, workers: int, reports: int
) -> Callable[[TrialConfig], None]:
    """Returns a function that checks configurations for `workers` workers on `cohort`. It raises ConfigError."""
    from gansweep.training.build import check_budget, check_config

    images = Counter(zip(cohort.manifest["split"], cohort.manifest["label"], strict=True))

    def check(config: TrialConfig) -> None:
        spec = cohort.spec(config.data)
        check_config(config, spec, trainables)
        check_budget(config, workers=workers, reports=reports)
        made = [spec.classes[label] for label in trainables.classes_made(config, spec)]
        for split in ("train", "val"):
            found = sum(images[split, name] for name in made)
            if found < _LEAST_IMAGES:
                what = f"makes images of {' and '.join(made)} alone, of which the {split} split has {found}"
                fix = "a distance needs at least two: ingest with a --split that leaves it more patients"
                raise ConfigError(what, where=f"family {config.family}", fix=fix)

    return check


def precheck(experiment: Experiment, cohort: Cohort, check: Callable[[TrialConfig], None], *, space: str) -> None:
    """Checks what all trials have in common, then that the space makes at least one trainable configuration.

    Args:
        experiment: the experiment to search.
        cohort: the images.
        check: function that checks a configuration.
        space: the user's name for the space.

    Raises:
        ConfigError: a detector (see `check_detector`) or feature extractor that cannot be used, an unknown segmenter,
            an objective that no trial reports, a scheduler's metric that is no objective, a sampler that cannot search
            the space, parameters that cannot be stored, first trials that are not in the space, or a space whose every
            proposal raises or cannot be trained.
    """
    _check_scoring(experiment, cohort)
    check_objectives(experiment.objectives, cohort.spec())
    parameters = SpaceParameters(experiment)
    check_parameters(parameters, where=f"space {space}")
    check_first_trials(experiment, parameters)
    _rehearse(experiment, check, space)
    _check_search(experiment, parameters)


def _check_scoring(experiment: Experiment, cohort: Cohort) -> None:
    import torch

    from gansweep.scoring.networks.detectors import check_detector
    from gansweep.scoring.networks.extractors import load_extractor

    scoring = experiment.scoring
    trainables = experiment.trainables
    check_detector(scoring, trainables, cohort.spec())
    if cohort.spec().mask_channels and scoring.segmenter_steps:
        _check_known("segmenter", scoring.segmenter, trainables.segmenters)
    if scoring.features is not None:
        spec = cohort.spec()
        images = torch.linspace(-1, 1, 2 * spec.channels * spec.size**2).view(2, spec.channels, spec.size, spec.size)
        load_extractor(scoring.features, torch.device("cpu")).features(images)


def _check_known(kind: str, name: str, registry: Mapping[str, object]) -> None:
    if name not in registry:
        raise unknown_name(kind, name, registry, where=f"scoring.{kind}")


def _check_search(experiment: Experiment, parameters: SpaceParameters) -> None:
    from gansweep.search.schedulers import Compared, check_scheduler

    objectives = [objective.name for objective in experiment.objectives]
    fixed = parameters.fixed(experiment.overrides)
    sampler = name_of(experiment.sampler)
    check_constraints(sampler, experiment.constraints)
    check_prune(experiment.prune)
    free = SpaceParameters(experiment, fixed)
    check_sampler(sampler, objectives, free)
    check_own_sampler(experiment.sampler, experiment.objectives, free)
    check_scheduler(Compared.of(experiment))


def _rehearse(experiment: Experiment, check: Callable[[TrialConfig], None], space: str) -> None:
    """Refuses a space without any trainable proposal. If some are trainable, the search skips the others."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    directions = [objective.direction for objective in experiment.objectives]
    study = optuna.create_study(directions=directions, sampler=optuna.samplers.RandomSampler(seed=0))
    for parameters in experiment.first_trials:
        study.enqueue_trial(parameters)
    first: GansweepError | None = None
    for _ in range(len(experiment.first_trials) + _DRAWS):
        try:
            with users_code(f"space {space}"):
                check(experiment.config(study.ask()))
        except GansweepError as refusal:
            first = first or refusal
        else:
            return
    assert first is not None
    raise first
