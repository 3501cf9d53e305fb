"""A finished sweep as a table, on which searches can be simulated: what each trial would report, and when."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from gansweep.errors import StoreError
from gansweep.search.parameters import parameters_from_json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd
    from numpy.typing import NDArray
    from optuna.distributions import BaseDistribution

    from gansweep.config import Objective
    from gansweep.store.store import Store

__all__ = ["LEAST_TRIALS", "RecordedSweep", "RecordedTrial", "check_same_objectives", "recorded_sweep"]

LEAST_TRIALS = 20
"""Fewer are no search: ten are proposed at random before a sampler models anything."""


@dataclass(frozen=True)
class RecordedTrial:
    """A trial that nobody stopped.

    Args:
        trial_id: its name.
        params: the sampler's values.
        scores: each objective at each report, `[reports, objectives]`, in the objectives' own directions.
        seconds: since the trial began, at each report, `[reports]`.
        diverged: whether it ended by itself before its last report.
    """

    trial_id: str
    params: Mapping[str, Any]
    scores: NDArray[np.float64]
    seconds: NDArray[np.float64]
    diverged: bool


@dataclass(frozen=True)
class RecordedSweep:
    """The trials of a sweep that can be simulated.

    Args:
        name: where the store is.
        objectives: in the study's order.
        reports: of a trial that does not diverge.
        trials: by trial.
        distributions: of the sampler's parameters, by name.
        left_out: how many trials cannot be simulated, by the reason.
    """

    name: str
    objectives: Sequence[Objective]
    reports: int
    trials: Sequence[RecordedTrial]
    distributions: Mapping[str, BaseDistribution]
    left_out: Mapping[str, int]

    @property
    def conditional(self) -> list[str]:
        """The parameters that not every trial has."""
        return sorted(name for name in self.distributions if any(name not in trial.params for trial in self.trials))

    @cached_property
    def quality(self) -> NDArray[np.float64]:
        """What each trial is worth at its end, `[trials, objectives]`: the fraction of the trials that are worse.

        Ranks, not scores: FID spans orders of magnitude, and one bad trial would decide every hypervolume. A trial that
        diverged is worth nothing.
        """
        ended = np.array([not trial.diverged for trial in self.trials])
        signs = np.array([-1.0 if item.direction == "minimize" else 1.0 for item in self.objectives])
        final = np.array([trial.scores[-1] * signs for trial in self.trials if not trial.diverged])
        worth = np.zeros((len(self.trials), len(self.objectives)))
        worth[ended] = (final[:, None, :] > final[None, :, :]).sum(axis=1) / max(1, len(final) - 1)
        return worth

    @property
    def useful(self) -> int:
        """The objective that tells the use of the images: the last that is maximised, as on the leaderboard."""
        return ([i for i, item in enumerate(self.objectives) if item.direction == "maximize"][-1:] or [0])[0]


def recorded_sweep(store: Store) -> RecordedSweep:
    """Reads the trials of a store that ran to their end, or diverged.

    Raises:
        StoreError: too few of them, with what became of the others.
    """
    rows = store.latest_trials()
    rows = rows[rows["repeat_of"].fillna("") == ""]
    count = int(store.info.experiment.get("reports", 1))
    names = [objective.name for objective in store.info.objectives]
    reports = {str(name): group for name, group in store.latest_reports().groupby("trial_id")}
    left_out: dict[str, int] = {}
    trials = []
    distributions: dict[str, BaseDistribution] = {}
    for row in rows.to_dict("records"):
        own = reports.get(row["trial_id"])
        if reason := _unusable(row, own, names, count):
            left_out[reason] = left_out.get(reason, 0) + 1
            continue
        params, known = parameters_from_json(row["parameters"])
        distributions |= {name: item for name, item in known.items() if name not in distributions}
        trials.append(_trial(row, own, names, params))
    whole = sum(not trial.diverged for trial in trials)
    if whole < LEAST_TRIALS:
        others = ", ".join(f"{number} {reason}" for reason, number in left_out.items())
        what = f"{whole} trials ran to their end, and a replay needs {LEAST_TRIALS}"
        fix = "run a sweep with --scheduler none"
        raise StoreError(what + (f" (others: {others})" if others else ""), where=store.label, fix=fix)
    return RecordedSweep(store.label, store.info.objectives, count, trials, distributions, left_out)


def check_same_objectives(sweeps: Sequence[RecordedSweep]) -> None:
    """Refuses sweeps that cannot be summed up together.

    Raises:
        StoreError: names the first sweep with other objectives.
    """
    for other in sweeps[1:]:
        if tuple(other.objectives) != tuple(sweeps[0].objectives):
            here = ", ".join(item.name for item in other.objectives)
            first = ", ".join(item.name for item in sweeps[0].objectives)
            what = f"its objectives are {here}, and those of {sweeps[0].name} are {first}"
            raise StoreError(what, where=other.name, fix="replay them one by one")


def _unusable(row: Mapping[Any, Any], reports: pd.DataFrame | None, names: Sequence[str], count: int) -> str:
    """Why a trial cannot be simulated; empty where it can."""
    status = row["status"]
    if status == "stopped":
        return "stopped early"
    if status not in ("completed", "diverged"):
        return str(status)
    if not isinstance(row["parameters"], str) or not row["parameters"]:
        return "without the sampler's parameters"
    have = 0 if reports is None else len(reports)
    if reports is not None and not set(names) <= set(reports.columns):
        return "without all objectives"
    if status == "completed" and (have != count or reports is None or reports[list(names)].isna().to_numpy().any()):
        return "with missing reports"
    return ""


def _trial(
    row: Mapping[Any, Any], reports: pd.DataFrame | None, names: Sequence[str], params: Mapping[str, Any]
) -> RecordedTrial:
    diverged = row["status"] == "diverged"
    total = float(row["seconds"])
    if reports is None:
        empty = np.zeros((0, len(names)))
        return RecordedTrial(row["trial_id"], params, empty, np.zeros(0), diverged)
    ordered = reports.sort_values("index")
    scores = ordered[list(names)].to_numpy(np.float64)
    # A report without a number is where a trial diverged.
    finite = np.isfinite(scores).all(axis=1)
    scores = scores[: len(finite) if finite.all() else int(finite.argmin())]
    # Resumed trials count their seconds anew: at equal parts of the whole then.
    told = (ordered["seconds_training"] + ordered["seconds_scoring"]).to_numpy(np.float64)[: len(scores)]
    rising = bool(len(told)) and bool((np.diff(told, prepend=0.0) > 0).all())
    seconds = told if rising else total * np.arange(1, len(scores) + 1) / max(1, len(ordered))
    return RecordedTrial(row["trial_id"], params, scores, seconds, diverged)
