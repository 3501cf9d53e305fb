"""How well a score repeats itself: the intraclass correlation, and the parts that its variance has.

A search trusts the order that a score puts configurations into. That order is worth something if trainings of one
configuration get scores that are more alike than those of different configurations.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

from gansweep.errors import ConfigError

if TYPE_CHECKING:
    from gansweep.scoring.metrics.answers import Floats

__all__ = ["Components", "Reliability", "components", "reliability"]

LEVEL = 0.95


@dataclass(frozen=True)
class Reliability:
    """The intraclass correlation of a score.

    Args:
        value: part of the variance of one training's score that is due to its configuration; 1: it repeats itself, 0
            or less: it does not know one configuration from another.
        low, high: 95 % interval, by the F distribution.
    """

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Components:
    """Variances that add up to that of a score with one generator and one detector.

    Args:
        configuration: what the search is after.
        generator: between trainings of the generator, of one configuration.
        detector: between detectors, of one generator.
    """

    configuration: float
    generator: float
    detector: float

    def repeated(self, generators: int, detectors: int, patients: float = 0.0) -> float:
        """The intraclass correlation of a mean over so many generators, with so many detectors each.

        Args:
            generators: trainings of each configuration.
            detectors: of each generator.
            patients: variance that the patients add; more trainings do not lessen it.
        """
        noise = self.generator / generators + self.detector / (generators * detectors) + patients
        whole = self.configuration + noise
        return self.configuration / whole if whole > 0 else float("nan")


def reliability(scores: Floats) -> Reliability:
    """Intraclass correlation of single scores, one-way random effects, within cohorts.

    Cohorts differ in difficulty; a search has one. So each cohort's mean is taken off first, and costs a degree of
    freedom.

    Args:
        scores: `[cohorts, configurations, seeds]`, at least two configurations and two seeds, all finite.

    Source:
        Shrout & Fleiss 1979, "Intraclass Correlations: Uses in Assessing Rater Reliability", ICC(1, 1).

    Raises:
        ConfigError: too few scores, or scores that are not finite.
    """
    scores = np.asarray(scores, dtype=np.float64)
    cohorts, configurations, seeds = _shape(scores)
    between, within = _mean_squares(scores)
    if between == 0 and within == 0:
        return Reliability(float("nan"), float("nan"), float("nan"))
    ratio = between / within if within > 0 else np.inf
    freedom = cohorts * (configurations - 1), cohorts * configurations * (seeds - 1)
    tail = (1 + LEVEL) / 2
    ratios = (ratio, ratio / stats.f.ppf(tail, *freedom), ratio * stats.f.ppf(tail, *freedom[::-1]))
    value, low, high = (1.0 if np.isinf(one) else float((one - 1) / (one + seeds - 1)) for one in ratios)
    return Reliability(value, low, high)


def components(scores: Floats) -> Components:
    """Variance components of scores of detectors within generators within configurations, within cohorts.

    Estimated from the mean squares of the nested analysis of variance; one that comes out negative is 0.

    Args:
        scores: `[cohorts, configurations, generators, detectors]`, at least two of each but cohorts, all finite.

    Source:
        Searle, Casella & McCulloch 1992, "Variance Components", chapter 3.

    Raises:
        ConfigError: too few scores, or scores that are not finite.
    """
    scores = np.asarray(scores, dtype=np.float64)
    generators, detectors = scores.shape[2:]
    _shape(scores.reshape(scores.shape[0] * scores.shape[1], generators, detectors))
    by_generator = scores.mean(-1)
    between, within = _mean_squares(by_generator)
    of_detector = float(scores.var(-1, ddof=1).mean())
    of_generator = max(0.0, within - of_detector / detectors)
    return Components(max(0.0, (between - within) / generators), of_generator, of_detector)


def _mean_squares(scores: Floats) -> tuple[float, float]:
    """Between configurations and within, of `[cohorts, configurations, seeds]`."""
    seeds = scores.shape[-1]
    between = seeds * scores.mean(-1).var(-1, ddof=1).mean()
    within = scores.var(-1, ddof=1).mean()
    return float(between), float(within)


def _shape(scores: Floats) -> tuple[int, int, int]:
    if scores.ndim != 3 or scores.shape[1] < 2 or scores.shape[2] < 2:
        raise ConfigError(f"scores {scores.shape} have no repeats", fix="give two configurations and two seeds or more")
    if not np.isfinite(scores).all():
        raise ConfigError("scores that are not finite have no reliability", fix="leave these configurations out")
    return scores.shape[0], scores.shape[1], scores.shape[2]
