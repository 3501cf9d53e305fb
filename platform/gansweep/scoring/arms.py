"""Arms of the final comparison: what detectors trained with and without a generator's samples say of test images.

All arms make the same number of updates on batches of the same size, and detector number s of every arm starts from the
same weights (see `gansweep.scoring.networks.detection`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from gansweep.scoring.metrics.answers import Predictions
from gansweep.scoring.metrics.registry import metrics_of
from gansweep.scoring.networks.detection import Recipe, fraction_of_ratio, predict, train_detector
from gansweep.scoring.statistics.verdicts import Comparison, UndefinedError, compare_arms, interval

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from gansweep.contracts import ImageSet

__all__ = ["BASE", "COMPARED", "JudgedArms", "arm_names", "judge_arms", "real_arms", "run_arms", "synthetic_arms"]

BASE = "real"
"""Real images with classical augmentation in class-balanced batches: what synthetic images must beat."""

COMPARED = tuple(name for name, metric in metrics_of("answers").items() if metric.better == "higher")
"""What arms are compared by. Verdicts are told in percentage points, which the log loss has not."""

Interval = tuple[float, float, float]
"""Value, low and high."""

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
    return {
        **real_arms(recipe, real, test, seeds=seeds, device=device),
        **synthetic_arms(recipe, real, synthetic, test, ratios=ratios, seeds=seeds, device=device),
    }


def real_arms(
    recipe: Recipe, real: ImageSet, test: Tensor, *, seeds: Sequence[int], device: torch.device
) -> dict[str, Tensor]:
    """The arms of `run_arms` that know nothing of a generator, the base first."""
    return {
        name: _predicted(replace(recipe, **changes), real, None, 0.0, test, seeds, device)
        for name, changes in _REAL_ARMS.items()
    }


def synthetic_arms(
    recipe: Recipe,
    real: ImageSet,
    synthetic: ImageSet,
    test: Tensor,
    *,
    ratios: Sequence[float],
    seeds: Sequence[int],
    device: torch.device,
) -> dict[str, Tensor]:
    """The arms of `run_arms` that use a generator's samples."""
    fractions = (*map(fraction_of_ratio, ratios), 1.0)
    names = arm_names(ratios)[len(_REAL_ARMS) :]
    return {
        name: _predicted(recipe, real, synthetic, fraction, test, seeds, device)
        for name, fraction in zip(names, fractions, strict=True)
    }


def _predicted(
    recipe: Recipe,
    real: ImageSet,
    synthetic: ImageSet | None,
    synthetic_fraction: float,
    test: Tensor,
    seeds: Sequence[int],
    device: torch.device,
) -> Tensor:
    detectors = [train_detector(recipe, real, synthetic, synthetic_fraction, seed, device) for seed in seeds]
    return predict(detectors, test, device)


@dataclass(frozen=True)
class JudgedArms:
    """What the test patients say of one kind of generator.

    Args:
        trainings: generators behind each figure.
        arms: value, low and high of each of `COMPARED` that is defined, by arm; 95 % intervals over patients.
        comparisons: with `BASE`, by arm with synthetic images and metric.
        absent: why a metric or its comparison is missing, by arm and metric.
    """

    trainings: int
    arms: Mapping[str, Mapping[str, Interval]]
    comparisons: Mapping[str, Mapping[str, Comparison]]
    absent: Mapping[str, Mapping[str, str]]


def judge_arms(
    kinds: Mapping[str, Sequence[Mapping[str, Tensor]]], test: ImageSet, positive: int, *, seed: int = 0
) -> dict[str, JudgedArms]:
    """Every arm with synthetic images against its own kind's real one.

    P-values and verdicts are corrected, metric by metric, over every claim that is made of these patients. Each kind
    has its own base: where views differ (size, crop), so do the real images, and a gain must not be due to that. A
    metric that an arm does not define is absent there, and with a base's so are the comparisons with it.

    Args:
        kinds: what `run_arms` gave for each training of each kind.
        test: the images that `run_arms` was given, with labels and patients.
        positive: the class that sensitivity, specificity and AUROC are about.
        seed: of the bootstrap.

    Raises:
        ConfigError: too few trainings.
    """

    def predictions(its_arms: Sequence[Mapping[str, Tensor]], name: str) -> Predictions:
        # A training is a generator: its detectors' mean is what it gives.
        mean = torch.stack([arms[name].double().mean(0) for arms in its_arms])
        return Predictions(mean.numpy(), test.labels.numpy(), test.patients, positive)

    found = {kind: {name: predictions(its_arms, name) for name in its_arms[0]} for kind, its_arms in kinds.items()}
    measured = {kind: {name: _measured(arm, seed) for name, arm in arms.items()} for kind, arms in found.items()}
    absent = {kind: _absent({name: reasons for name, (_, reasons) in arms.items()}) for kind, arms in measured.items()}
    claimed = {kind: [name for name in arms if name not in _REAL_ARMS] for kind, arms in found.items()}
    verdicts = {
        metric: compare_arms(
            {
                f"{kind}/{name}": (found[kind][BASE], found[kind][name])
                for kind, names in claimed.items()
                for name in names
                if metric not in absent[kind][name]
            },
            metric,
            seed=seed,
        )
        for metric in COMPARED
    }
    return {
        kind: JudgedArms(
            len(kinds[kind]),
            {name: intervals for name, (intervals, _) in arms.items()},
            {
                name: {m: verdicts[m][f"{kind}/{name}"] for m in COMPARED if m not in absent[kind][name]}
                for name in claimed[kind]
            },
            absent[kind],
        )
        for kind, arms in measured.items()
    }


def _measured(arm: Predictions, seed: int) -> tuple[dict[str, Interval], dict[str, str]]:
    """Each metric with its interval, and why there is none of the others."""
    intervals: dict[str, Interval] = {}
    reasons: dict[str, str] = {}
    for metric in COMPARED:
        try:
            intervals[metric] = interval(arm, metric, seed=seed)
        except UndefinedError as undefined:
            reasons[metric] = undefined.what
    return intervals, reasons


def _absent(reasons: Mapping[str, Mapping[str, str]]) -> dict[str, dict[str, str]]:
    """Why an arm's metric or its comparison is missing: it is not defined there or, with that reason, in the base."""
    of_base = {metric: f"{BASE}: {reason}" for metric, reason in reasons[BASE].items()}
    return {name: dict(own) if name in _REAL_ARMS else {**of_base, **own} for name, own in reasons.items()}
