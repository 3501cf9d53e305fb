"""Statistical power of a cohort: the gain that its test patients can detect, before any generator is trained.

Detectors trained on real images alone, and the rivals that need no generator, are evaluated on the validation patients.
The largest possible gain of synthetic images is a detector that is never wrong. If the test patients are too few to
detect even that gain, no search can succeed.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gansweep import cache
from gansweep.devices import cpu_threads, seconds_of_steps
from gansweep.scoring.arms import rival_arms
from gansweep.scoring.metrics.answers import Predictions, mean_over_trainings
from gansweep.scoring.metrics.registry import METRICS
from gansweep.scoring.statistics.elementary import wilson_bounds
from gansweep.scoring.statistics.proportions import cases_needed, detectable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import torch
    from torch import Tensor, nn

    from gansweep.contracts import ImageSet
    from gansweep.scoring.networks.recipe import Recipe
    from gansweep.scoring.reference import Reference

__all__ = ["NetworkSeconds", "Power", "Rivals", "measure_rivals", "network_seconds", "power_of"]

log = logging.getLogger(__name__)

_NORMAL_95 = 1.96
_MEASURES = ("accuracy", "auroc")


@dataclass(frozen=True)
class Power:
    """Power of the test patients to detect a change in accuracy.

    Args:
        accuracy: accuracy of detectors trained on real images alone, on validation patients.
        gain: largest possible gain: up to a detector that is never wrong.
        shown: smallest change that the test patients detect with 80 % power.
        needed: number of test patients that would detect the largest gain; None if the gain is zero.
        validation, test: numbers of patients.
    """

    accuracy: float
    gain: float
    shown: float
    needed: int | None
    validation: int
    test: int

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of the accuracy over validation patients (Wilson 1927)."""
        return wilson_bounds(self.accuracy, self.validation, _NORMAL_95)

    @property
    def hopeless(self) -> bool:
        """Whether the test patients are too few to detect even the largest gain, if the accuracy is as estimated."""
        return self.needed is None or self.needed > self.test


@dataclass(frozen=True)
class Rivals:
    """Scores of the rivals on validation patients.

    Args:
        scores: `accuracy` and `auroc` by arm; the arm of real images alone is the first.
    """

    scores: dict[str, dict[str, float]]

    def best(self, measure: str = "accuracy") -> str | None:
        """Returns the rival with the highest value; None if there is no rival."""
        rivals = list(self.scores)[1:]
        return max(rivals, key=lambda name: self.scores[name][measure], default=None)


@dataclass(frozen=True)
class NetworkSeconds:
    """Estimated training times in seconds; see `network_seconds`.

    Args:
        detector: of one detector.
        segmenter: of one segmenter; 0 if none is trained.
    """

    detector: float
    segmenter: float = 0.0

    @property
    def both(self) -> float:
        """Training time of a detector and a segmenter."""
        return self.detector + self.segmenter


def power_of(accuracy: float, validation: int, test: int, claims: int) -> Power:
    """Returns the power of a number of test patients.

    Args:
        accuracy: accuracy of detectors trained on real images alone, on the validation patients.
        validation: number of validation patients.
        test: number of test patients.
        claims: number of comparisons for which the verdict is corrected.
    """
    shown = detectable(1.0, accuracy, test, known_from=validation, claims=claims)
    needed = cases_needed(1.0, accuracy, known_from=validation, claims=claims)
    return Power(accuracy, 1.0 - accuracy, shown, needed, validation, test)


def measure_rivals(real: Reference, rivals: Sequence[str], images: int, folder: Path, device: torch.device) -> Rivals:
    """Trains detectors with each rival and scores them on validation patients. The result is cached.

    Args:
        real: reference of the cohort, with a baseline.
        rivals: keys of `gansweep.scoring.arms.RIVALS`.
        images: number of images with pasted lesions.
        folder: cache folder.
        device: training device.
    """
    assert real.baseline is not None
    base = real.baseline
    seeds = range(len(base.probabilities))
    # The baseline's predictions identify cohort, view, detector and recipe.
    key = cache.key(base=base.probabilities.tolist(), rivals=list(rivals), images=images, steps=base.recipe.steps)
    path = folder / f"rivals-{key}.pt"
    with cache.locked(path):
        kept = cache.read(path)
        if kept is None:
            log.info("training detectors with each rival: %s", ", ".join(rivals) or "none")
            arms = rival_arms(
                base.recipe,
                real.train,
                real.val.images,
                rivals=rivals,
                images=images,
                positive=real.positive,
                seeds=list(seeds),
                device=device,
            )
            kept = {"arms": arms}
            cache.write(path, kept)
    scores = {"real": _scores(base.probabilities, real)}
    for name, probabilities in kept["arms"].items():
        scores[name] = _scores(probabilities, real)
    return Rivals(scores)


def network_seconds(
    train: Callable[..., list[nn.Module]], recipe: Recipe, real: ImageSet, seeds: Sequence[int], device: torch.device
) -> float:
    """Estimates the training time of one detector or segmenter in seconds.

    Args:
        train: `train_detectors` or `train_segmenters`.
        recipe: training recipe of the networks.
        real: training images.
        seeds: seeds of the networks of an arm, which a GPU trains together.
        device: training device. A CPU has one thread, as in a trial with one core.
    """

    def train_for(updates: int) -> None:
        train(replace(recipe, steps=updates), real, None, 0.0, seeds, device)

    with cpu_threads(1):
        return seconds_of_steps(train_for, recipe.steps, device) / len(seeds)


def _scores(probabilities: Tensor, real: Reference) -> dict[str, float]:
    answers = Predictions(probabilities.numpy(), real.val.labels.numpy(), real.val.patients, real.positive)
    return {name: mean_over_trainings(METRICS[name].compute, answers) for name in _MEASURES}
