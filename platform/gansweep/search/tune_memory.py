"""Frees what Tune keeps of each trial that has ended, so that the driver of a long sweep stays small."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ray.tune import Callback

if TYPE_CHECKING:
    from ray.tune.experiment import Trial

__all__ = ["Forgetting"]


class Forgetting(Callback):  # type: ignore[misc]
    """Empties the results, configuration and statistics of ended trials. All of it is in the store.

    It must be the last callback, because others read these.
    """

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **_: Any) -> None:  # noqa: ARG002
        """Called for each trial that ended in order."""
        _forget(trial)

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **_: Any) -> None:  # noqa: ARG002
        """Called for each trial that failed."""
        _forget(trial)


def _forget(trial: Trial) -> None:
    metadata = trial.run_metadata
    for kept in (trial.config, trial.evaluated_params, metadata.last_result):
        kept.clear()  # not replaced, because Tune has other references to it
    # A result of the trial's actor. Ray keeps it, and how it was made, as long as someone refers to it.
    trial._default_result_or_future = None  # noqa: SLF001 (Tune has no other way to drop it)
    metadata.metric_analysis.clear()
    metadata.metric_n_steps.clear()
