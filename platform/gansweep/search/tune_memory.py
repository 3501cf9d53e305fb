"""Frees what Tune keeps of each trial that has ended, so that the driver of a long sweep stays small."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ray.tune.progress_reporter import TrialProgressCallback
from ray.tune.schedulers import MedianStoppingRule

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ray.tune.experiment import Trial
    from ray.tune.schedulers import TrialScheduler

__all__ = ["NoProgress", "forget_ended_trials"]

_KEPT = 100
"""Ended trials that Tune keeps: an actor of one that has just ended may still have something to tell."""


class NoProgress(TrialProgressCallback):  # type: ignore[misc]
    """Prints nothing. Tune adds a callback that keeps all trials, unless it is given one of this kind."""

    def on_trial_result(self, *_: Any, **__: Any) -> None:
        """Called for each report."""

    def on_trial_complete(self, *_: Any, **__: Any) -> None:
        """Called for each trial that ended in order."""

    def on_trial_error(self, *_: Any, **__: Any) -> None:
        """Called for each trial that failed."""


def forget_ended_trials(scheduler: TrialScheduler) -> None:
    """Lets Tune forget all but the last ended trials of a run. Everything about them is in the store.

    Tune keeps all trials until a run ends, some 20 kB each. It gives its controller to nothing but a scheduler.

    Args:
        scheduler: scheduler of the run. Each time that it is told of a new trial, Tune forgets the oldest ended ones.
    """
    tell = scheduler.on_trial_add
    ended: dict[Trial, None] = {}  # in the order in which they were seen to have ended

    def on_trial_add(tune_controller: Any, trial: Trial) -> None:
        forgotten = _forget(tune_controller, ended)
        if isinstance(scheduler, MedianStoppingRule):
            _keep_numbers(scheduler, forgotten)
        tell(tune_controller, trial)

    scheduler.on_trial_add = on_trial_add


def _forget(tune_controller: Any, ended: dict[Trial, None]) -> set[Trial]:
    """Removes ended trials from everything in which the controller keeps them, except for the last. Returns them."""
    trials = tune_controller.get_trials()
    ended.update(dict.fromkeys(trial for trial in trials if trial.is_finished()))
    forgotten = set(list(ended)[:-_KEPT])
    trials[:] = [trial for trial in trials if trial not in forgotten]
    controller = tune_controller._tune_controller  # noqa: SLF001 (Tune has no other way to drop them)
    for kept in (
        controller._stopped_trials,  # noqa: SLF001
        controller._failed_trials,  # noqa: SLF001
        controller._live_trials,  # noqa: SLF001
        controller._trials_to_cache,  # noqa: SLF001
    ):
        kept.difference_update(forgotten)
    for trial in forgotten:
        del ended[trial]
    return forgotten


def _keep_numbers(rule: MedianStoppingRule, forgotten: Iterable[Trial]) -> None:
    """Lets the median rule keep ended trials by name, and of their reports the numbers that it compares."""
    names = (rule._time_attr, rule._metric)  # noqa: SLF001 (Tune has no other way to drop the rest)
    for trial in forgotten:
        reports = rule._results.pop(trial, [])  # noqa: SLF001
        if reports:
            rule._results[trial.trial_id] = [{name: report[name] for name in names} for report in reports]  # noqa: SLF001
        rule._last_pause.pop(trial, None)  # noqa: SLF001
        rule._stopped_trials.discard(trial)  # noqa: SLF001
