"""Creates schedulers by name, with a seed and with the reports of a resumed sweep."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler, MedianStoppingRule, TrialScheduler

from gansweep.errors import ConfigError
from gansweep.search.halving import MultiObjectiveHalving, keeps_by_any, keeps_by_fronts
from gansweep.seeds import seed_from

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from gansweep.config import Objective, SchedulerSettings
    from gansweep.experiment import Experiment

__all__ = ["Compared", "check_scheduler", "make_scheduler"]

_BY_ALL = {"mo-asha": keeps_by_fronts, "asha-any": keeps_by_any}
"""Schedulers that compare trials by all objectives."""

_TIME = "reported"
"""The trial's own number of reports. Tune's counter restarts at 0 when it retries a trial."""


@dataclass(frozen=True)
class Compared:
    """How the trials of a search are compared while they run.

    Args:
        settings: settings of the scheduler.
        objectives: the objectives, in the study's order.
        reports: number of reports of a trial that is not stopped.
    """

    settings: SchedulerSettings
    objectives: Sequence[Objective]
    reports: int

    @classmethod
    def of(cls, experiment: Experiment) -> Compared:
        """Returns how an experiment compares its trials."""
        return cls(experiment.scheduler, experiment.objectives, experiment.reports)


def make_scheduler(compared: Compared, reports: pd.DataFrame, seed: int) -> TrialScheduler:
    """Creates the scheduler of a search, which `check_scheduler` has accepted.

    It stops no trial if its kind is `none`, or if the grace period has all of a trial's reports.

    Args:
        compared: kind of the scheduler, objectives and number of reports.
        reports: the sweep's reports so far, with the columns `trial_id`, `index` and one per objective. The scheduler
            starts with them, so that a resumed sweep goes on as if it had not stopped.
        seed: seed of the scheduler's random choices.
    """
    settings = compared.settings
    if settings.kind == "none" or compared.reports <= settings.grace:
        return FIFOScheduler()
    directions = {objective.name: objective.direction for objective in compared.objectives}
    if settings.kind in _BY_ALL:
        halving = MultiObjectiveHalving(
            compared.objectives,
            rungs_of(compared.reports, settings.grace, settings.reduction_factor),
            1.0 / settings.reduction_factor,
            _BY_ALL[settings.kind],
        )
        halving.fill(_measured(reports, list(directions)))
        return halving
    mode = "min" if directions[settings.metric] == "minimize" else "max"
    if settings.kind == "median":
        rule = MedianStoppingRule(
            time_attr=_TIME,
            metric=settings.metric,
            mode=mode,
            grace_period=settings.grace,
            min_time_slice=math.inf,  # no trial is paused until there are enough others to compare with
        )
        for report in _measured(reports, [settings.metric]):
            told = {_TIME: int(report["index"]) + 1, settings.metric: report[settings.metric]}
            rule._results[report["trial_id"]].append(told)  # noqa: SLF001 (Tune has no other way to fill it)
        return rule
    rungs = len(rungs_of(compared.reports, settings.grace, settings.reduction_factor))
    scheduler = FilledHalving(
        seed,
        time_attr=_TIME,
        metric=settings.metric,
        mode=mode,
        max_t=compared.reports,
        grace_period=settings.grace,
        reduction_factor=settings.reduction_factor,
        brackets=rungs if settings.kind == "hyperband" else 1,
    )
    scheduler.fill(reports)
    return scheduler


def rungs_of(reports: int, grace: int, factor: int) -> list[int]:
    """Returns the numbers of reports at which trials are compared: `grace`, and each `factor` times the last."""
    count = int(math.log(reports / grace) / math.log(factor) + 1e-9) + 1
    return [grace * factor**rung for rung in range(count)]


def check_scheduler(compared: Compared) -> None:
    """Checks that a scheduler can compare trials by these objectives.

    Raises:
        ConfigError: it compares trials by a score that is not an objective, or by the rank of several objectives if
            there is only one.
    """
    settings = compared.settings
    objectives = [objective.name for objective in compared.objectives]
    if settings.kind == "none":
        return
    if settings.kind in _BY_ALL:
        # `asha-any` is `asha` then.
        if len(objectives) < 2 and settings.kind != "asha-any":
            what = f"{settings.kind} compares trials by several objectives, and there is one: {objectives[0]}"
            raise ConfigError(what, where="scheduler", fix="choose asha, hyperband, median or none")
    elif settings.metric not in objectives:
        what = f"scheduler.metric = {settings.metric!r} is no objective"
        raise ConfigError(what, fix=f"objectives: {', '.join(objectives)}")


class FilledHalving(AsyncHyperBandScheduler):  # type: ignore[misc]
    """Asynchronous successive halving (ASHA), with one bracket or, as in HyperBand, with several.

    Trials of earlier calls count at their rungs, and each trial's bracket depends only on its number and the seed. A
    resumed sweep therefore stops the same trials as an uninterrupted one.

    Args:
        seed: seed of the choice of brackets.
        settings: settings of `AsyncHyperBandScheduler`.
    """

    def __init__(self, seed: int, **settings: Any) -> None:
        super().__init__(**settings)
        self._seed = seed

    def fill(self, reports: pd.DataFrame) -> None:
        """Adds reports to the rungs, under the trials' own ids."""
        for report in _measured(reports, [self._metric]):
            for milestone, recorded in _rungs(self._bracket(report["trial_id"])):
                if report["index"] + 1 == milestone:
                    recorded[report["trial_id"]] = self._metric_op * report[self._metric]

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """Assigns the trial to its bracket. A resumed trial keeps its place at the rungs."""
        super().on_trial_add(tune_controller, trial)
        name = trial.config["trial_id"]
        bracket = self._bracket(name)
        self._trial_info[trial.trial_id] = bracket
        for _, recorded in _rungs(bracket):
            if name in recorded:
                recorded[trial.trial_id] = recorded.pop(name)

    def _bracket(self, trial_id: str) -> Any:
        sizes = np.array([len(_rungs(bracket)) for bracket in self._brackets])
        shares = np.exp(sizes - sizes.max())
        drawn = np.random.default_rng(seed_from(self._seed, "bracket", trial_id)).random()
        return self._brackets[int(np.searchsorted(np.cumsum(shares / shares.sum()), drawn))]


def _measured(reports: pd.DataFrame, metrics: list[str]) -> list[dict[str, Any]]:
    """Returns the reports that have all of these scores, with trial and index."""
    if not set(metrics) <= set(reports.columns):
        return []
    kept = reports.loc[reports[metrics].notna().all(axis=1), ["trial_id", "index", *metrics]]
    found: list[dict[str, Any]] = kept.to_dict("records")  # type: ignore[assignment]
    return found


def _rungs(bracket: Any) -> list[tuple[float, dict[str, float]]]:
    """Returns a bracket's rungs: the number of reports, and each trial's value there (larger is better)."""
    rungs: list[tuple[float, dict[str, float]]] = bracket._rungs  # noqa: SLF001 (Tune has no other way to fill them)
    return rungs
