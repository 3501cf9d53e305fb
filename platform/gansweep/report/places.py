"""Configurations instead of trials: repeats folded into one row, and whether the first place differs from others."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from gansweep.report.wording import score_text
from gansweep.scoring.statistics import holm

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gansweep.experiment import Objective
    from gansweep.report.leaderboard import LeaderboardRow
    from gansweep.store.schema import SweepInfo

__all__ = ["Difference", "compared", "folded", "verdicts"]

LEVEL = 0.05
_DETECTION = ("accuracy", "sensitivity", "specificity")
"""Shares of validation images: their chance over patients is binomial. AUROC and Dice have no such formula."""


@dataclass(frozen=True)
class Difference:
    """One objective of the first place less that of another configuration.

    Args:
        objective: its name.
        difference: first minus other, in the objective's units.
        low, high: 95 % interval; None where there is none.
        p: two-sided, of no difference; corrected (Holm 1979) over everything this sweep's first place is compared in.
        trainings: behind the first's value and behind the other's.
        verdict: `differs` where p is below 0.05.
        reason: what the interval covers, or why nothing can be said.
    """

    objective: str
    difference: float
    low: float | None
    high: float | None
    p: float | None
    trainings: tuple[int, int]
    verdict: Literal["differs", "no evidence", "cannot be told"]
    reason: str


def folded(rows: Sequence[LeaderboardRow]) -> list[LeaderboardRow]:
    """One row per configuration and way of ending, best first, with mean scores over the trainings that count.

    The row is the configuration's first trial where that ended so; `trainings` and `spread` are filled in.
    """
    groups: dict[tuple[int, str], list[LeaderboardRow]] = {}
    for row in rows:
        groups.setdefault((row.rank, row.status), []).append(row)
    return [_folded(group) for group in groups.values()]


def _folded(group: list[LeaderboardRow]) -> LeaderboardRow:
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


def compared(rows: Sequence[LeaderboardRow], info: SweepInfo) -> list[LeaderboardRow]:
    """The rows, with `against_first` of the completed configurations in second place and on the Pareto front.

    With repeats of both, Welch's t test over the trainings (Welch 1947): its interval is about chance in training, on
    these validation patients. With one training each, what can be said is whether the difference lies within the
    chance of the patients (Newcombe 1998, method 10, with as many cases as patients; the arms share their patients, so
    it is wide rather than narrow), or, of a distance, within the real-against-real floor.
    """
    completed = [row for row in rows if row.status == "completed" and row.front >= 0]
    if not completed:
        return list(rows)
    places = sorted({row.rank for row in completed})
    first = [row for row in completed if row.rank == places[0]]
    rivals = {row.rank for row in completed if row.rank != places[0] and (row.front == 0 or row.rank == places[1])}
    found = {
        rank: [
            _difference(first, [row for row in completed if row.rank == rank], objective, info)
            for objective in info.objectives
        ]
        for rank in sorted(rivals)
    }
    tested = [(rank, place) for rank, items in found.items() for place, item in enumerate(items) if item.p is not None]
    corrected = holm([found[rank][place].p or 0.0 for rank, place in tested])
    for (rank, place), p in zip(tested, corrected, strict=True):
        found[rank][place] = replace(found[rank][place], p=p, verdict="differs" if p < LEVEL else "no evidence")
    return [replace(row, against_first=tuple(found.get(row.rank, ()))) for row in rows]


def _difference(
    first: Sequence[LeaderboardRow], other: Sequence[LeaderboardRow], objective: Objective, info: SweepInfo
) -> Difference:
    name = objective.name
    a, b = ([row for row in rows if row.counts] for rows in (first, other))
    x, y = (np.array([row.scores[name] for row in rows]) for rows in (a, b))
    told: dict[str, Any] = {
        "objective": name,
        "difference": float(x.mean() - y.mean()),
        "low": None,
        "high": None,
        "p": None,
        "trainings": (len(x), len(y)),
    }
    if min(len(x), len(y)) > 1:
        return Difference(**(told | _welch(x, y)))
    single = _within_noise(a[0].scores, b[0].scores, name, info) if len(x) == len(y) == 1 else None
    if single is not None:
        return Difference(**(told | single))
    alone = "one training each" if len(x) == len(y) == 1 else "one training of one of them"
    return Difference(**told, verdict="cannot be told", reason=f"{alone}: see gansweep repeat")


def _welch(x: np.ndarray[Any, Any], y: np.ndarray[Any, Any]) -> dict[str, Any]:
    from scipy import stats

    if x.var() == y.var() == 0:
        if x[0] == y[0]:
            return {"verdict": "no evidence", "reason": "every training of both gave the same value"}
        return {"verdict": "cannot be told", "reason": "the trainings of each gave one value: their spread is unknown"}
    found = stats.ttest_ind(x, y, equal_var=False)
    low, high = found.confidence_interval(1 - LEVEL)
    return {
        "low": float(low),
        "high": float(high),
        "p": float(found.pvalue),
        "verdict": "differs" if found.pvalue < LEVEL else "no evidence",
        "reason": "chance in training; other patients would add theirs",
    }


def _within_noise(
    one: Mapping[str, float], other: Mapping[str, float], name: str, info: SweepInfo
) -> dict[str, Any] | None:
    """What one training of each allows to say: that a difference is within what patients or the floor explain."""
    patients = info.cohort.patients.get("val", 0)
    if name in _DETECTION and patients:
        low, high = _newcombe(one[name], other[name], patients)
        beyond = low > 0 or high < 0
        reason = (
            f"beyond the chance of {patients} validation patients, but one training each: see gansweep repeat"
            if beyond
            else f"within the chance of {patients} validation patients; one training each"
        )
        return {"low": low, "high": high, "verdict": "cannot be told" if beyond else "no evidence", "reason": reason}
    floors = [scores.get(f"{name}_floor", math.nan) for scores in (one, other)]
    values = [scores.get(f"{name}_matched", scores[name]) for scores in (one, other)]
    if all(value <= floor for value, floor in zip(values, floors, strict=True)):
        return {"verdict": "no evidence", "reason": "both are within the real-against-real floor; one training each"}
    return None


def _newcombe(one: float, other: float, n: int) -> tuple[float, float]:
    """Interval of the difference of two proportions of n cases each (Newcombe 1998, method 10)."""
    (low_1, high_1), (low_2, high_2) = (_wilson(share, n) for share in (one, other))
    below, above = math.hypot(one - low_1, high_2 - other), math.hypot(high_1 - one, other - low_2)
    return one - other - below, one - other + above


def _wilson(share: float, n: int) -> tuple[float, float]:
    """Interval of a proportion (Wilson 1927); the mean of several detectors need not be a whole number of cases."""
    from scipy import stats

    square = float(stats.norm.ppf(1 - LEVEL / 2)) ** 2
    centre = (share + square / (2 * n)) / (1 + square / n)
    half = math.sqrt(square * share * (1 - share) / n + square**2 / (4 * n**2)) / (1 + square / n)
    return centre - half, centre + half


def verdicts(rows: Sequence[LeaderboardRow]) -> list[str]:
    """The first place against each configuration it was compared with, the second place first; a sentence each."""
    configurations = folded(rows)
    first = next((row for row in configurations if row.status == "completed"), None)
    if first is None:
        return []
    return [
        f"{_named(first)} less {_named(row)}: {'; '.join(map(_sentence, row.against_first))}."
        for row in configurations
        if row.against_first
    ]


def _sentence(item: Difference) -> str:
    value, low, high = (score_text(item.objective, x, signed=True) for x in (item.difference, item.low, item.high))
    interval = "" if item.low is None else f" (95 % interval {low} to {high})"
    p = "" if item.p is None else ", p < 0.001" if item.p < 0.001 else f", p = {item.p:.3f}"
    return f"{item.objective} {value}{interval}{p}: {item.verdict} ({item.reason})"


def _named(row: LeaderboardRow) -> str:
    return f"{row.trial_id} ({row.trainings} training{'s' * (row.trainings > 1)})"
