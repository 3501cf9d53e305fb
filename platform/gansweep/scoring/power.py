"""What a cohort's patients can show at most, known before any generator is trained.

The detectors that learn from real images alone are measured on the validation patients, beside the rivals that need no
generator. No synthetic image can bring more than all that is missing there: a detector that is never wrong. If the test
patients are too few to show even that, no search can change it.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gansweep import cache
from gansweep.scoring.arms import rival_arms
from gansweep.scoring.metrics.answers import Predictions, mean_over_trainings
from gansweep.scoring.metrics.registry import METRICS
from gansweep.scoring.statistics.proportions import cases_needed, detectable

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import torch
    from torch import Tensor

    from gansweep.scoring.reference import Reference

__all__ = ["Power", "Rivals", "measure_rivals", "power_of"]

log = logging.getLogger(__name__)

_MEASURES = ("accuracy", "auroc")


@dataclass(frozen=True)
class Power:
    """What test patients can show of a change in accuracy.

    Args:
        accuracy: of detectors that learn from real images alone, on validation patients.
        gain: the most that any change can bring: a detector that is never wrong.
        shown: the smallest change that the test patients would show four times out of five, were it that large.
        needed: test patients that would show the largest gain; None where there is none.
        validation, test: patients.
    """

    accuracy: float
    gain: float
    shown: float
    needed: int | None
    validation: int
    test: int

    @property
    def hopeless(self) -> bool:
        """Whether not even the largest gain would be shown."""
        return self.needed is None or self.needed > self.test


@dataclass(frozen=True)
class Rivals:
    """What the rivals give on validation patients.

    Args:
        scores: `accuracy` and `auroc` by arm, those of real images alone first.
        seconds: that one detector took to train; 0 where there is no rival.
    """

    scores: dict[str, dict[str, float]]
    seconds: float

    def best(self, measure: str = "accuracy") -> str | None:
        """The rival with the highest value; None where there is no rival."""
        rivals = list(self.scores)[1:]
        return max(rivals, key=lambda name: self.scores[name][measure], default=None)


def power_of(accuracy: float, validation: int, test: int, claims: int) -> Power:
    """What so many test patients can show.

    Args:
        accuracy: of real images alone, measured on the validation patients.
        validation: patients that it was measured on.
        test: patients that a verdict will be about.
        claims: comparisons that the verdict is corrected for.
    """
    shown = detectable(1.0, accuracy, test, known_from=validation, claims=claims)
    needed = cases_needed(1.0, accuracy, known_from=validation, claims=claims)
    return Power(accuracy, 1.0 - accuracy, shown, needed, validation, test)


def measure_rivals(real: Reference, rivals: Sequence[str], folder: Path, device: torch.device) -> Rivals:
    """Detectors with each rival, on validation patients; kept in the cache.

    Args:
        real: the reference of the cohort, with a baseline.
        rivals: keys of `gansweep.scoring.arms.RIVALS`.
        folder: of the cache.
        device: where to train.
    """
    assert real.baseline is not None
    base = real.baseline
    seeds = range(len(base.probabilities))
    # The baseline's own predictions name cohort, view, detector and recipe.
    named = cache.key(base=base.probabilities.tolist(), rivals=list(rivals), steps=base.recipe.steps)
    path = folder / f"rivals-{named}.pt"
    with cache.locked(path):
        kept = cache.read(path)
        if kept is None:
            log.info("training detectors with each rival: %s", ", ".join(rivals) or "none")
            began = time.monotonic()
            arms = rival_arms(
                base.recipe,
                real.train,
                real.val.images,
                rivals=rivals,
                positive=real.positive,
                seeds=list(seeds),
                device=device,
            )
            seconds = (time.monotonic() - began) / max(1, len(arms) * len(seeds))
            kept = {"arms": arms, "seconds": seconds}
            cache.write(path, kept)
    scores = {"real": _scores(base.probabilities, real)}
    return Rivals(scores | {name: _scores(said, real) for name, said in kept["arms"].items()}, kept["seconds"])


def _scores(probabilities: Tensor, real: Reference) -> dict[str, float]:
    answers = Predictions(probabilities.numpy(), real.val.labels.numpy(), real.val.patients, real.positive)
    return {name: mean_over_trainings(METRICS[name].compute, answers) for name in _MEASURES}
