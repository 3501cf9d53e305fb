"""Correlation between realism scores and the gain of a detector, over the configurations of a sweep."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from gansweep.report.comparison import folded
from gansweep.scoring.metrics.registry import metrics_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from gansweep.report.rows import LeaderboardRow

__all__ = ["ENOUGH", "Tracking", "tracking"]

ENOUGH = 10
"""Minimum number of configurations: with 9, a correlation of 0.6 is not significant (two-sided, 5 %)."""
REPLICATES = 2000  # bootstrap samples
_GAIN = "_difference"
_USES = {*metrics_of("answers"), *metrics_of("masks")}
_NO_SCORE = (_GAIN, "_real_only", "_floor", "_baseline", "_low", "_high")


@dataclass(frozen=True)
class Tracking:
    """Correlation of one realism score with one gain.

    Args:
        metric: the realism score.
        gain: the downstream difference: with synthetic images minus without.
        rho: Spearman's rank correlation in [-1, 1], or None. It should be negative for a distance.
        low, high: 95 % bootstrap interval over configurations (percentile method), or None.
        n: number of configurations.
        reason: why `rho` is None.
    """

    metric: str
    gain: str
    rho: float | None
    low: float | None
    high: float | None
    n: int
    reason: str = ""


def tracking(rows: Sequence[LeaderboardRow], seed: int = 0) -> list[Tracking]:
    """Returns the correlation of each realism score with each gain, the strongest first.

    A configuration is included once, with its means over repeats, because its trainings are not independent. Trials
    that the scheduler stopped are included too, because they also have a generator and a gain. Distances in different
    features are not comparable, so only configurations with the most frequent features are included. Noise in the gain
    (few patients, few detectors) biases every correlation towards zero.

    Args:
        rows: rows from `leaderboard`.
        seed: seed of the bootstrap.
    """
    usable = [row for row in folded(rows) if row.status in ("completed", "stopped") and row.front >= 0]
    features = Counter(row.fid_features for row in usable).most_common(1)
    usable = [row for row in usable if row.fid_features == features[0][0]]
    # Other gains, such as that in sensitivity, would add no information.
    measured: set[str] = set()
    measured.update(*(row.scores for row in usable))
    gains = sorted(measured & {f"accuracy{_GAIN}", f"dice{_GAIN}"})
    measures = sorted(name for name in measured if _is_realism(name))
    found = [_correlation(usable, metric, gain, seed) for gain in gains for metric in measures]
    return sorted(found, key=lambda item: (item.gain, item.rho is None, -abs(item.rho or 0.0), item.metric))


def _is_realism(name: str) -> bool:
    return not name.endswith(_NO_SCORE) and name not in _USES


def _correlation(rows: Sequence[LeaderboardRow], metric: str, gain: str, seed: int) -> Tracking:
    pairs = [(row.scores[metric], row.scores[gain]) for row in rows if metric in row.scores and gain in row.scores]
    if len(pairs) < ENOUGH:
        return Tracking(metric, gain, None, None, None, len(pairs), f"fewer than {ENOUGH} configurations")
    x, y = np.array(pairs).T
    # Without variation a rank correlation is undefined.
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return Tracking(metric, gain, None, None, None, len(pairs), "all values are equal")
    from scipy import stats

    found = stats.bootstrap(
        (x, y),
        _rank_correlation,
        paired=True,
        n_resamples=REPLICATES,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return Tracking(metric, gain, float(_rank_correlation(x, y)), float(found.low), float(found.high), len(pairs))


def _rank_correlation(x: NDArray[Any], y: NDArray[Any], axis: int = -1) -> NDArray[np.float64]:
    """Returns Spearman's rho along `axis`.

    Pearson's correlation of the ranks, with mean ranks for ties; 0 if all are tied.
    """
    from scipy import stats

    a = stats.rankdata(x, axis=axis)
    b = stats.rankdata(y, axis=axis)
    a = a - a.mean(axis, keepdims=True)
    b = b - b.mean(axis, keepdims=True)
    spread = np.sqrt((a**2).sum(axis) * (b**2).sum(axis))
    rho: NDArray[np.float64] = (a * b).sum(axis) / np.where(spread > 0, spread, 1.0)
    return rho
