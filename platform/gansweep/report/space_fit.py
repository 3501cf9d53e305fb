"""Determines which shipped search spaces fit a cohort, and how long an iteration of the best match takes here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gansweep.errors import ConfigError

if TYPE_CHECKING:
    from gansweep.cohort.dataset import Cohort
    from gansweep.config import TrialConfig
    from gansweep.experiment import Experiment

__all__ = ["SpaceFit", "fitting_spaces", "seconds_per_trial"]

# The space made for a kind of cohort: (modality, whether there are masks).
_NEAREST = {
    ("CT", True): "fahr_ct_masks",
    ("CT", False): "fahr_ct",
    ("MR", True): "brain_mri",
    ("MR", False): "brain_mri",
}


@dataclass(frozen=True)
class SpaceFit:
    """Whether a search space can be used for a cohort.

    Args:
        name: name of the space.
        problem: why its first configuration cannot be trained; "" if it can.
        iterations: number of generator iterations of that configuration; 0 if there is a problem.
        nearest: whether the space was made for this kind of cohort.
    """

    name: str
    problem: str
    iterations: int
    nearest: bool


def fitting_spaces(cohort: Cohort) -> list[SpaceFit]:
    """Returns all shipped spaces, those that fit first.

    Args:
        cohort: cohort to train on.
    """
    from gansweep.search.prechecks import config_checker
    from gansweep.search.spaces import known_spaces, load_space

    spec = cohort.spec()
    nearest = "translation" if spec.paired_channels else _NEAREST.get((cohort.info.modality, bool(spec.mask_channels)))
    fits = []
    for name in known_spaces():
        experiment = load_space(name)
        check = config_checker(experiment.trainables, cohort, workers=1, reports=experiment.reports)
        try:
            config = _first_config(experiment)
            check(config)
        except ConfigError as error:
            fits.append(SpaceFit(name, error.what, 0, nearest=False))
        else:
            fits.append(SpaceFit(name, "", config.iterations, nearest=name == nearest))
    return sorted(fits, key=lambda fit: (bool(fit.problem), not fit.nearest, fit.name))


def seconds_per_trial(cohort: Cohort, space: str) -> float:
    """Measures how long one trial of a space would train on this machine alone, on its GPU if it has one.

    Scoring is not included.

    Args:
        cohort: cohort to train on.
        space: a space that fits.
    """
    from gansweep.devices import device_of_trials
    from gansweep.search.probe import training_seconds
    from gansweep.search.spaces import load_space

    experiment = load_space(space)
    return training_seconds(_first_config(experiment), cohort, experiment.trainables, device_of_trials(1))


def _first_config(experiment: Experiment) -> TrialConfig:
    """Returns the first configuration that a sweep would try, or one drawn with seed 0."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    directions = [objective.direction for objective in experiment.objectives]
    study = optuna.create_study(directions=directions, sampler=optuna.samplers.RandomSampler(seed=0))
    for parameters in experiment.first_trials[:1]:
        study.enqueue_trial(parameters)
    return experiment.config(study.ask())
