"""Scores of detectors and segmenters on test patients, with their variance over patients and over trainings.

The unit of evidence is the patient, not the image, because images of one patient are alike. Training a detector is
also random: a gain that comes from a few lucky seeds is not a gain of the method. The variance therefore has two parts,
one between patients (estimated by a bootstrap that resamples patients) and one between trainings. Its degrees of
freedom account for both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gansweep.errors import ConfigError
from gansweep.scoring.metrics.answers import Predictions, weighted_mean
from gansweep.scoring.metrics.masks import MaskScores
from gansweep.scoring.metrics.registry import METRICS
from gansweep.scoring.statistics.elementary import numbered

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from gansweep.scoring.metrics.answers import Bools, Floats

__all__ = ["ArmScores", "Estimate", "UndefinedError", "estimate"]

REPLICATES = 2000
_NO_SPREAD = 1e-12
"""A smaller variance is a rounding error."""

ArmScores = Predictions | MaskScores
"""What is known of one arm: the predictions of its detectors, or the scores of its segmenters."""


class UndefinedError(ConfigError):
    """Raised if a metric has no value or no variance for the given patients and detectors."""


@dataclass(frozen=True)
class Estimate:
    """Estimate of an arm's metric, or of the difference between two arms.

    Args:
        value: mean over the trainings.
        variance: variance of the value over patients and trainings; over patients alone if there is one training.
        freedom: degrees of freedom of the variance (Satterthwaite 1946).
        patients: number of patients behind the metric. For sensitivity, the patients with a positive image. For AUROC,
            twice the smaller side, the effective number for a nearly ideal ROC curve (see `_effective`).
    """

    value: float
    variance: float
    freedom: float
    patients: int


def estimate(name: str, arm: ArmScores, base: ArmScores | None = None, *, seed: int = 0) -> Estimate:
    """Estimates a metric of `arm`, or with `base` its difference from `base` on the same images and trainings.

    Let u(s, p) be the contribution of training s on patient p. The variance of the mean over S trainings and P patients
    is

        V = V_patients + V_trainings - V_both,

    where V_trainings is the sample variance of the trainings over S. V_both is their interaction over S P, which both
    other terms contain (crossed random effects: Owen 2007, "The pigeonhole bootstrap"; Gallas et al. 2009 for readers
    and cases). V_patients is the sum over strata of patients, and each stratum is resampled separately. A stratum of n
    patients has n - 1 degrees of freedom. Its bootstrap variance is too small by (n - 1) / n, which is corrected (Efron
    1982, "The Jackknife, the Bootstrap and Other Resampling Plans", chapter 5). For a rare disease, sensitivity
    therefore has the degrees of freedom of the few positive patients, however many negative patients there are.

    The variance of a *difference* has a lower bound per stratum: that of n patients who all agree, with half a
    discordant patient added in each direction. This is 1 / (n + 2)², times the squared fraction of the metric's images
    that the stratum holds (Agresti & Min 2005, "Simple improved confidence intervals for comparing matched
    proportions"). Agreement of two patients by chance proves nothing. Scores of masks are not counts of patients who
    agree: two segmenters hardly ever agree exactly. Their bound is needed only where they do in all patients.

    Args:
        name: metric of answers or of masks: accuracy, sensitivity, specificity, auroc or dice.
        arm: predictions of the arm's detectors, or scores of its segmenters.
        base: the same of the other arm.
        seed: seed of the bootstrap.

    Raises:
        UndefinedError: exactly one patient has positive images or exactly one has negative images; fewer than two
            patients have images of a class that the metric uses; or probabilities or scores are not finite.
    """
    _check_finite(arm, "its")
    if base is not None:
        _check_finite(base, "the base's")
    groups = _Patients(arm)
    about = [groups.fraction(images) for images in _about(name, arm)]
    if 1 in groups.sides or any((fraction > 0).sum() < 2 for fraction in about):
        where = "with a lesion" if isinstance(arm, MaskScores) else "in a class"
        what = f"fewer than two test patients {where}, too few for {name}"
        raise UndefinedError(what, fix="a verdict needs more patients")

    def measured(weights: Floats) -> Floats:
        found = _measured(name, arm, weights)
        return found - _measured(name, base, weights) if base else found

    by_training = measured(np.ones((1, len(arm.patients))))[0]
    trainings = len(by_training)
    parts = []  # independent variances with their degrees of freedom
    within_trainings = 0.0  # variance over patients, averaged over the trainings
    for rows, weights in groups.resampled(REPLICATES, np.random.default_rng(seed)):
        found = measured(weights)
        found = found[np.isfinite(found).all(1)]  # a replicate of a mixed stratum may lack a class
        n = len(rows)
        correction = n / (n - 1)
        variance_of_stratum = found.mean(1).var(ddof=1) * correction
        if base and (isinstance(arm, Predictions) or variance_of_stratum < _NO_SPREAD):
            fraction = sum(part[rows].sum() for part in about)
            variance_of_stratum = max(variance_of_stratum, (fraction / (n + 2)) ** 2)
        parts.append((variance_of_stratum, n - 1))
        within_trainings += found.var(0, ddof=1).mean() * correction
    of_patients = sum(part for part, _ in parts)
    variance = of_patients
    if trainings > 1:
        of_trainings = by_training.var(ddof=1) / trainings
        both = max(0.0, (within_trainings - of_patients) / (trainings - 1))
        variance = max(of_patients + of_trainings - both, of_patients, of_trainings)
        parts.append((of_trainings, trainings - 1))
    patients = _effective(about)
    freedom = _freedom(variance, parts, patients - 1)
    return Estimate(float(by_training.mean()), float(variance), freedom, patients)


def _measured(name: str, arm: ArmScores, weights: Floats) -> Floats:
    """Returns a metric for each resampling and training, `[b, s]`, with weights `[b, n]` of the images."""
    if isinstance(arm, MaskScores):
        return weighted_mean(arm.values[name], weights)
    found: Floats = METRICS[name].compute(arm, weights)
    return found


def _check_finite(arm: ArmScores, whose: str) -> None:
    """Rejects values that are not finite. Metrics would not notice: argmax returns a class even for NaN."""
    if isinstance(arm, MaskScores):
        found = list(arm.values.values())
        what = f"{whose} segmenters give masks that are not finite"
    else:
        found = [arm.probabilities]
        what = f"{whose} detectors give probabilities that are not finite"
    if not all(np.isfinite(values).all() for values in found):
        raise UndefinedError(what, fix="train them for fewer updates, or others")


def _freedom(variance: float, parts: Sequence[tuple[float, int]], otherwise: int) -> float:
    """Returns Satterthwaite's degrees of freedom of a sum of independent variances; `otherwise` if all are zero."""
    doubt = sum(part**2 / freedom for part, freedom in parts)
    return max(1.0, float(variance**2 / doubt)) if doubt > 0 else float(otherwise)


def _effective(about: Sequence[Floats]) -> int:
    """Returns the number of patients behind a metric of one class, or of a comparison of two classes.

    The variance of an area A under the ROC curve is at most A (1 - A) / m, with m the size of the smaller side
    (Birnbaum & Klose 1957). Near 1 it is about half of that (Hanley & McNeil 1982, for exponential distributions),
    which is the variance of a proportion of 2 m patients.
    """
    return len(about) * min(int((fraction > 0).sum()) for fraction in about)


class _Patients:
    """Test patients, stratified by the classes of their images, so that no bootstrap replicate lacks a class."""

    def __init__(self, arm: ArmScores) -> None:
        self.of_image = numbered(arm.patients)
        self.number = len(set(arm.patients))
        positive = arm.is_positive
        has_positive = self.fraction(positive) > 0
        has_negative = self.fraction(~positive) > 0
        # Numbers of patients with a positive image, and with a negative image.
        self.sides = [int(has_positive.sum()), int(has_negative.sum())]
        self.strata = _strata(_POSITIVE * has_positive + _NEGATIVE * has_negative)

    def fraction(self, images: Bools) -> Floats:
        """Returns the fraction of the given images that each patient has, `[patients]`."""
        counts = np.bincount(self.of_image, weights=images, minlength=self.number)
        found: Floats = counts / max(counts.sum(), 1.0)
        return found

    def resampled(self, replicates: int, rng: np.random.Generator) -> Iterator[tuple[NDArray[np.int64], Floats]]:
        """Yields, for each stratum, its patients and the image weights when it is resampled, `[replicates, n]`."""
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
"""Possible strata, finest first. A stratum needs more than one patient to have a variance."""


def _strata(kinds: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Returns the patients of each stratum, in the finest grouping in which every stratum has at least two.

    Args:
        kinds: `_POSITIVE`, `_NEGATIVE` or `_BOTH` for each patient.
    """
    for grouping in _GROUPINGS:
        strata = [np.flatnonzero(np.isin(kinds, members)) for members in grouping]
        filled = [patients for patients in strata if len(patients)]
        if all(len(patients) > 1 for patients in filled):
            return filled
    return []


def _about(name: str, arm: ArmScores) -> list[Bools]:
    """Returns a mask `[n]` for each class of images that the metric uses."""
    positive = arm.is_positive
    return {
        "all": [np.ones_like(positive)],
        "positive": [positive],
        "negative": [~positive],
        "both": [positive, ~positive],
    }[METRICS[name].about]
