"""Comparison of the arms of `confirm` on the test patients: values with intervals, and verdicts corrected together.

The same comparison serves detectors (see `gansweep.scoring.arms`) and segmenters (see `gansweep.scoring.mask_arms`).
Every synthetic arm is compared with the base arm of its own kind of generator and with its best rival.

P-values and verdicts are corrected per metric, over all claims of the same type about these patients: synthetic images
against the base, rivals against the base, and synthetic images against the best rival. Each kind has its own base,
because different data views (size, crop) have different real images and a gain must not come from the view. A metric
that is undefined for an arm is absent there. If it is undefined for the base, all comparisons with the base are absent.

The best rival is selected on the test patients themselves. Selecting the best of several overestimates it, which makes
the comparison harder for the synthetic images, never easier.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import torch

from gansweep.scoring.arms import BASE, REAL_ARMS, RIVALS
from gansweep.scoring.metrics.answers import Predictions
from gansweep.scoring.metrics.masks import MaskScores
from gansweep.scoring.metrics.registry import METRICS, metrics_of
from gansweep.scoring.networks.segmentation import with_lesion
from gansweep.scoring.statistics.verdicts import Comparison, UndefinedError, compare_arms, interval

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from gansweep.contracts import ImageSet
    from gansweep.scoring.statistics.estimates import ArmScores

__all__ = ["COMPARED", "COMPARED_OF_MASKS", "JudgedArms", "judge_arms", "judge_mask_arms"]

COMPARED = tuple(name for name, metric in metrics_of("answers").items() if metric.better == "higher")
"""Metrics by which arms of detectors are compared. Verdicts are in percentage points, so the log loss is excluded."""

COMPARED_OF_MASKS = tuple(name for name, metric in metrics_of("masks", trial=True).items() if metric.better == "higher")
"""Metrics by which arms of segmenters are compared."""

Interval = tuple[float, float, float]
"""Value, lower bound and upper bound."""


@dataclass(frozen=True)
class JudgedArms:
    """Results of one kind of generator on the test patients.

    Args:
        trainings: number of generators behind each figure.
        arms: value, lower and upper bound of each compared metric that is defined, by arm; 95 % intervals over
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
    """Compares the arms of detectors.

    Args:
        kinds: results of `run_arms` and `rival_arms` for each training of each kind.
        test: the test images passed to `run_arms`, with labels and patients.
        positive: positive class for sensitivity, specificity and AUROC.
        seed: seed of the bootstrap.

    Raises:
        ConfigError: there are too few trainings.
    """
    scores: dict[str, dict[str, ArmScores]] = {}
    for kind, trainings in kinds.items():
        scores[kind] = {}
        for name, probabilities in _by_training(trainings).items():
            scores[kind][name] = Predictions(probabilities.numpy(), test.labels.numpy(), test.patients, positive)
    return _judged(scores, COMPARED, seed)


def judge_mask_arms(
    kinds: Mapping[str, Sequence[Mapping[str, Tensor]]], tests: Mapping[str, ImageSet], *, seed: int = 0
) -> dict[str, JudgedArms]:
    """Compares the arms of segmenters.

    Args:
        kinds: results of `gansweep.scoring.mask_arms.MaskArms` for each training of each kind.
        tests: the test images of each kind, with masks and patients. A view may crop a lesion away.
        seed: seed of the bootstrap.

    Raises:
        ConfigError: there are too few trainings.
    """
    scores: dict[str, dict[str, ArmScores]] = {}
    for kind, trainings in kinds.items():
        marked = with_lesion(tests[kind]).tolist()
        patients = [patient for patient, has in zip(tests[kind].patients, marked, strict=True) if has]
        scores[kind] = {}
        for name, values in _by_training(trainings).items():
            by_metric = dict(zip(metrics_of("masks", trial=True), values.unbind(1), strict=True))
            scores[kind][name] = MaskScores({metric: one.numpy() for metric, one in by_metric.items()}, patients)
    return _judged(scores, COMPARED_OF_MASKS, seed)


def _by_training(trainings: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Returns the results of each arm, `[trainings, ...]`, as means over the networks `[s, ...]` of a training.

    One training is one generator, however many detectors or segmenters learned from its samples.
    """
    return {name: torch.stack([arms[name].double().mean(0) for arms in trainings]) for name in trainings[0]}


def _judged(kinds: Mapping[str, Mapping[str, ArmScores]], metrics: Sequence[str], seed: int) -> dict[str, JudgedArms]:
    """Compares the arms of all kinds together.

    Args:
        kinds: scores by kind and arm.
        metrics: metrics to compare.
        seed: seed of the bootstrap.

    Raises:
        ConfigError: there are too few trainings.
    """
    results = {kind: _KindResults.of(scores, metrics, seed) for kind, scores in kinds.items()}
    synthetic = {kind: result.synthetic_arms() for kind, result in results.items()}
    rivals = {kind: result.rival_arms() for kind, result in results.items()}
    base = {kind: dict.fromkeys(metrics, BASE) for kind in kinds}
    best_rivals = {kind: result.best_rivals() for kind, result in results.items()}
    against_base = _compared(results, synthetic, base, seed)
    rivals_against_base = _compared(results, rivals, base, seed)
    over_rival = _compared(results, synthetic, best_rivals, seed)
    judged: dict[str, JudgedArms] = {}
    for kind, result in results.items():
        judged[kind] = JudgedArms(
            trainings=result.scores[BASE].trainings,
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
    """Scores and metrics of the arms of one kind.

    Args:
        scores: scores by arm.
        metrics: metrics to compare.
        intervals: metrics with their intervals, by arm and metric.
        absent: why a metric or its comparison is missing, by arm and metric.
    """

    scores: Mapping[str, ArmScores]
    metrics: Sequence[str]
    intervals: Mapping[str, Mapping[str, Interval]]
    absent: Mapping[str, Mapping[str, str]]

    @classmethod
    def of(cls, scores: Mapping[str, ArmScores], metrics: Sequence[str], seed: int) -> _KindResults:
        """Evaluates every arm of one kind."""
        intervals: dict[str, dict[str, Interval]] = {}
        reasons: dict[str, dict[str, str]] = {}
        for name, arm in scores.items():
            intervals[name], reasons[name] = _measured(arm, metrics, seed)
        return cls(scores, metrics, intervals, _absent(reasons))

    def rival_arms(self) -> list[str]:
        """Returns the names of the rivals' arms."""
        return [name for name in self.scores if name in RIVALS.values()]

    def synthetic_arms(self) -> list[str]:
        """Returns the names of the arms with a generator's samples."""
        others = {*REAL_ARMS, *RIVALS.values()}
        return [name for name in self.scores if name not in others]

    def best_rivals(self) -> dict[str, str]:
        """Returns the rival with the best value, by metric."""
        best: dict[str, str] = {}
        for metric in self.metrics:
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
    metrics = dict.fromkeys(metric for result in results.values() for metric in result.metrics)
    for metric in metrics:
        pairs: dict[str, tuple[ArmScores, ArmScores]] = {}
        for kind, names in arms.items():
            result = results[kind]
            other = others[kind].get(metric)
            for name in names:
                if other is not None and metric not in result.absent[name]:
                    pairs[f"{kind}/{name}"] = (result.scores[other], result.scores[name])
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


def _measured(arm: ArmScores, metrics: Sequence[str], seed: int) -> tuple[dict[str, Interval], dict[str, str]]:
    """Returns each metric with its interval, and the reasons for missing metrics."""
    intervals: dict[str, Interval] = {}
    reasons: dict[str, str] = {}
    for metric in metrics:
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
        absent[name] = dict(own) if name in REAL_ARMS else {**of_base, **own}
    return absent
