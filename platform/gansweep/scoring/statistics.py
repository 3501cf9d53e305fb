"""Whether one arm detects better than another: intervals, corrected p-values, and a verdict in words.

The unit of evidence is the patient, not the image: images of one patient are alike. And a detector's training has
chance in it: what a few lucky seeds gain is not what the method gains. So the variance of a difference has both parts,
that between patients (by a bootstrap that resamples patients) and that between trainings, and the interval uses the
t quantile of the degrees of freedom that both leave.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from gansweep.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = [
    "Comparison",
    "Predictions",
    "Verdict",
    "bootstrap_mean",
    "compare",
    "compare_arms",
    "holm",
    "interval",
    "patients_needed",
    "wilson",
]

Floats = NDArray[np.float64]
Verdict = Literal["helps", "no evidence", "harms"]
REPLICATES = 2000
LEAST_TRAININGS = 3
"""With two, one null comparison in ten was called a difference; with three and more about one in twenty."""


@dataclass(frozen=True)
class Predictions:
    """What the detectors of one arm say about the test images.

    Args:
        probabilities: `[s, n, k]` of s trainings. Where several generators were trained, a training is a generator:
            give the mean over the detectors trained on its samples.
        labels: `[n]` true classes.
        patients: `[n]` names of patients.
        positive: the positive class.
    """

    probabilities: Floats
    labels: NDArray[np.int64]
    patients: Sequence[str]
    positive: int


@dataclass(frozen=True)
class Comparison:
    """An arm against the base arm.

    Args:
        metric: accuracy, sensitivity, specificity or auroc.
        difference: arm minus base; positive: the arm is better.
        low, high: its confidence interval.
        p: two-sided, of no difference; corrected for the number of arms where there are several.
        verdict: `helps` or `harms` where p is below 1 - confidence.
        patients: number of test patients.
        trainings: trainings per arm.
        detectable: the true difference that would have been found four times out of five.
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
            f"{self.verdict}: {self.metric} {100 * self.difference:+.1f} points"
            f" (95 % interval {100 * self.low:+.1f} to {100 * self.high:+.1f}, p = {self.p:.3f});"
            f" with {self.patients} patients and {self.trainings} trainings per arm, a difference of"
            f" {100 * self.detectable:.1f} points would be found four times out of five"
        )


def compare(
    base: Predictions, arm: Predictions, metric: str = "accuracy", *, confidence: float = 0.95, seed: int = 0
) -> Comparison:
    """Compares two arms on the same test images, paired by image and by training.

    Training number i of both arms shares its chance (initial weights, real batches). With u(s, p) the difference in
    training s on patient p, the variance of the mean over S trainings and P patients is estimated as

        V = V_patients + V_trainings - V_both,

    where V_patients comes from resampling patients within each class, V_trainings is the sample variance of the
    differences of the trainings over S, and V_both, which the first two both contain, is their interaction over S P
    (crossed random effects: Owen 2007, "The pigeonhole bootstrap"; Gallas et al. 2009 for readers and cases).
    Degrees of freedom by Satterthwaite (1946).

    Args:
        base: real images only, say.
        arm: with synthetic images.
        metric: accuracy, sensitivity, specificity or auroc.
        confidence: of the interval.
        seed: of the bootstrap.

    Raises:
        ConfigError: arms that are not about the same images, or have fewer than three trainings, or fewer than
            two patients in a class.
    """
    _check(base, arm)
    measure = _MEASURES[metric]
    groups = _Patients(base)
    differences = measure(arm, np.ones((1, len(base.labels)))) - measure(base, np.ones((1, len(base.labels))))
    weights = groups.resampled(REPLICATES, np.random.default_rng(seed))
    replicates = measure(arm, weights) - measure(base, weights)
    trainings = differences.shape[1]
    of_patients = replicates.mean(1).var(ddof=1)
    of_trainings = differences.var(ddof=1) / trainings
    both = (replicates.var(0, ddof=1).mean() - of_patients) / (trainings - 1)
    variance = max(of_patients + of_trainings - both, of_patients, of_trainings)
    freedom = _freedom(variance, (of_patients, groups.number - len(groups.strata)), (of_trainings, trainings - 1))
    difference = float(differences.mean())
    return _judged(metric, difference, float(np.sqrt(variance)), freedom, confidence, groups.number, trainings)


def compare_arms(
    claims: Mapping[str, tuple[Predictions, Predictions]],
    metric: str = "accuracy",
    *,
    confidence: float = 0.95,
    seed: int = 0,
) -> dict[str, Comparison]:
    """Compares pairs of (base, arm); p-values and verdicts hold for all of them together (Holm 1979)."""
    found = {name: compare(*pair, metric, confidence=confidence, seed=seed) for name, pair in claims.items()}
    corrected = holm([comparison.p for comparison in found.values()])
    return {
        name: replace(comparison, p=p, verdict=_verdict(comparison.difference, p, confidence))
        for (name, comparison), p in zip(found.items(), corrected, strict=True)
    }


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values corrected so that the chance of any false alarm among them stays at the level (Holm 1979)."""
    p = np.asarray(p_values, dtype=float)
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    corrected = np.empty_like(p)
    corrected[order] = np.minimum(stepped, 1.0)
    return [float(value) for value in corrected]


def wilson(successes: int, n: int, *, confidence: float = 0.95) -> tuple[float, float]:
    """The interval of a proportion (Wilson 1927); right for few cases and for 0 or n successes, unlike p ± 2 se."""
    interval = stats.binomtest(successes, n).proportion_ci(confidence, method="wilson")
    return float(interval.low), float(interval.high)


def bootstrap_mean(values: Floats, *, confidence: float = 0.95, seed: int = 0) -> tuple[float, float]:
    """The BCa bootstrap interval (Efron 1987) of the mean of independent `values` `[n]`."""
    if np.ptp(values) == 0:
        return float(values[0]), float(values[0])
    found = stats.bootstrap(
        (values,), np.mean, confidence_level=confidence, n_resamples=REPLICATES, rng=np.random.default_rng(seed)
    )
    return float(found.confidence_interval.low), float(found.confidence_interval.high)


def interval(
    predictions: Predictions, metric: str, *, confidence: float = 0.95, seed: int = 0
) -> tuple[float, float, float]:
    """A metric's mean over the trainings, and its percentile interval by resampling patients.

    Raises:
        ConfigError: fewer than two patients in a class.
    """
    measure = _MEASURES[metric]
    weights = _Patients(predictions).resampled(REPLICATES, np.random.default_rng(seed))
    value = float(measure(predictions, np.ones((1, len(predictions.labels)))).mean())
    tails = ((1 - confidence) / 2, (1 + confidence) / 2)
    low, high = np.quantile(measure(predictions, weights).mean(1), tails)
    return value, float(low), float(high)


def patients_needed(difference: float, comparison: Comparison) -> int:
    """How many test patients would find a true `difference` four times out of five, other things equal.

    The detectable difference shrinks with the root of the number of patients; where few trainings, not few patients,
    are what limits it, this is too few.
    """
    return int(np.ceil(comparison.patients * (comparison.detectable / abs(difference)) ** 2))


class _Patients:
    """Test patients, in strata: those with a positive image and those without."""

    def __init__(self, predictions: Predictions) -> None:
        names, self.of_image = np.unique(np.asarray(predictions.patients), return_inverse=True)
        positive = np.zeros(len(names), dtype=bool)
        np.logical_or.at(positive, self.of_image, predictions.labels == predictions.positive)
        self.number = len(names)
        self.strata = [rows for rows in (np.flatnonzero(positive), np.flatnonzero(~positive)) if len(rows)]
        if any(len(rows) < 2 for rows in self.strata):
            raise ConfigError("fewer than two test patients in a class", fix="a verdict needs more patients")

    def resampled(self, replicates: int, rng: np.random.Generator) -> Floats:
        """`[replicates, n]` how often each image counts."""
        counts = np.zeros((replicates, self.number))
        for rows in self.strata:
            counts[:, rows] = rng.multinomial(len(rows), np.full(len(rows), 1 / len(rows)), size=replicates)
        return counts[:, self.of_image]


def _check(base: Predictions, arm: Predictions) -> None:
    if base.probabilities.shape != arm.probabilities.shape or not np.array_equal(base.labels, arm.labels):
        raise ConfigError("the arms are not about the same test images and trainings")
    trainings = len(base.probabilities)
    if trainings < LEAST_TRAININGS:
        raise ConfigError(
            f"{trainings} training(s) per arm", fix=f"a verdict needs at least {LEAST_TRAININGS}: set more seeds"
        )


def _accuracy(p: Predictions, weights: Floats) -> Floats:
    return _share(p.probabilities.argmax(-1) == p.labels, weights)


def _sensitivity(p: Predictions, weights: Floats) -> Floats:
    return _share(p.probabilities[..., p.positive] >= 0.5, weights * (p.labels == p.positive))


def _specificity(p: Predictions, weights: Floats) -> Floats:
    return _share(p.probabilities[..., p.positive] < 0.5, weights * (p.labels != p.positive))


def _share(hits: NDArray[np.bool_], weights: Floats) -> Floats:
    """Weighted share of hits `[replicates, s]`."""
    found: Floats = weights @ hits.T.astype(float) / weights.sum(1, keepdims=True)
    return found


def _auroc(p: Predictions, weights: Floats) -> Floats:
    scores, positive = p.probabilities[..., p.positive], p.labels == p.positive
    of_positive, of_negative = weights[:, positive], weights[:, ~positive]
    pairs = of_positive.sum(1) * of_negative.sum(1)

    def of_training(s: Floats) -> Floats:
        above = np.sign(s[positive][:, None] - s[~positive]) / 2 + 0.5
        found: Floats = np.einsum("bi,bi->b", of_positive @ above, of_negative) / pairs
        return found

    return np.stack([of_training(s) for s in scores], 1)


_MEASURES: dict[str, Callable[[Predictions, Floats], Floats]] = {
    "accuracy": _accuracy,
    "sensitivity": _sensitivity,
    "specificity": _specificity,
    "auroc": _auroc,
}


def _freedom(variance: float, *parts: tuple[Any, int]) -> float:
    """Satterthwaite's degrees of freedom of a sum of independent variance estimates."""
    doubt = sum(part**2 / freedom for part, freedom in parts)
    return float(variance**2 / doubt) if doubt > 0 else 1.0


def _judged(
    metric: str, difference: float, error: float, freedom: float, confidence: float, patients: int, trainings: int
) -> Comparison:
    t = stats.t(freedom)
    half = float(t.ppf((1 + confidence) / 2)) * error
    p = float(2 * t.sf(abs(difference) / error)) if error > 0 else float(difference == 0)
    detectable = half + float(t.ppf(0.8)) * error
    verdict = _verdict(difference, p, confidence)
    return Comparison(
        metric, difference, difference - half, difference + half, p, verdict, patients, trainings, detectable
    )


def _verdict(difference: float, p: float, confidence: float) -> Verdict:
    if p >= 1 - confidence:
        return "no evidence"
    return "helps" if difference > 0 else "harms"
