"""Reliability of a score: the intraclass correlation and the components of its variance.

A search relies on the order in which a score puts configurations. That order is meaningful if the scores of one
configuration's trainings are more alike than those of different configurations.
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
        value: fraction of the variance of one training's score that is due to its configuration. 1: trainings of a
            configuration have equal scores; 0 or less: the score does not distinguish configurations.
        low, high: 95 % interval, from the F distribution.
    """

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Components:
    """Components of the variance of a score with one generator and one detector.

    Args:
        configuration: variance between configurations, which the search looks for.
        generator: variance between the generators of one configuration.
        detector: variance between the detectors of one generator.
    """

    configuration: float
    generator: float
    detector: float

    def repeated(self, generators: int, detectors: int, patients: float = 0.0) -> float:
        """Returns the intraclass correlation of a mean over several generators with several detectors each.

        Args:
            generators: number of generators per configuration.
            detectors: number of detectors per generator.
            patients: variance between patients, which more trainings do not reduce.
        """
        noise = self.generator / generators + self.detector / (generators * detectors) + patients
        whole = self.configuration + noise
        return self.configuration / whole if whole > 0 else float("nan")


def reliability(scores: Floats) -> Reliability:
    """Returns the intraclass correlation of single scores: one-way random effects, within cohorts.

    Cohorts differ in difficulty, but a search has only one. The mean of each cohort is therefore subtracted first,
    which costs a degree of freedom.

    Args:
        scores: finite scores `[cohorts, configurations, seeds]` of at least two configurations and two seeds.

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
    freedom_between = cohorts * (configurations - 1)
    freedom_within = cohorts * configurations * (seeds - 1)
    tail = (1 + LEVEL) / 2
    lowest = ratio / stats.f.ppf(tail, freedom_between, freedom_within)
    highest = ratio * stats.f.ppf(tail, freedom_within, freedom_between)
    return Reliability(_correlation(ratio, seeds), _correlation(lowest, seeds), _correlation(highest, seeds))


def _correlation(ratio: float, seeds: int) -> float:
    """Returns the intraclass correlation for a ratio of mean squares between and within configurations."""
    return 1.0 if np.isinf(ratio) else float((ratio - 1) / (ratio + seeds - 1))


def components(scores: Floats) -> Components:
    """Returns the variance components of detectors within generators within configurations within cohorts.

    They are estimated from the mean squares of the nested analysis of variance. Negative estimates are set to 0.

    Args:
        scores: finite scores `[cohorts, configurations, generators, detectors]`, at least two of each except cohorts.

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
    """Returns the mean squares between and within configurations of scores `[cohorts, configurations, seeds]`."""
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
