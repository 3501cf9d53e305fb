"""Measures on this machine how long a configuration trains."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gansweep.cohort.dataset import Cohort
    from gansweep.config import TrialConfig
    from gansweep.contracts import Trainables

__all__ = ["training_seconds"]

_TIMED = 2  # timed iterations, after one that is not timed: a run has costs that do not grow with its length


def training_seconds(config: TrialConfig, cohort: Cohort, trainables: Trainables, *, threads: int = 1) -> float:
    """Returns how long a configuration would train on this machine alone, without scoring, in seconds.

    Args:
        config: the configuration, of which a few iterations are trained.
        cohort: cohort to train on.
        trainables: registry of the names in the configuration.
        threads: number of CPU threads. Ray gives a worker one for each of its cores.

    Raises:
        Diverged: the configuration diverges in its first iterations.
    """
    from gansweep.devices import cpu_threads

    with cpu_threads(threads):
        return _timed(config, cohort, trainables)


def _timed(config: TrialConfig, cohort: Cohort, trainables: Trainables) -> float:
    import torch

    from gansweep.training.build import build_gan
    from gansweep.training.loop import train
    from gansweep.training.reporters import MemoryReporter

    data = cohort.load("train", config.data)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    taken = []
    for iterations in (1, 1, 1 + _TIMED):  # the first run warms up: libraries are loaded, kernels chosen
        short = config.model_copy(update={"iterations": iterations})
        gan = build_gan(short, cohort.spec(config.data), trainables)
        began = time.perf_counter()
        train(short, gan, data, MemoryReporter(), lambda _sampler, _iteration: {}, reports=1, device=device)
        taken.append(time.perf_counter() - began)
    _, short_s, long_s = taken
    each_s = (long_s - short_s) / _TIMED
    if each_s <= 0:  # so fast that the clock's noise is larger
        each_s = long_s / (1 + _TIMED)
    return each_s * config.iterations
