"""Chooses how long trainings are, where a search has little time."""

from __future__ import annotations

import random
from statistics import fmean
from typing import TYPE_CHECKING, Any, cast

from gansweep.devices import out_of_memory
from gansweep.errors import Diverged, GansweepError
from gansweep.search.parameters import DrawnTrial
from gansweep.search.probe import training_seconds
from gansweep.search.spaces import users_code

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import optuna
    import torch

    from gansweep.cohort.dataset import Cohort
    from gansweep.config import TrialConfig
    from gansweep.experiment import Experiment

__all__ = ["LEAST_ITERATIONS", "iterations_within"]

LEAST_ITERATIONS = 100
"""Trainings are not shortened below this number of generator iterations."""
_DRAWN = 3  # configurations that are timed, beside the space's first


def iterations_within(
    seconds: float,
    experiment: Experiment,
    cohort: Cohort,
    check: Callable[[TrialConfig], None],
    seed: int,
    device: torch.device,
) -> int | None:
    """Returns the number of iterations that take the given time on average; None if the space's own take no longer.

    The space's first configuration and a few random ones are timed on this machine.

    Args:
        seconds: time for the training of one configuration, without its scores.
        experiment: the search.
        cohort: cohort to train on.
        check: raises a `GansweepError` if a configuration cannot be trained.
        seed: seed of the random configurations.
        device: device of the trainings.
    """
    timed = []
    for config in _some(experiment, check, seed):
        try:
            timed.append((config.iterations, training_seconds(config, cohort, experiment.trainables, device)))
        except (GansweepError, Diverged):
            continue  # such a trial takes no time
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
    if not timed:
        return None
    full, full_s = (fmean(values) for values in zip(*timed, strict=True))
    fitting = max(LEAST_ITERATIONS, experiment.reports, _rounded(full * seconds / full_s))
    return fitting if fitting < full else None


def _some(experiment: Experiment, check: Callable[[TrialConfig], None], seed: int) -> Iterator[TrialConfig]:
    draws = random.Random(seed)
    first: Mapping[str, Any] = next(iter(experiment.first_trials), {})
    for values in (first, *[{}] * _DRAWN):
        try:
            with users_code(f"space {experiment.name}"):
                config = experiment.config(cast("optuna.Trial", DrawnTrial(values, draws)))
            check(config)
        except GansweepError:
            continue
        yield config


def _rounded(iterations: float) -> int:
    """Returns a number with two significant digits, at most as large."""
    whole = int(iterations)
    step: int = 10 ** max(0, len(str(whole)) - 2)
    return whole // step * step
