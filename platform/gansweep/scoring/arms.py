"""Arms of the final comparison: what detectors trained with and without a generator's samples say of test images.

All arms make the same number of updates on batches of the same size, and detector number s of every arm starts from the
same weights (see `gansweep.scoring.detection`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from gansweep.scoring.detection import Recipe, predict, synthetic_share, train_detector
from gansweep.scoring.statistics import Comparison, Predictions, compare_arms, interval

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from gansweep.contracts import ImageSet

__all__ = ["BASE", "METRICS", "JudgedArms", "arm_names", "judge_arms", "run_arms"]

BASE = "real"
"""Real images with classical augmentation in class-balanced batches: what synthetic images must beat."""

METRICS = ("accuracy", "sensitivity", "specificity", "auroc")
"""What arms are compared by."""

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


@dataclass(frozen=True)
class JudgedArms:
    """What the test patients say of one kind of generator.

    Args:
        trainings: generators behind each figure.
        arms: value, low and high of each of `METRICS`, by arm; 95 % intervals over patients.
        comparisons: with `BASE`, by arm with synthetic images and metric.
    """

    trainings: int
    arms: Mapping[str, Mapping[str, tuple[float, float, float]]]
    comparisons: Mapping[str, Mapping[str, Comparison]]


def judge_arms(
    kinds: Mapping[str, Sequence[Mapping[str, Tensor]]], test: ImageSet, positive: int, *, seed: int = 0
) -> dict[str, JudgedArms]:
    """Every arm with synthetic images against the real one, for all kinds of generator together.

    P-values and verdicts are corrected, metric by metric, over every claim that is made of these patients. All kinds
    are compared with the base of the first: it knows nothing of generators, and its detectors have the same seeds.

    Args:
        kinds: what `run_arms` gave for each training of each kind, in the same order of detector seeds. Of a kind with
            more trainings than another, the last are left out.
        test: the images that `run_arms` was given, with labels and patients.
        positive: the class that sensitivity, specificity and AUROC are about.
        seed: of the bootstrap.

    Raises:
        ConfigError: too few trainings, or fewer than two test patients in a class.
    """
    trainings = min(map(len, kinds.values()))

    def predictions(its_arms: Sequence[Mapping[str, Tensor]], name: str) -> Predictions:
        # A training is a generator: its detectors' mean is what it gives.
        mean = torch.stack([arms[name].double().mean(0) for arms in its_arms[:trainings]])
        return Predictions(mean.numpy(), test.labels.numpy(), test.patients, positive)

    found = {kind: {name: predictions(its_arms, name) for name in its_arms[0]} for kind, its_arms in kinds.items()}
    base = next(iter(found.values()))[BASE]
    claims = {(kind, name): arm for kind, arms in found.items() for name, arm in arms.items() if "synth" in name}
    names = {f"{kind}/{name}": arm for (kind, name), arm in claims.items()}
    verdicts = {metric: compare_arms(base, names, metric, seed=seed) for metric in METRICS}
    return {
        kind: JudgedArms(
            trainings,
            {name: {metric: interval(arm, metric, seed=seed) for metric in METRICS} for name, arm in arms.items()},
            {
                name: {metric: verdicts[metric][f"{kind}/{name}"] for metric in METRICS}
                for name in arms
                if (kind, name) in claims
            },
        )
        for kind, arms in found.items()
    }
