"""Arms of the final comparison: what detectors trained with and without a generator's samples say of test images.

All arms make the same number of updates on batches of the same size, and detector number s of every arm starts from the
same weights (see `gansweep.scoring.networks.detection`).

Three kinds of arms need no generator: the base, controls that say what augmentation and oversampling are worth, and
rivals. A rival is a cheap way to make more of few patients: an augmentation, or real lesions pasted into controls.
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
]

BASE = "real"
"""Real images with classical augmentation in class-balanced batches: what synthetic images must beat."""

COMPARED = tuple(name for name, metric in metrics_of("answers").items() if metric.better == "higher")
"""What arms are compared by. Verdicts are told in percentage points, which the log loss has not."""

Interval = tuple[float, float, float]
"""Value, low and high."""

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
"""Names of the rivals' arms, by the name of the rival."""

_PASTED_IMAGES = 512
"""Images with pasted lesions behind an arm, one of them for each real image of a batch."""


def arm_names(ratios: Sequence[float]) -> tuple[str, ...]:
    """Names of the arms that `run_arms` gives without rivals, the base first."""
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
    """Class probabilities `[s, n, classes]` of the arms that a generator has to beat; see `run_arms`.

    A rival that cannot be had is left out: pasted lesions without masks, and the augmentation that the base has.

    Args:
        recipe: of the base arm.
        real: training images; with masks, lesions can be pasted.
        test: `[n, C, H, W]`.
        rivals: keys of `RIVALS`.
        positive: the class with lesions.
        seeds: of the detectors. The first is that of the pasted lesions too.
        device: where to train.
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
    return predict(train_detectors(recipe, real, synthetic, synthetic_fraction, seeds, device), test, device)


@dataclass(frozen=True)
class JudgedArms:
    """What the test patients say of one kind of generator.

    Args:
        trainings: generators behind each figure.
        arms: value, low and high of each of `COMPARED` that is defined, by arm; 95 % intervals over patients.
        comparisons: with `BASE`, by arm with synthetic images and metric. An arm *helps* only if it is better than the
            best rival too.
        absent: why a metric or its comparison is missing, by arm and metric.
        rivals: comparisons of the rivals with `BASE`, by arm and metric.
        best_rival: the arm of the rival with the highest value, by metric; empty where there are no rivals.
        over_rival: comparisons with the best rival, by arm with synthetic images and metric.
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
    """Every arm with synthetic images against its own kind's real one, and against its best rival.

    P-values and verdicts are corrected, metric by metric, over every claim of one sort that is made of these patients:
    synthetic images against the base, rivals against the base, synthetic images against the best rival. Each kind has
    its own base: where views differ (size, crop), so do the real images, and a gain must not be due to that. A metric
    that an arm does not define is absent there, and with a base's so are the comparisons with it.

    The best rival is chosen by the test patients themselves. Chance makes the best of several look better than it is,
    which speaks against the synthetic images and never for them.

    Args:
        kinds: what `run_arms` and `rival_arms` gave for each training of each kind.
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

    said = {kind: {name: predictions(its_arms, name) for name in its_arms[0]} for kind, its_arms in kinds.items()}
    found = {kind: {name: _measured(arm, seed) for name, arm in arms.items()} for kind, arms in said.items()}
    absent = {kind: _absent({name: reasons for name, (_, reasons) in arms.items()}) for kind, arms in found.items()}
    rivals = {kind: [name for name in arms if name in RIVALS.values()] for kind, arms in said.items()}
    synthetic = {
        kind: [name for name in arms if name not in _REAL_ARMS and name not in RIVALS.values()]
        for kind, arms in said.items()
    }
    intervals = {kind: {name: values for name, (values, _) in arms.items()} for kind, arms in found.items()}
    best = {kind: _best_of(rivals[kind], intervals[kind]) for kind in kinds}
    claims = _Claims(said, absent, seed)
    against_base = claims.compared(synthetic, {kind: dict.fromkeys(COMPARED, BASE) for kind in kinds})
    of_rivals = claims.compared(rivals, {kind: dict.fromkeys(COMPARED, BASE) for kind in kinds})
    over_rival = claims.compared(synthetic, best)
    return {
        kind: JudgedArms(
            len(kinds[kind]),
            intervals[kind],
            _beyond_rivals(against_base[kind], over_rival[kind]),
            absent[kind],
            of_rivals[kind],
            best[kind],
            over_rival[kind],
        )
        for kind in kinds
    }


@dataclass(frozen=True)
class _Claims:
    """Comparisons of arms, corrected over all kinds.

    Args:
        said: what each arm's detectors say, by kind and arm.
        absent: why a metric is missing, by kind, arm and metric.
        seed: of the bootstrap.
    """

    said: Mapping[str, Mapping[str, Predictions]]
    absent: Mapping[str, Mapping[str, Mapping[str, str]]]
    seed: int

    def compared(
        self, arms: Mapping[str, Sequence[str]], others: Mapping[str, Mapping[str, str]]
    ) -> dict[str, dict[str, dict[str, Comparison]]]:
        """Each kind's `arms` with that one of its `others` which is named for the metric."""
        found: dict[str, dict[str, dict[str, Comparison]]] = {
            kind: {name: {} for name in names} for kind, names in arms.items()
        }
        for metric in COMPARED:
            pairs = {
                f"{kind}/{name}": (self.said[kind][others[kind][metric]], self.said[kind][name])
                for kind, names in arms.items()
                for name in names
                if metric in others[kind] and metric not in self.absent[kind][name]
            }
            verdicts = compare_arms(pairs, metric, seed=self.seed)
            for kind, names in arms.items():
                for name in names:
                    if f"{kind}/{name}" in verdicts:
                        found[kind][name][metric] = verdicts[f"{kind}/{name}"]
        return found


def _best_of(rivals: Sequence[str], intervals: Mapping[str, Mapping[str, Interval]]) -> dict[str, str]:
    """The rival with the best value, by metric."""
    best: dict[str, str] = {}
    for metric in COMPARED:
        values = {name: intervals[name][metric][0] for name in rivals if metric in intervals[name]}
        if values:
            sign = -1 if METRICS[metric].better == "lower" else 1
            best[metric] = max(values, key=lambda name: sign * values[name])
    return best


def _beyond_rivals(
    against_base: Mapping[str, Mapping[str, Comparison]], over_rival: Mapping[str, Mapping[str, Comparison]]
) -> dict[str, dict[str, Comparison]]:
    """The comparisons with the base; *helps* becomes *no evidence* where the best rival is not beaten too."""
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
