"""Merges repeated trainings of a configuration, and compares the first place with other configurations."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from gansweep.report.rows import Difference, LeaderboardRow, Verdict
from gansweep.scoring.metrics.formatting import score_text
from gansweep.scoring.statistics.elementary import holm
from gansweep.scoring.statistics.proportions import difference_interval

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gansweep.config import Objective
    from gansweep.store.schema import SweepInfo

__all__ = ["compare_with_first", "folded", "verdict_sentences"]

LEVEL = 0.05  # significance level of every test, so intervals are 95 %
_PROPORTIONS = ("accuracy", "sensitivity", "specificity")
"""Scores that are proportions, whose variation over patients is binomial. AUROC and Dice have no such formula."""


def folded(rows: Sequence[LeaderboardRow]) -> list[LeaderboardRow]:
    """Merges the trainings of a configuration that have the same status into one row.

    The row is that of the configuration's first trial with this status. Its scores are means over the trainings that
    count, `spread` their standard deviations and `trainings` their number. Durations are sums.

    Args:
        rows: all rows of a leaderboard, best first.

    Returns:
        One row per configuration and status, best first.
    """
    groups: dict[tuple[int, str], list[LeaderboardRow]] = {}
    for row in rows:
        groups.setdefault((row.rank, row.status), []).append(row)
    return [_merge(group) for group in groups.values()]


def _merge(group: list[LeaderboardRow]) -> LeaderboardRow:
    # A score that is missing in one training has no mean over all of them.
    counting = [row for row in group if row.counts]
    names = set.intersection(*(set(row.scores) for row in counting))
    values = {name: [row.scores[name] for row in counting] for name in counting[0].scores if name in names}
    lead = min(group, key=lambda row: (bool(row.repeat_of), row.trial_id))
    return replace(
        lead,
        scores={name: float(np.mean(found)) for name, found in values.items()},
        trainings=len(counting),
        spread={name: float(np.std(found, ddof=1)) for name, found in values.items()} if len(counting) > 1 else {},
        seconds=sum(row.seconds for row in group),
        gpu_seconds=sum(row.gpu_seconds for row in group),
    )


def compare_with_first(rows: Sequence[LeaderboardRow], info: SweepInfo) -> list[LeaderboardRow]:
    """Compares the first place with the second and with every completed configuration on the Pareto front.

    If both have repeats, the test is Welch's t test over the trainings (Welch 1947). Its interval covers the variation
    between trainings, on these validation patients.

    If each has one training, the comparison only determines whether the difference is within noise. For a proportion,
    noise is the variation over patients (Newcombe 1998, method 10, with one case per patient; both configurations have
    the same patients, so the interval is conservative). For a distance, it is the real-against-real floor.

    Args:
        rows: all rows of a leaderboard.
        info: record of the sweep.

    Returns:
        The rows, with `against_first` set in those that were compared.
    """
    completed = [row for row in rows if row.status == "completed" and row.front >= 0]
    if not completed:
        return list(rows)

    ranks = sorted({row.rank for row in completed})
    first = [row for row in completed if row.rank == ranks[0]]
    rivals = {row.rank for row in completed if row.rank != ranks[0] and (row.front == 0 or row.rank == ranks[1])}
    differences = {
        rank: [
            _difference(first, [row for row in completed if row.rank == rank], objective, info)
            for objective in info.objectives
        ]
        for rank in sorted(rivals)
    }

    # One family of tests: every objective of every rival.
    tested = [(rank, i) for rank, items in differences.items() for i, item in enumerate(items) if item.p is not None]
    corrected = holm([differences[rank][i].p or 0.0 for rank, i in tested])
    for (rank, i), p in zip(tested, corrected, strict=True):
        verdict: Verdict = "differs" if p < LEVEL else "no evidence"
        differences[rank][i] = replace(differences[rank][i], p=p, verdict=verdict)
    return [replace(row, against_first=tuple(differences.get(row.rank, ()))) for row in rows]


def _difference(
    first: Sequence[LeaderboardRow], other: Sequence[LeaderboardRow], objective: Objective, info: SweepInfo
) -> Difference:
    name = objective.name
    a = [row for row in first if row.counts]
    b = [row for row in other if row.counts]
    x = np.array([row.scores[name] for row in a])
    y = np.array([row.scores[name] for row in b])
    values: dict[str, Any] = {
        "objective": name,
        "difference": float(x.mean() - y.mean()),
        "low": None,
        "high": None,
        "p": None,
        "trainings": (len(x), len(y)),
    }
    if min(len(x), len(y)) > 1:
        return Difference(**(values | _welch(x, y)))

    one_each = len(x) == len(y) == 1
    single = _within_noise(a[0].scores, b[0].scores, name, info) if one_each else None
    if single is not None:
        return Difference(**(values | single))
    trainings = "one training each" if one_each else "one training of one of them"
    return Difference(**values, verdict="cannot be told", reason=f"{trainings}: see gansweep repeat")


def _welch(x: np.ndarray[Any, Any], y: np.ndarray[Any, Any]) -> dict[str, Any]:
    """Returns the interval, p-value and verdict of Welch's t test (Welch 1947) for two sets of trainings."""
    from scipy import stats

    # Without any variance the test statistic is 0/0 or infinite.
    if x.var() == y.var() == 0:
        if x[0] == y[0]:
            return {"verdict": "no evidence", "reason": "all trainings of both gave the same value"}
        return {"verdict": "cannot be told", "reason": "each gave one value in all trainings: the spread is unknown"}
    found = stats.ttest_ind(x, y, equal_var=False)
    low, high = found.confidence_interval(1 - LEVEL)
    return {
        "low": float(low),
        "high": float(high),
        "p": float(found.pvalue),
        "verdict": "differs" if found.pvalue < LEVEL else "no evidence",
        "reason": "covers chance in training, not the choice of patients",
    }


def _within_noise(
    one: Mapping[str, float], other: Mapping[str, float], name: str, info: SweepInfo
) -> dict[str, Any] | None:
    """Returns whether one training of each differs by no more than noise; None if that cannot be decided."""
    patients = info.cohort.patients.get("val", 0)
    if name in _PROPORTIONS and patients:
        low, high = difference_interval(one[name], other[name], patients, confidence=1 - LEVEL)
        excludes_zero = low > 0 or high < 0
        reason = (
            f"more than chance over {patients} validation patients, but one training each: see gansweep repeat"
            if excludes_zero
            else f"within chance over {patients} validation patients; one training each"
        )
        verdict = "cannot be told" if excludes_zero else "no evidence"
        return {"low": low, "high": high, "verdict": verdict, "reason": reason}

    # Distances: if neither exceeds what real images of other patients score, both are as good as real images.
    floors = [scores.get(f"{name}_floor", math.nan) for scores in (one, other)]
    values = [scores.get(f"{name}_matched", scores[name]) for scores in (one, other)]
    if all(value <= floor for value, floor in zip(values, floors, strict=True)):
        return {"verdict": "no evidence", "reason": "both are within the real-against-real floor; one training each"}
    return None


def verdict_sentences(rows: Sequence[LeaderboardRow]) -> list[str]:
    """Returns one sentence per configuration that was compared with the first place, best rank first.

    Args:
        rows: rows from `compare_with_first`.
    """
    configurations = folded(rows)
    first = next((row for row in configurations if row.status == "completed"), None)
    if first is None:
        return []
    return [
        f"{_name_of(first)} minus {_name_of(row)}: {'; '.join(map(_sentence, row.against_first))}."
        for row in configurations
        if row.against_first
    ]


def _sentence(item: Difference) -> str:
    value = score_text(item.objective, item.difference, signed=True)
    low = score_text(item.objective, item.low, signed=True)
    high = score_text(item.objective, item.high, signed=True)
    interval = "" if item.low is None else f" (95 % interval {low} to {high})"
    p = "" if item.p is None else ", p < 0.001" if item.p < 0.001 else f", p = {item.p:.3f}"
    return f"{item.objective} {value}{interval}{p}: {item.verdict} ({item.reason})"


def _name_of(row: LeaderboardRow) -> str:
    return f"{row.trial_id} ({row.trainings} training{'s' * (row.trainings > 1)})"
