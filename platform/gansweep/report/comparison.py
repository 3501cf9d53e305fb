"""Merges repeated trainings of a configuration, and compares the first place with other configurations."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from gansweep.errors import counted
from gansweep.report.rows import Difference, LeaderboardRow, Verdict
from gansweep.scoring.metrics.formatting import p_text, score_text
from gansweep.scoring.statistics.elementary import holm
from gansweep.scoring.statistics.proportions import ABOUT_ALL_PATIENTS, difference_interval

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from gansweep.config import Objective
    from gansweep.store.sweep_info import SweepInfo

__all__ = ["compare_with_first", "folded", "verdict_sentences"]

LEVEL = 0.05  # significance level of every test, so intervals are 95 %


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
    if len(group) == 1 and group[0].counts:
        return group[0]
    counting = [row for row in group if row.counts]
    means, spread = _means_of(counting) if len(counting) > 1 else (dict(counting[0].scores), {})
    lead = min(group, key=lambda row: (bool(row.repeat_of), row.trial_id))
    return replace(
        lead,
        scores=means,
        trainings=len(counting),
        spread=spread,
        seconds=sum(row.seconds for row in group),
        gpu_seconds=sum(row.gpu_seconds for row in group),
        energy_joules=sum(row.energy_joules for row in group),
    )


def _means_of(rows: Sequence[LeaderboardRow]) -> tuple[dict[str, float], dict[str, float]]:
    """Returns the mean and the standard deviation of each score, over two or more trainings."""
    means: dict[str, float] = {}
    spread: dict[str, float] = {}
    for name in rows[0].scores:
        values = [row.scores[name] for row in rows if name in row.scores]
        if len(values) == len(rows):  # a score that is missing in one training has no mean over all of them
            means[name] = float(np.mean(values))
            spread[name] = float(np.std(values, ddof=1))
    return means, spread


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

    by_rank: dict[int, list[LeaderboardRow]] = {}
    for row in completed:
        by_rank.setdefault(row.rank, []).append(row)
    first, *others = (by_rank[rank] for rank in sorted(by_rank))
    rivals = [rows_of for place, rows_of in enumerate(others) if place == 0 or rows_of[0].front == 0]
    differences = {
        rival[0].rank: [_difference(first, rival, objective, info) for objective in info.objectives] for rival in rivals
    }
    _correct_for_multiple_tests(differences)
    return [
        replace(row, against_first=tuple(differences[row.rank])) if row.rank in differences else row for row in rows
    ]


def _correct_for_multiple_tests(differences: Mapping[int, list[Difference]]) -> None:
    """Replaces p-values and verdicts. Every objective of every rival is one test of a family (Holm 1979)."""
    tested = [
        (rank, index)
        for rank, of_rank in differences.items()
        for index, item in enumerate(of_rank)
        if item.p is not None
    ]
    corrected = holm([differences[rank][index].p or 0.0 for rank, index in tested])
    for (rank, index), p in zip(tested, corrected, strict=True):
        verdict: Verdict = "differs" if p < LEVEL else "no evidence"
        differences[rank][index] = replace(differences[rank][index], p=p, verdict=verdict)


def _difference(
    first: Sequence[LeaderboardRow], other: Sequence[LeaderboardRow], objective: Objective, info: SweepInfo
) -> Difference:
    name = objective.name
    first = [row for row in first if row.counts]
    other = [row for row in other if row.counts]
    first_values = np.array([row.scores[name] for row in first])
    other_values = np.array([row.scores[name] for row in other])
    values: dict[str, Any] = {
        "objective": name,
        "difference": float(first_values.mean() - other_values.mean()),
        "low": None,
        "high": None,
        "p": None,
        "trainings": (len(first), len(other)),
    }
    if len(first) > 1 and len(other) > 1:
        return Difference(**(values | _welch(first_values, other_values)))

    trainings = "one training of one of them"
    if len(first) == len(other) == 1:
        trainings = "one training each"
        single = _within_noise(first[0].scores, other[0].scores, name, info)
        if single is not None:
            return Difference(**(values | single))
    return Difference(**values, verdict="cannot be told", reason=f"{trainings}: see gansweep repeat")


def _welch(first: NDArray[np.float64], other: NDArray[np.float64]) -> dict[str, Any]:
    """Returns the interval, p-value and verdict of Welch's t test (Welch 1947) for two sets of trainings."""
    from scipy import stats

    # Without any variance the test statistic is 0/0 or infinite.
    if first.var() == other.var() == 0:
        if first[0] == other[0]:
            return {"verdict": "no evidence", "reason": "all trainings of both gave the same value"}
        return {"verdict": "cannot be told", "reason": "each gave one value in all trainings: the spread is unknown"}
    found = stats.ttest_ind(first, other, equal_var=False)
    low, high = found.confidence_interval(1 - LEVEL)
    return {
        "low": float(low),
        "high": float(high),
        "p": float(found.pvalue),
        "verdict": "differs" if found.pvalue < LEVEL else "no evidence",
        "reason": "covers chance in training, not the choice of patients",
    }


def _within_noise(
    first: Mapping[str, float], other: Mapping[str, float], name: str, info: SweepInfo
) -> dict[str, Any] | None:
    """Returns whether one training of each differs by no more than noise; None if that cannot be decided."""
    patients = info.cohort.patients.get("val", 0)
    if name in ABOUT_ALL_PATIENTS and patients:
        low, high = difference_interval(first[name], other[name], patients, confidence=1 - LEVEL)
        if low > 0 or high < 0:
            verdict = "cannot be told"
            chance = f"more than chance over {patients} validation patients"
            reason = f"{chance}, but one training each: see gansweep repeat"
        else:
            verdict = "no evidence"
            reason = f"within chance over {patients} validation patients; one training each"
        return {"low": low, "high": high, "verdict": verdict, "reason": reason}

    # If neither distance exceeds what real images of other patients score, both are as good as real images.
    if _reaches_floor(first, name) and _reaches_floor(other, name):
        return {"verdict": "no evidence", "reason": "both are within the real-against-real floor; one training each"}
    return None


def _reaches_floor(scores: Mapping[str, float], name: str) -> bool:
    """Returns whether a distance is at most the one of real images of other patients. False if this is not known."""
    distance = scores.get(f"{name}_matched", scores[name])
    return distance <= scores.get(f"{name}_floor", math.nan)


def verdict_sentences(rows: Sequence[LeaderboardRow]) -> list[str]:
    """Returns one sentence per configuration that was compared with the first place, best rank first.

    Args:
        rows: rows from `compare_with_first`.
    """
    configurations = folded(rows)
    first = next((row for row in configurations if row.status == "completed"), None)
    if first is None:
        return []
    sentences = []
    for row in configurations:
        if row.against_first:
            clauses = "; ".join(_clause(item) for item in row.against_first)
            sentences.append(f"{_name_of(first)} minus {_name_of(row)}: {clauses}.")
    return sentences


def _clause(item: Difference) -> str:
    text = f"{item.objective} {score_text(item.objective, item.difference, signed=True)}"
    if item.low is not None:
        low = score_text(item.objective, item.low, signed=True)
        high = score_text(item.objective, item.high, signed=True)
        text += f" (95 % interval {low} to {high})"
    if item.p is not None:
        text += f", {p_text(item.p)}"
    return f"{text}: {item.verdict} ({item.reason})"


def _name_of(row: LeaderboardRow) -> str:
    return f"{row.trial_id} ({counted(row.trainings, 'training')})"
