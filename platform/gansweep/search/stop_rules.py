"""Rules that end a sweep before its last trial: a time budget, GPU hours, a front without improvement, a target."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from gansweep.errors import ConfigError, unknown_name
from gansweep.search.aims import check_values
from gansweep.store.feasibility import broken, constrained_values

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from gansweep.config import Objective
    from gansweep.constraint import Constraint
    from gansweep.options import SweepOptions
    from gansweep.store.schema import TrialRow

__all__ = ["StopRules", "check_stop_rules", "seconds_of"]

_UNITS = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?[dhms])+")
_PART = re.compile(r"(\d+(?:\.\d+)?)([dhms])")


def seconds_of(duration: str) -> float:
    """Converts a duration such as `"1h30m"` to seconds.

    Raises:
        ConfigError: the text is not a duration, or is zero.
    """
    text = duration.strip().lower()
    seconds = sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text))
    if not _DURATION.fullmatch(text) or seconds <= 0:
        fix = "give a time such as 8h, 90m or 1h30m"
        raise ConfigError(f"{duration!r} is not a time above zero", where="--time-budget", fix=fix)
    return seconds


def check_stop_rules(options: SweepOptions, objectives: Sequence[Objective]) -> None:
    """Refuses rules that can never be met.

    Raises:
        ConfigError: a time is invalid, GPU hours are given for trials without GPUs, or a target is not of an
            objective or is out of its range.
    """
    if options.time_budget is not None:
        seconds_of(options.time_budget)
    if options.max_gpu_hours is not None and not options.gpus_per_worker:
        what = "the trials use no GPU, so no GPU hours are counted"
        raise ConfigError(what, where="--max-gpu-hours", fix="give --gpus-per-worker, or use --time-budget")
    names = [objective.name for objective in objectives]
    for name in options.target:
        if name not in names:
            raise unknown_name("objective", name, names, where="--target")
    check_values(options.target, where="--target")


class StopRules:
    """Tracks the start and end of every trial, and decides when no further trial starts.

    Args:
        options: the rules.
        objectives: objectives in the study's order.
        rows: every attempt of earlier calls of the sweep. All rules except the time budget cover the whole sweep.
        constraints: bounds. A trial beyond one of them improves nothing and meets no target.
    """

    def __init__(
        self,
        options: SweepOptions,
        objectives: Sequence[Objective],
        rows: Iterable[TrialRow] = (),
        constraints: Sequence[Constraint] = (),
    ) -> None:
        self._objectives = objectives
        self._constraints = constraints
        self._deadline = time.monotonic() + seconds_of(options.time_budget) if options.time_budget else None
        self._time_budget = options.time_budget
        self._gpus = options.workers_per_trial * options.gpus_per_worker
        self._max_gpu_hours = options.max_gpu_hours
        self._patience = options.patience
        self._target = options.target
        self._front: list[tuple[float, ...]] = []
        self._in_vain = 0
        self._met = ""
        self._gpu_seconds = 0.0
        self._running: dict[str, datetime] = {}
        own = [row for row in rows if not row.repeat_of]
        for row in sorted(own, key=_end_of):
            self.ended(row)

    def began(self, row: TrialRow) -> None:
        """Records the start of a trial's attempt."""
        self._running[row.trial_id] = row.started or datetime.now(UTC)

    def ended(self, row: TrialRow) -> None:
        """Records the end of a trial's attempt."""
        self._running.pop(row.trial_id, None)
        self._gpu_seconds += row.gpu_seconds
        if row.status in ("running", "interrupted"):
            return
        counts = row.status == "completed" and not broken(constrained_values(row), self._constraints)
        improved = counts and self._improves(row.scores)
        self._in_vain = 0 if improved else self._in_vain + 1
        if counts and self._meets_target(row.scores):
            self._met = row.trial_id

    @property
    def over_budget(self) -> str:
        """The budget that is used up, in which case running trials end too; empty if there is none."""
        if self._deadline is not None and time.monotonic() >= self._deadline:
            return f"the time budget of {self._time_budget} is used up"
        if self._max_gpu_hours is not None and self._gpu_hours() >= self._max_gpu_hours:
            return f"{self._max_gpu_hours:g} GPU hours are used up"
        return ""

    @property
    def reason(self) -> str:
        """Returns why no further trial should start; empty if one should."""
        if self._met:
            wanted = ", ".join(f"{name} {value:g}" for name, value in self._target.items())
            return f"trial {self._met} met the target ({wanted})"
        if self._patience is not None and self._in_vain >= self._patience:
            return f"{self._in_vain} trials in a row have not improved the front"
        return self.over_budget

    def _gpu_hours(self) -> float:
        now = datetime.now(UTC)
        under_way = sum((now - started).total_seconds() for started in self._running.values())
        return (self._gpu_seconds + under_way * self._gpus) / 3600

    def _improves(self, scores: Mapping[str, float]) -> bool:
        """Returns whether scores are on the front of all scores so far, at a new place. If so, adds them to it."""
        if any(objective.name not in scores for objective in self._objectives):
            return False
        costs = tuple(_cost(objective, scores[objective.name]) for objective in self._objectives)
        if any(_no_worse(other, costs) for other in self._front):
            return False
        self._front = [other for other in self._front if not _no_worse(costs, other)] + [costs]
        return True

    def _meets_target(self, scores: Mapping[str, float]) -> bool:
        """Returns whether there is a target, and all of its scores are reached."""
        objectives = {objective.name: objective for objective in self._objectives}
        for name, value in self._target.items():
            if name not in scores:
                return False
            objective = objectives[name]
            # Negated, so that a score that is NaN does not reach the target.
            if not _cost(objective, scores[name]) <= _cost(objective, value):
                return False
        return bool(self._target)


def _end_of(row: TrialRow) -> datetime:
    """Returns when an attempt ended. One that has not ended is the last in order."""
    return row.ended or datetime.max.replace(tzinfo=UTC)


def _cost(objective: Objective, score: float) -> float:
    """Returns the score with the sign that makes lower values better."""
    return score if objective.direction == "minimize" else -score


def _no_worse(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return all(left <= right for left, right in zip(one, other, strict=True))
