"""Frees what Tune keeps of each trial that has ended, so that the driver of a long sweep stays small."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ray.tune import Callback

if TYPE_CHECKING:
    from ray.tune.experiment import Trial

__all__ = ["Forgetting"]


class Forgetting(Callback):  # type: ignore[misc]
    """Drops Tune's statistics of the metrics of ended trials. All results are in the store."""

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **_: Any) -> None:  # noqa: ARG002
        """Called for each trial that ended in order."""
        _forget(trial)

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **_: Any) -> None:  # noqa: ARG002
        """Called for each trial that failed."""
        _forget(trial)


def _forget(trial: Trial) -> None:
    trial.run_metadata.metric_analysis.clear()
    trial.run_metadata.metric_n_steps.clear()
