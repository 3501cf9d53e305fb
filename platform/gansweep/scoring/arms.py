"""Arms of the final comparison: detectors trained with and without synthetic images, evaluated on test images.

All arms make the same number of updates on batches of the same size. Detector number s of every arm starts from the
same weights (see `gansweep.scoring.networks.detection`).

Three kinds of arms need no generator: the base, controls that measure the effect of augmentation and oversampling, and
rivals. A rival is a cheap way to get more out of few patients: an augmentation, or real lesions pasted into controls.
Synthetic images help only if they are better than the base and better than the best rival.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch

from gansweep.scoring.lesion_pasting import can_paste, paste_lesions
from gansweep.scoring.metrics.answers import Predictions
from gansweep.scoring.metrics.registry import METRICS, metrics_of
from gansweep.scoring.networks.detection import Recipe, fraction_of_ratio, predict, train_detectors
from gansweep.scoring.statistics.verdicts import Comparison, UndefinedError, compare_arms, interval

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from gansweep.contracts import ImageSet

__all__ = [
    "BASE",
    "COMPARED",
    "RIVALS",
    "JudgedArms",
    "arm_names",
    "judge_arms",
    "real_arms",
    "rival_arms",
    "run_arms",
    "synthetic_arms",
    "without_synthetic",
]

BASE = "real"
"""Real images with classical augmentation in class-balanced batches. Synthetic images must beat this arm."""

COMPARED = tuple(name for name, metric in metrics_of("answers").items() if metric.better == "higher")
"""Metrics by which arms are compared. Verdicts are in percentage points, so the log loss is excluded."""

Interval = tuple[float, float, float]
"""Value, lower bound and upper bound."""

_REAL_ARMS: dict[str, dict[str, Any]] = {
    BASE: {},
    "real, not oversampled": {"balanced": False},
    "real, not augmented": {"augmentation": None},
}

_AUGMENTED = {
    "mixup": "real + MixUp",
    "cutmix": "real + CutMix",
    "elastic": "real + elastic augmentation",
    "intensity": "real + intensity augmentation",
}
_PASTED = {"paste": "real + pasted lesions", "blend": "real + blended lesions"}

RIVALS = {**_AUGMENTED, **_PASTED}
"""Names of the rivals' arms, by rival."""

_PASTED_IMAGES = 512
"""Number of images with pasted lesions in an arm. A batch has one of them for each real image."""


def arm_names(ratios: Sequence[float]) -> tuple[str, ...]:
    """Returns the names of the arms that `run_arms` evaluates without rivals, the base first."""
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
    """Returns class probabilities `[s, n, classes]` of each arm's s detectors for the n test images.

    Args:
        recipe: training recipe of the base arm.
        real: training images.
        synthetic: samples of one generator, of every class that it makes.
        test: test images `[n, C, H, W]` of patients that neither the generator nor the search has seen.
        ratios: numbers of synthetic images per real image, one arm each.
        seeds: seeds of the detectors. Arms share the random numbers of each seed.
        device: training device.
    """
    return {
        **real_arms(recipe, real, test, seeds=seeds, device=device),
        **synthetic_arms(recipe, real, synthetic, test, ratios=ratios, seeds=seeds, device=device),
    }


def real_arms(
    recipe: Recipe, real: ImageSet, test: Tensor, *, seeds: Sequence[int], device: torch.device
) -> dict[str, Tensor]:
    """Evaluates the arms of `run_arms` that need no generator, the base first."""
    return {
        name: _predicted(replace(recipe, **changes), real, None, 0.0, test, seeds, device)
        for name, changes in _REAL_ARMS.items()
    }


def rival_arms(
    recipe: Recipe,
    real: ImageSet,
    test: Tensor,
    *,
    rivals: Sequence[str],
    positive: int,
    seeds: Sequence[int],
    device: torch.device,
) -> dict[str, Tensor]:
    """Returns class probabilities `[s, n, classes]` of the rivals' arms; see `run_arms`.

    Impossible rivals are omitted: pasted lesions without masks, and the augmentation that the base already uses.

    Args:
        recipe: training recipe of the base arm.
        real: training images. Lesions can be pasted if they have masks.
        test: test images `[n, C, H, W]`.
        rivals: keys of `RIVALS`.
        positive: index of the class with lesions.
        seeds: seeds of the detectors. The first is also the seed of the pasted lesions.
        device: training device.
    """
    found: dict[str, Tensor] = {}
    for rival in rivals:
        if rival in _AUGMENTED and rival != recipe.augmentation:
            changed = replace(recipe, augmentation=rival)
            found[RIVALS[rival]] = _predicted(changed, real, None, 0.0, test, seeds, device)
        elif rival in _PASTED and can_paste(real, positive):
            pasted = paste_lesions(real, positive, _PASTED_IMAGES, blend=rival == "blend", seed=seeds[0])
            found[RIVALS[rival]] = _predicted(recipe, real, pasted, fraction_of_ratio(1.0), test, seeds, device)
    return found


def without_synthetic(arms: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns the arms that need no generator: those of `real_arms` and `rival_arms`."""
    return {name: said for name, said in arms.items() if name in _REAL_ARMS or name in RIVALS.values()}


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
    """Evaluates the arms of `run_arms` that use a generator's samples."""
    fractions = [fraction_of_ratio(ratio) for ratio in ratios]
    fractions.append(1.0)  # the arm without real images
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
    detectors = train_detectors(recipe, real, synthetic, synthetic_fraction, seeds, device)
    return predict(detectors, test, device)


@dataclass(frozen=True)
class JudgedArms:
    """Results of one kind of generator on the test patients.

    Args:
        trainings: number of generators behind each figure.
        arms: value, lower and upper bound of each metric in `COMPARED` that is defined, by arm; 95 % intervals over
            patients.
        comparisons: comparisons with `BASE`, by synthetic arm and metric. The verdict is *helps* only if the arm is
            also better than the best rival.
        absent: why a metric or its comparison is missing, by arm and metric.
        rivals: comparisons of the rivals with `BASE`, by arm and metric.
        best_rival: arm of the rival with the best value, by metric; empty if there are no rivals.
        over_rival: comparisons with the best rival, by synthetic arm and metric.
    """

    trainings: int
    arms: Mapping[str, Mapping[str, Interval]]
    comparisons: Mapping[str, Mapping[str, Comparison]]
    absent: Mapping[str, Mapping[str, str]]
    rivals: Mapping[str, Mapping[str, Comparison]] = field(default_factory=dict)
    best_rival: Mapping[str, str] = field(default_factory=dict)
    over_rival: Mapping[str, Mapping[str, Comparison]] = field(default_factory=dict)


def judge_arms(
    kinds: Mapping[str, Sequence[Mapping[str, Tensor]]], test: ImageSet, positive: int, *, seed: int = 0
) -> dict[str, JudgedArms]:
    """Compares every synthetic arm with the base arm of its own kind and with its best rival.

    P-values and verdicts are corrected per metric, over all claims of the same type about these patients: synthetic
    images against the base, rivals against the base, and synthetic images against the best rival. Each kind has its own
    base, because different data views (size, crop) have different real images and a gain must not come from the view. A
    metric that is undefined for an arm is absent there. If it is undefined for the base, all comparisons with the base
    are absent.

    The best rival is selected on the test patients themselves. Selecting the best of several overestimates it, which
    makes the comparison harder for the synthetic images, never easier.

    Args:
        kinds: results of `run_arms` and `rival_arms` for each training of each kind.
        test: the test images passed to `run_arms`, with labels and patients.
        positive: positive class for sensitivity, specificity and AUROC.
        seed: seed of the bootstrap.

    Raises:
        ConfigError: there are too few trainings.
    """
    results = {kind: _KindResults.of(trainings, test, positive, seed) for kind, trainings in kinds.items()}
    synthetic = {kind: result.synthetic_arms() for kind, result in results.items()}
    rivals = {kind: result.rival_arms() for kind, result in results.items()}
    base = {kind: dict.fromkeys(COMPARED, BASE) for kind in kinds}
    best_rivals = {kind: result.best_rivals() for kind, result in results.items()}
    against_base = _compared(results, synthetic, base, seed)
    rivals_against_base = _compared(results, rivals, base, seed)
    over_rival = _compared(results, synthetic, best_rivals, seed)
    judged: dict[str, JudgedArms] = {}
    for kind, result in results.items():
        judged[kind] = JudgedArms(
            trainings=result.trainings,
            arms=result.intervals,
            comparisons=_beyond_rivals(against_base[kind], over_rival[kind]),
            absent=result.absent,
            rivals=rivals_against_base[kind],
            best_rival=best_rivals[kind],
            over_rival=over_rival[kind],
        )
    return judged


@dataclass(frozen=True)
class _KindResults:
    """Predictions and metrics of the arms of one kind.

    Args:
        trainings: number of trainings.
        predictions: predictions by arm.
        intervals: metrics with their intervals, by arm and metric.
        absent: why a metric or its comparison is missing, by arm and metric.
    """

    trainings: int
    predictions: Mapping[str, Predictions]
    intervals: Mapping[str, Mapping[str, Interval]]
    absent: Mapping[str, Mapping[str, str]]

    @classmethod
    def of(cls, trainings: Sequence[Mapping[str, Tensor]], test: ImageSet, positive: int, seed: int) -> _KindResults:
        """Evaluates every arm of the trainings of one kind."""
        predictions: dict[str, Predictions] = {}
        intervals: dict[str, dict[str, Interval]] = {}
        reasons: dict[str, dict[str, str]] = {}
        for name in trainings[0]:
            # One training is one generator: its prediction is the mean over its detectors.
            mean = torch.stack([arms[name].double().mean(0) for arms in trainings])
            predictions[name] = Predictions(mean.numpy(), test.labels.numpy(), test.patients, positive)
            intervals[name], reasons[name] = _measured(predictions[name], seed)
        return cls(len(trainings), predictions, intervals, _absent(reasons))

    def rival_arms(self) -> list[str]:
        """Returns the names of the rivals' arms."""
        return [name for name in self.predictions if name in RIVALS.values()]

    def synthetic_arms(self) -> list[str]:
        """Returns the names of the arms with a generator's samples."""
        others = {*_REAL_ARMS, *RIVALS.values()}
        return [name for name in self.predictions if name not in others]

    def best_rivals(self) -> dict[str, str]:
        """Returns the rival with the best value, by metric."""
        best: dict[str, str] = {}
        for metric in COMPARED:
            values = {
                name: self.intervals[name][metric][0] for name in self.rival_arms() if metric in self.intervals[name]
            }
            if values:
                choose = min if METRICS[metric].better == "lower" else max
                best[metric] = choose(values, key=values.__getitem__)
        return best


def _compared(
    results: Mapping[str, _KindResults],
    arms: Mapping[str, Sequence[str]],
    others: Mapping[str, Mapping[str, str]],
    seed: int,
) -> dict[str, dict[str, dict[str, Comparison]]]:
    """Compares arms with other arms of their kind, and corrects each metric over all kinds.

    Args:
        results: results by kind.
        arms: arms to compare, by kind.
        others: the arm to compare them with, by kind and metric.
        seed: seed of the bootstrap.

    Returns:
        Comparisons by kind, arm and metric.
    """
    found: dict[str, dict[str, dict[str, Comparison]]] = {}
    for kind, names in arms.items():
        found[kind] = {name: {} for name in names}
    for metric in COMPARED:
        pairs: dict[str, tuple[Predictions, Predictions]] = {}
        for kind, names in arms.items():
            result = results[kind]
            other = others[kind].get(metric)
            for name in names:
                if other is not None and metric not in result.absent[name]:
                    pairs[f"{kind}/{name}"] = (result.predictions[other], result.predictions[name])
        verdicts = compare_arms(pairs, metric, seed=seed)
        for kind, names in arms.items():
            for name in names:
                if f"{kind}/{name}" in verdicts:
                    found[kind][name][metric] = verdicts[f"{kind}/{name}"]
    return found


def _beyond_rivals(
    against_base: Mapping[str, Mapping[str, Comparison]], over_rival: Mapping[str, Mapping[str, Comparison]]
) -> dict[str, dict[str, Comparison]]:
    """Returns the comparisons with the base. *helps* becomes *no evidence* unless the best rival is beaten too."""
    found: dict[str, dict[str, Comparison]] = {}
    for name, by_metric in against_base.items():
        found[name] = {}
        for metric, comparison in by_metric.items():
            rival = over_rival[name].get(metric)
            beaten = rival is None or rival.verdict == "helps"
            helps = comparison.verdict == "helps" and not beaten
            found[name][metric] = replace(comparison, verdict="no evidence") if helps else comparison
    return found


def _measured(arm: Predictions, seed: int) -> tuple[dict[str, Interval], dict[str, str]]:
    """Returns each metric with its interval, and the reasons for missing metrics."""
    intervals: dict[str, Interval] = {}
    reasons: dict[str, str] = {}
    for metric in COMPARED:
        try:
            intervals[metric] = interval(arm, metric, seed=seed)
        except UndefinedError as undefined:
            reasons[metric] = undefined.what
    return intervals, reasons


def _absent(reasons: Mapping[str, Mapping[str, str]]) -> dict[str, dict[str, str]]:
    """Returns why a metric or its comparison is missing: it is undefined for the arm itself, or for the base."""
    of_base = {metric: f"{BASE}: {reason}" for metric, reason in reasons[BASE].items()}
    absent: dict[str, dict[str, str]] = {}
    for name, own in reasons.items():
        absent[name] = dict(own) if name in _REAL_ARMS else {**of_base, **own}
    return absent
