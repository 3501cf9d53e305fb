"""Arms of the final comparison: what detectors trained with and without a generator's samples say of test images.

All arms make the same number of updates on batches of the same size, and detector number s of every arm starts from the
same weights (see `gansweep.scoring.detection`).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from gansweep.scoring.detection import Recipe, predict, synthetic_share, train_detector

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch
    from torch import Tensor

    from gansweep.contracts import ImageSet

__all__ = ["BASE", "arm_names", "run_arms"]

BASE = "real"
"""Real images with classical augmentation in class-balanced batches: what synthetic images must beat."""

_REAL_ARMS: dict[str, dict[str, Any]] = {
    BASE: {},
    "real, not oversampled": {"balanced": False},
    "real, not augmented": {"augment": False},
}


def arm_names(ratios: Sequence[float]) -> tuple[str, ...]:
    """Names of the arms that `run_arms` gives, the base first."""
    return (*_REAL_ARMS, *(f"real + {ratio:g} synthetic" for ratio in ratios), "synthetic only")


def run_arms(
    recipe: Recipe,
    real: ImageSet,
    synthetic: ImageSet,
    test: Tensor,
    *,
    ratios: Sequence[float],
    seeds: Sequence[int],
    device: torch.device,
) -> dict[str, Tensor]:
    """Class probabilities `[s, n, classes]` of each arm's s detectors for the n test images.

    Args:
        recipe: of the base arm.
        real: training images.
        synthetic: one generator's samples, of every class it makes.
        test: `[n, C, H, W]` images of patients neither the generator nor the search has seen.
        ratios: synthetic images per real one, an arm each.
        seeds: of the detectors; pairs of arms share their chance seed by seed.
        device: where to train.
    """
    shares = [0.0] * len(_REAL_ARMS) + [synthetic_share(ratio) for ratio in ratios] + [1.0]
    recipes = [replace(recipe, **changes) for changes in _REAL_ARMS.values()] + [recipe] * (len(ratios) + 1)
    found = {}
    for name, share, its_recipe in zip(arm_names(ratios), shares, recipes, strict=True):
        samples = synthetic if share else None
        detectors = [train_detector(its_recipe, real, samples, share, seed, device) for seed in seeds]
        found[name] = predict(detectors, test, device)
    return found
