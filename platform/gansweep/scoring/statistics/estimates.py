"""A detector's scores on test patients, and how much they vary with the patients and with the training.

The unit of evidence is the patient, not the image: images of one patient are alike. And a detector's training has
chance in it: what a few lucky seeds gain is not what the method gains. So a variance has both parts, that between
patients (by a bootstrap that resamples patients) and that between trainings, and degrees of freedom that both leave.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gansweep.errors import ConfigError
from gansweep.scoring.metrics.registry import METRICS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gansweep.scoring.metrics.answers import Floats, Predictions
    from gansweep.scoring.metrics.registry import Metric

__all__ = ["Estimate", "UndefinedError", "estimate"]

Bools = NDArray[np.bool_]
REPLICATES = 2000


class UndefinedError(ConfigError):
    """A metric that has no value or no variance with these patients and detectors."""


@dataclass(frozen=True)
class Estimate:
    """A metric of an arm, or the difference of two arms in it.

    Args:
        value: mean over the trainings.
        variance: of the value, over patients and trainings; over patients alone where there is one training.
        freedom: degrees of freedom of the variance (Satterthwaite 1946).
        patients: that the metric rests on: for sensitivity those with a positive image. For AUROC twice the smaller
            side, which a ROC curve near the ideal is worth (see `_effective`).
    """

    value: float
    variance: float
    freedom: float
    patients: int


def estimate(name: str, arm: Predictions, base: Predictions | None = None, *, seed: int = 0) -> Estimate:
    """The metric of `arm`, or with `base` how much more it is than there, on the same images and trainings.

    With u(s, p) what training s gives on patient p, the variance of the mean over S trainings and P patients is

        V = V_patients + V_trainings - V_both,

    where V_trainings is the sample variance of the trainings over S, and V_both, which the first two both contain, is
    their interaction over S P (crossed random effects: Owen 2007, "The pigeonhole bootstrap"; Gallas et al. 2009 for
    readers and cases). V_patients is the sum over strata of patients, each resampled alone: a stratum of n patients
    has n - 1 degrees of freedom of its own and a bootstrap variance that is too small by (n - 1) / n (Efron 1982,
    "The Jackknife, the Bootstrap and Other Resampling Plans", chapter 5). In a rare disease, sensitivity has the few
    positives' degrees of freedom, however many negatives there are.

    A stratum's part of the variance of a *difference* is at least that of n patients without a discordant one among
    whom half a one each way is counted in: 1 / (n + 2)², times the square of the stratum's fraction of the images that
    the metric is about (Agresti & Min 2005, "Simple improved confidence intervals for comparing matched proportions").
    Two patients who happen to agree are no proof.

    Args:
        name: of a metric of answers: accuracy, sensitivity, specificity, auroc.
        arm: what its detectors say.
        base: what those of another arm say.
        seed: of the bootstrap.

    Raises:
        UndefinedError: a single patient has, or fewer than two have, an image of a class that the metric is about; or
            probabilities are not finite.
    """
    for one, whose in ((arm, "its"), (base, "the base's")):
        # Not left to the metric: of NaN an argmax still names a class.
        if one is not None and not np.isfinite(one.probabilities).all():
            what = f"{whose} detectors give probabilities that are not finite"
            raise UndefinedError(what, fix="train them for fewer updates, or others")
    metric = METRICS[name]
    groups = _Patients(arm)
    about = [groups.fraction(images) for images in _about(metric, arm)]
    if 1 in groups.sides or any((fraction > 0).sum() < 2 for fraction in about):
        what = f"fewer than two test patients in a class, too few for {name}"
        raise UndefinedError(what, fix="a verdict needs more patients")

    def measured(weights: Floats) -> Floats:
        found: Floats = metric.compute(arm, weights)
        return found - metric.compute(base, weights) if base else found

    by_training = measured(np.ones((1, len(arm.labels))))[0]
    trainings = len(by_training)
    parts = []
    within = 0.0
    for rows, weights in groups.resampled(REPLICATES, np.random.default_rng(seed)):
        found = measured(weights)
        found = found[np.isfinite(found).all(1)]  # a stratum of mixed kinds may have lost a class
        n = len(rows)
        fraction = sum(part[rows].sum() for part in about)
        least = (fraction / (n + 2)) ** 2 if base else 0.0
        parts.append((max(found.mean(1).var(ddof=1) * n / (n - 1), least), n - 1))
        within += found.var(0, ddof=1).mean() * n / (n - 1)
    of_patients = variance = sum(part for part, _ in parts)
    if trainings > 1:
        of_trainings = by_training.var(ddof=1) / trainings
        both = max(0.0, (within - of_patients) / (trainings - 1))
        variance = max(of_patients + of_trainings - both, of_patients, of_trainings)
        parts.append((of_trainings, trainings - 1))
    patients = _effective(about)
    freedom = _freedom(variance, parts, patients - 1)
    return Estimate(float(by_training.mean()), float(variance), freedom, patients)


def _freedom(variance: float, parts: Sequence[tuple[float, int]], otherwise: int) -> float:
    """Satterthwaite's degrees of freedom of a sum of independent variance estimates; `otherwise` if all are zero."""
    doubt = sum(part**2 / freedom for part, freedom in parts)
    return max(1.0, float(variance**2 / doubt)) if doubt > 0 else float(otherwise)


def _effective(about: Sequence[Floats]) -> int:
    """Patients behind a metric that is about one class, or about a comparison of two.

    The variance of an area A under the ROC curve is at most A (1 - A) / m, m being the number on the smaller side
    (Birnbaum & Klose 1957), and about half of that near 1 (Hanley & McNeil 1982, for exponential distributions): what
    a proportion of 2 m patients would have.
    """
    return len(about) * min(int((fraction > 0).sum()) for fraction in about)


class _Patients:
    """Test patients, in strata by which classes they have images of, so that no replicate is without a class."""

    def __init__(self, predictions: Predictions) -> None:
        names, self.of_image = np.unique(np.asarray(predictions.patients), return_inverse=True)
        self.number = len(names)
        positive = predictions.labels == predictions.positive
        has = [self.fraction(images) > 0 for images in (positive, ~positive)]
        self.sides = [int(side.sum()) for side in has]  # patients with a positive image, and with another
        kinds = 2 * has[0] + has[1]
        groupings = ([np.flatnonzero(np.isin(kinds, kind)) for kind in grouping] for grouping in _GROUPINGS)
        filled = ([rows for rows in grouping if len(rows)] for grouping in groupings)
        self.strata = next((strata for strata in filled if all(len(rows) > 1 for rows in strata)), [])

    def fraction(self, images: Bools) -> Floats:
        """`[patients]` each patient's fraction of these images."""
        counts = np.bincount(self.of_image, weights=images, minlength=self.number)
        found: Floats = counts / max(counts.sum(), 1.0)
        return found

    def resampled(self, replicates: int, rng: np.random.Generator) -> Iterator[tuple[NDArray[np.int64], Floats]]:
        """For each stratum its patients, and `[replicates, n]` how often each image counts when it is resampled."""
        for rows in self.strata:
            counts = np.ones((replicates, self.number))
            counts[:, rows] = rng.multinomial(len(rows), np.full(len(rows), 1 / len(rows)), size=replicates)
            yield rows, counts[:, self.of_image]


_NEGATIVE = 1
_POSITIVE = 2
_BOTH = 3
_GROUPINGS = (
    ((_POSITIVE,), (_BOTH,), (_NEGATIVE,)),
    ((_POSITIVE, _BOTH), (_NEGATIVE,)),
    ((_POSITIVE,), (_BOTH, _NEGATIVE)),
    ((_POSITIVE, _BOTH, _NEGATIVE),),
)
"""Kinds of patients that form strata together, finest first: a patient alone in a stratum has no variance."""


def _about(metric: Metric, predictions: Predictions) -> list[Bools]:
    """`[n]` for each class of images that the metric is about, which they are."""
    positive = predictions.labels == predictions.positive
    return {
        "all": [np.ones_like(positive)],
        "positive": [positive],
        "negative": [~positive],
        "both": [positive, ~positive],
    }[metric.about]
