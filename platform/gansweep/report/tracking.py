"""Which realism score goes with what the images are for: its rank correlation with the detector's gain, over trials."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from gansweep.report.places import folded

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from gansweep.report.leaderboard import LeaderboardRow

__all__ = ["ENOUGH", "Tracking", "tracking"]

ENOUGH = 10
"""Configurations below which no correlation is given: of 9, one of 0.6 is no evidence of any (two-sided, 5 %)."""
REPLICATES = 2000
_GAIN = "_difference"
_USES = ("accuracy", "sensitivity", "specificity", "auroc", "dice")
_NO_SCORE = (_GAIN, "_real_only", "_floor", "_baseline", "_low", "_high")


@dataclass(frozen=True)
class Tracking:
    """How one realism score went with one gain over a sweep's configurations.

    Args:
        metric: the score.
        gain: the downstream difference, with synthetic images less without.
        rho: Spearman's rank correlation, in [-1, 1]; negative is good of a distance; None if absent.
        low, high: 95 % bootstrap interval over configurations (percentile).
        n: configurations behind it.
        reason: why it is absent.
    """

    metric: str
    gain: str
    rho: float | None
    low: float | None
    high: float | None
    n: int
    reason: str = ""


def tracking(rows: Sequence[LeaderboardRow], seed: int = 0) -> list[Tracking]:
    """The correlation of each realism score with each downstream difference, the strongest first.

    A configuration counts once, with its means over repeats, for trainings of one configuration are not independent.
    Trials that the scheduler stopped count too: they have generators, images and a gain like the others. Distances on
    different features do not compare: configurations on other than the commonest are left out. The gain's own noise
    (few patients, few detectors) draws every correlation towards zero.

    Args:
        rows: as `leaderboard` gives them.
        seed: of the bootstrap.
    """
    usable = [row for row in folded(rows) if row.status in ("completed", "stopped") and row.front >= 0]
    features = Counter(row.fid_features for row in usable).most_common(1)
    usable = [row for row in usable if row.fid_features == features[0][0]]
    gains = sorted({name for row in usable for name in row.scores if name.endswith(_GAIN)} & _claimed(usable))
    measures = sorted({name for row in usable for name in row.scores if _is_realism(name)})
    found = [_tracked(usable, metric, gain, seed) for gain in gains for metric in measures]
    return sorted(found, key=lambda item: (item.gain, item.rho is None, -abs(item.rho or 0.0), item.metric))


def _claimed(rows: Sequence[LeaderboardRow]) -> set[str]:
    """The gains a verdict could be about: accuracy and Dice. Sensitivity and the like say the same again."""
    return {f"{name}{_GAIN}" for name in ("accuracy", "dice") if any(f"{name}{_GAIN}" in row.scores for row in rows)}


def _is_realism(name: str) -> bool:
    return not name.endswith(_NO_SCORE) and name not in _USES


def _tracked(rows: Sequence[LeaderboardRow], metric: str, gain: str, seed: int) -> Tracking:
    pairs = [(row.scores[metric], row.scores[gain]) for row in rows if metric in row.scores and gain in row.scores]
    if len(pairs) < ENOUGH:
        return Tracking(metric, gain, None, None, None, len(pairs), f"fewer than {ENOUGH} configurations")
    x, y = np.array(pairs).T
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
    """Spearman's rho along `axis`: Pearson's correlation of the ranks (ties share the mean rank), 0 without order."""
    from scipy import stats

    a, b = (stats.rankdata(values, axis=axis) for values in (x, y))
    a, b = (ranks - ranks.mean(axis, keepdims=True) for ranks in (a, b))
    spread = np.sqrt((a**2).sum(axis) * (b**2).sum(axis))
    rho: NDArray[np.float64] = (a * b).sum(axis) / np.where(spread > 0, spread, 1.0)
    return rho
