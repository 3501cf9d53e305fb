"""The trials of a finished sweep with their reports and times, on which searches can be simulated."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from gansweep.errors import StoreError
from gansweep.progress import SIGNALS
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
"""Minimum number of trials. A sampler proposes the first ten at random."""


@dataclass(frozen=True)
class RecordedTrial:
    """A trial that no scheduler stopped.

    Args:
        trial_id: id of the trial.
        params: the sampler's parameters.
        scores: objectives at each report, `[reports, objectives]`, in their own directions.
        seconds: seconds from the start of the trial to each report, `[reports]`.
        diverged: whether the trial diverged before its last report.
        signals: signals at each report, `[reports]` each, by name. A value that is not known is NaN.
    """

    trial_id: str
    params: Mapping[str, Any]
    scores: NDArray[np.float64]
    seconds: NDArray[np.float64]
    diverged: bool
    signals: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)


@dataclass(frozen=True)
class RecordedSweep:
    """The trials of a sweep that can be simulated.

    Args:
        name: location of the store.
        objectives: objectives in the study's order.
        reports: number of reports of a trial that does not diverge.
        trials: the trials.
        distributions: distributions of the sampler's parameters, by name.
        left_out: numbers of trials that cannot be simulated, by reason.
    """

    name: str
    objectives: Sequence[Objective]
    reports: int
    trials: Sequence[RecordedTrial]
    distributions: Mapping[str, BaseDistribution]
    left_out: Mapping[str, int]

    @property
    def conditional(self) -> list[str]:
        """Parameters that some trials do not have."""
        found = set()
        for trial in self.trials:
            found |= self.distributions.keys() - trial.params.keys()
        return sorted(found)

    @cached_property
    def quality(self) -> NDArray[np.float64]:
        """Quality of each trial at its end, `[trials, objectives]`: the fraction of the other trials that are worse.

        It is 0 for a diverged trial. It uses ranks instead of scores, because FID spans orders of magnitude: one bad
        trial would determine every hypervolume.
        """
        signs = np.array([_sign(objective) for objective in self.objectives])
        completed = np.array([not trial.diverged for trial in self.trials])
        final = np.array([trial.scores[-1] * signs for trial in self.trials if not trial.diverged])
        worse = (final[:, None, :] > final[None, :, :]).sum(axis=1)
        quality = np.zeros((len(self.trials), len(self.objectives)))
        quality[completed] = worse / max(1, len(final) - 1)
        return quality

    @property
    def useful(self) -> int:
        """Index of the objective that measures the benefit of the images: the last that is maximised, or else 0."""
        maximised = [place for place, item in enumerate(self.objectives) if item.direction == "maximize"]
        return maximised[-1] if maximised else 0


def recorded_sweep(store: Store) -> RecordedSweep:
    """Reads the trials of a store that completed or diverged.

    Raises:
        StoreError: there are too few of them. The message gives the reasons for the others.
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
        reason = _unusable(row, own, names, count)
        if reason:
            left_out[reason] = left_out.get(reason, 0) + 1
            continue
        params, known = parameters_from_json(row["parameters"])
        trial = _trial(row, own, names, params)
        reason = _unlike(trial, known, distributions)
        if reason:
            left_out[reason] = left_out.get(reason, 0) + 1
            continue
        distributions |= {name: item for name, item in known.items() if name not in distributions}
        trials.append(trial)
    completed = sum(not trial.diverged for trial in trials)
    if completed < LEAST_TRIALS:
        what = f"{completed} trials ran to their end, and a replay needs {LEAST_TRIALS}"
        if left_out:
            others = ", ".join(f"{number} {reason}" for reason, number in left_out.items())
            what = f"{what} (others: {others})"
        raise StoreError(what, where=store.label, fix="run a sweep with --scheduler none")
    return RecordedSweep(store.label, store.info.objectives, count, trials, distributions, left_out)


def check_same_objectives(sweeps: Sequence[RecordedSweep]) -> None:
    """Checks that sweeps can be summarised together.

    Raises:
        StoreError: a sweep has other objectives than the first.
    """
    for other in sweeps[1:]:
        if tuple(other.objectives) != tuple(sweeps[0].objectives):
            here = ", ".join(item.name for item in other.objectives)
            first = ", ".join(item.name for item in sweeps[0].objectives)
            what = f"its objectives are {here}, and those of {sweeps[0].name} are {first}"
            raise StoreError(what, where=other.name, fix="replay them one by one")


def _sign(objective: Objective) -> float:
    """Returns the sign that makes higher scores better."""
    return -1.0 if objective.direction == "minimize" else 1.0


def _unusable(row: Mapping[Any, Any], reports: pd.DataFrame | None, names: Sequence[str], count: int) -> str:
    """Returns why a trial cannot be simulated; an empty string if it can."""
    status = row["status"]
    if status == "stopped":
        return "stopped early"
    if status not in ("completed", "diverged"):
        return str(status)
    if not isinstance(row["parameters"], str) or not row["parameters"]:
        return "without the sampler's parameters"
    if reports is not None and not set(names) <= set(reports.columns):
        return "without all objectives"
    if status == "diverged":
        return ""
    is_complete = reports is not None and len(reports) == count and reports[list(names)].notna().to_numpy().all()
    return "" if is_complete else "with missing reports"


def _unlike(trial: RecordedTrial, known: Mapping[str, BaseDistribution], before: Mapping[str, BaseDistribution]) -> str:
    """Returns why a trial cannot be simulated beside those before it; an empty string if it can."""
    if not known:
        return "without usable parameters"
    if any(type(before.get(name, item)) is not type(item) for name, item in known.items()):
        return "with parameters of another kind"
    return "" if np.isfinite(trial.seconds).all() else "without its duration"


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
    # A diverged trial ends at its first report with a value that is not finite.
    finite = np.isfinite(scores).all(axis=1)
    if not finite.all():
        scores = scores[: int(finite.argmin())]
    recorded = (ordered["seconds_training"] + ordered["seconds_scoring"]).to_numpy(np.float64)
    seconds = recorded[: len(scores)]
    # A resumed trial starts counting at 0 again. Its reports are then spaced evenly over its duration.
    is_ascending = bool(len(seconds)) and bool((np.diff(seconds, prepend=0.0) > 0).all())
    if not is_ascending:
        seconds = total * np.arange(1, len(scores) + 1) / max(1, len(ordered))
    signals = {}
    for name in SIGNALS:
        if f"signal.{name}" in ordered:
            signals[name] = ordered[f"signal.{name}"].to_numpy(np.float64)
    return RecordedTrial(row["trial_id"], params, scores, seconds, diverged, signals)
