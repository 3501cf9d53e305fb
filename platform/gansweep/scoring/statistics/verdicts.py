"""Comparisons of two arms: confidence intervals, corrected p-values and verdicts.

Variances over patients and trainings, and their degrees of freedom, come from
`gansweep.scoring.statistics.estimates`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
from scipy import stats

from gansweep.errors import ConfigError
from gansweep.scoring.metrics.answers import Predictions
from gansweep.scoring.metrics.formatting import p_text, points
from gansweep.scoring.metrics.masks import MaskScores
from gansweep.scoring.metrics.registry import METRICS
from gansweep.scoring.statistics.elementary import LEAST_TRAININGS, holm, wilson_bounds
from gansweep.scoring.statistics.estimates import UndefinedError, estimate

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gansweep.scoring.statistics.estimates import ArmScores

__all__ = [
    "Comparison",
    "UndefinedError",
    "Verdict",
    "compare",
    "compare_arms",
    "interval",
    "wilson",
]

Verdict = Literal["helps", "no evidence", "harms"]


@dataclass(frozen=True)
class Comparison:
    """Comparison of an arm with the base arm.

    Args:
        metric: name of the metric of answers or masks in the registry.
        difference: arm minus base.
        low, high: confidence interval of the difference.
        p: two-sided p-value of no difference, corrected for the number of arms if there are several.
        verdict: `helps` or `harms`, by the metric's direction, if p is below 1 - confidence.
        patients: number of test patients; for masks, of those with a lesion.
        trainings: number of trainings per arm.
        detectable: the true difference that would be detected with 80 % power.
    """

    metric: str
    difference: float
    low: float
    high: float
    p: float
    verdict: Verdict
    patients: int
    trainings: int
    detectable: float

    def __str__(self) -> str:
        return (
            f"{self.verdict}: {self.metric} {points(self.difference)} points"
            f" (95 % interval {points(self.low)} to {points(self.high)}, {p_text(self.p)});"
            f" with {self.patients} patients and {self.trainings} trainings per arm, a difference of"
            f" {100 * self.detectable:.1f} points would be found four times out of five"
        )


def compare(
    base: ArmScores, arm: ArmScores, metric: str = "accuracy", *, confidence: float = 0.95, seed: int = 0
) -> Comparison:
    """Compares two arms on the same test images, paired by image and by training.

    Training number i uses the same random numbers in both arms (initial weights, real batches). The interval and the
    p-value use Student's t distribution with the variance and the degrees of freedom of `estimate`. The interval is
    limited to the possible range of differences.

    Args:
        base: predictions of the base arm, for example with real images only, or scores of its segmenters.
        arm: the same of the arm with synthetic images.
        metric: name of the metric of answers or masks in the registry.
        confidence: confidence level of the interval.
        seed: seed of the bootstrap.

    Raises:
        ConfigError: the arms have different images, or fewer than three trainings.
        UndefinedError: the metric is not defined or depends on fewer than two patients.
    """
    _check(base, arm)
    found = estimate(metric, arm, base, seed=seed)
    t = stats.t(found.freedom)
    error = float(np.sqrt(found.variance))
    half = float(t.ppf((1 + confidence) / 2)) * error
    p = float(2 * t.sf(abs(found.value) / error))
    least, most = METRICS[metric].range
    return Comparison(
        metric,
        difference=found.value,
        low=max(found.value - half, float(least - most)),
        high=min(found.value + half, float(most - least)),
        p=p,
        verdict=_verdict(metric, found.value, p, confidence),
        patients=len(set(base.patients)),
        trainings=base.trainings,
        detectable=half + float(t.ppf(0.8)) * error,
    )


def compare_arms(
    claims: Mapping[str, tuple[ArmScores, ArmScores]],
    metric: str = "accuracy",
    *,
    confidence: float = 0.95,
    seed: int = 0,
) -> dict[str, Comparison]:
    """Compares pairs of (base, arm). P-values and verdicts are corrected for all pairs together (Holm 1979)."""
    found: dict[str, Comparison] = {}
    for name, (base, arm) in claims.items():
        found[name] = compare(base, arm, metric, confidence=confidence, seed=seed)
    p_values = holm([comparison.p for comparison in found.values()])
    for name, p in zip(claims, p_values, strict=True):
        verdict = _verdict(metric, found[name].difference, p, confidence)
        found[name] = replace(found[name], p=p, verdict=verdict)
    return found


def wilson(successes: int, n: int, *, confidence: float = 0.95) -> tuple[float, float]:
    """Returns the Wilson (1927) interval of a proportion.

    Unlike p ± 2 se, it is valid for few cases and for 0 or n successes.
    """
    interval = stats.binomtest(successes, n).proportion_ci(confidence, method="wilson")
    return float(interval.low), float(interval.high)


def interval(arm: ArmScores, metric: str, *, confidence: float = 0.95, seed: int = 0) -> tuple[float, float, float]:
    """Returns a metric's mean over the trainings, with its interval over patients and, if there are several, trainings.

    For a fraction (a metric with the range [0, 1]) this is the Wilson (1927) interval with Student's quantile. Its
    number of cases is the number of patients that would have the variance of `estimate`, and at most the number of
    patients that the metric depends on (for surveys: Korn & Graubard 1998, "Confidence intervals for proportions with
    small expected number of positive counts"). That limit does not apply to masks: a patient's score is not 0 or 1, so
    few patients can be worth many cases. Other metrics have Student's interval. For a single training, the interval
    describes the variation between patients only, not between trainings.

    Raises:
        UndefinedError: the metric is not defined or depends on fewer than two patients.
    """
    found = estimate(metric, arm, seed=seed)
    value = found.value
    quantile = float(stats.t(found.freedom).ppf((1 + confidence) / 2))
    least, most = METRICS[metric].range
    if (least, most) != (0, 1):
        half = quantile * float(np.sqrt(found.variance))
        return value, max(value - half, float(least)), min(value + half, float(most))
    n = float(found.patients)
    if found.variance > 0 < value * (1 - value):
        cases = value * (1 - value) / found.variance
        n = cases if isinstance(arm, MaskScores) else min(n, cases)
    low, high = wilson_bounds(value, n, quantile)
    return value, low, high


def _check(base: ArmScores, arm: ArmScores) -> None:
    if not _alike(base, arm):
        raise ConfigError("the arms are not about the same test images and trainings")
    if base.trainings < LEAST_TRAININGS:
        raise ConfigError(
            f"{base.trainings} training(s) per arm", fix=f"a verdict needs at least {LEAST_TRAININGS}: set more seeds"
        )


def _alike(base: ArmScores, arm: ArmScores) -> bool:
    if isinstance(base, Predictions) and isinstance(arm, Predictions):
        return base.probabilities.shape == arm.probabilities.shape and np.array_equal(base.labels, arm.labels)
    if isinstance(base, MaskScores) and isinstance(arm, MaskScores):
        return base.trainings == arm.trainings and tuple(base.patients) == tuple(arm.patients)
    return False


def _verdict(metric: str, difference: float, p: float, confidence: float) -> Verdict:
    if p >= 1 - confidence:
        return "no evidence"
    better = difference < 0 if METRICS[metric].better == "lower" else difference > 0
    return "helps" if better else "harms"
