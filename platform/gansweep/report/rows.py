"""Rows of a leaderboard, and their differences from the first place."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Literal

from gansweep.store.schema import config_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gansweep.config import TrialConfig

__all__ = ["Difference", "LeaderboardRow", "Verdict"]

Verdict = Literal["differs", "no evidence", "cannot be told"]


@dataclass(frozen=True)
class Difference:
    """Difference of one objective between the first place and another configuration.

    Args:
        objective: name of the objective.
        difference: first minus other, in the units of the objective.
        low, high: 95 % interval, or None.
        p: two-sided p-value of no difference, or None; corrected (Holm 1979) over all comparisons with the first place.
        trainings: numbers of trainings of the first and of the other.
        verdict: `differs` if p is below 0.05.
        reason: what the interval covers, or why there is no verdict.
    """

    objective: str
    difference: float
    low: float | None
    high: float | None
    p: float | None
    trainings: tuple[int, int]
    verdict: Verdict
    reason: str


@dataclass(frozen=True)
class LeaderboardRow:
    """One trial, or a configuration with all its trainings (see `comparison.folded`).

    Args:
        trial_id: zero-padded trial number.
        status: how its last attempt ended, or `running`.
        rank: rank of its configuration, from 1; see `gansweep.store.ranking.rank_trials` for the order.
        front: 0 on the Pareto front of the trials with the same status; -1 if an objective is missing or a constraint
            is broken.
        scores: scores of its last report, which belong to its checkpoint; scores that were not measured are omitted.
        fid_features: name and hash of the feature extractor of `fid` and `kid`.
        config_json: configuration of the trial.
        reason: why it stopped, diverged or failed.
        stopped_at: generator iteration at which the scheduler stopped it.
        iterations: number of generator iterations trained.
        seconds, gpu_seconds: time used by all attempts.
        configuration: first trial with the same configuration. Trials that differ only in seed are its repeats.
        repeat_of: trial that `gansweep repeat` retrained; empty for trainings of the search itself.
        counts: whether it is included in the mean of its configuration. If there are repeats, the search's own training
            is not, because it was selected for its score.
        trainings: number of trainings behind `scores`; more than 1 only in a row for a configuration.
        spread: standard deviation of each score over these trainings.
        against_first: first place minus this configuration, by objective, for the second place and the Pareto front.
        infeasible: the constraints that its configuration breaks, such as `fid = 30 > 20`; empty if none.
        energy_joules: energy that the GPUs of all attempts used, as far as it is known; NaN if none is.
        costs: what a constraint can bound besides scores (`gansweep.store.feasibility.COSTS`), as far as it is known.
    """

    trial_id: str
    status: str
    rank: int
    front: int
    scores: Mapping[str, float]
    fid_features: str
    config_json: str
    reason: str
    stopped_at: int | None
    iterations: int
    seconds: float
    gpu_seconds: float
    configuration: str
    repeat_of: str = ""
    counts: bool = True
    trainings: int = 1
    spread: Mapping[str, float] = field(default_factory=dict)
    against_first: tuple[Difference, ...] = ()
    infeasible: str = ""
    energy_joules: float = math.nan
    costs: Mapping[str, float] = field(default_factory=dict)

    @cached_property
    def config(self) -> TrialConfig:
        """Configuration of the trial. It is validated when it is first asked for: few of many rows are shown."""
        return config_of(self.trial_id, self.config_json)

    @property
    def ending(self) -> str:
        """How it ended, for tables: its status, or `infeasible` for a usable trial that breaks a constraint."""
        return "infeasible" if self.infeasible else self.status
