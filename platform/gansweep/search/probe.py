"""Measures on this machine how long a configuration trains."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from gansweep.cohort.dataset import Cohort
    from gansweep.config import TrialConfig
    from gansweep.contracts import Trainables

__all__ = ["training_seconds"]


def training_seconds(
    config: TrialConfig, cohort: Cohort, trainables: Trainables, device: torch.device, *, threads: int = 1
) -> float:
    """Returns how long a configuration would train on this machine alone, without scoring, in seconds.

    Args:
        config: the configuration, of which a few iterations are trained.
        cohort: cohort to train on.
        trainables: registry of the names in the configuration.
        device: device of the training; see `gansweep.devices.device_of_trials`.
        threads: number of CPU threads. Ray gives a worker one for each of its cores.

    Raises:
        Diverged: the configuration diverges in its first iterations.
    """
    from gansweep.devices import cpu_threads, seconds_of_steps
    from gansweep.training.build import build_gan
    from gansweep.training.loop import train
    from gansweep.training.placement import training_images
    from gansweep.training.reporters import MemoryReporter

    data = training_images(cohort, config.data, device)

    def train_for(iterations: int) -> None:
        short = config.model_copy(update={"iterations": iterations})
        gan = build_gan(short, cohort.spec(config.data), trainables)
        train(short, gan, data, MemoryReporter(), lambda _sampler, _iteration: {}, reports=1, device=device)

    with cpu_threads(threads):
        return seconds_of_steps(train_for, config.iterations, device)
