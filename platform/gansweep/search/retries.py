"""Decides which failures of a trial's actor count against the trial."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from ray.tune import Callback

from gansweep.search.cluster import MOST_LOST_NODES

if TYPE_CHECKING:
    from ray.tune.experiment import Trial

__all__ = ["ProgressCounts"]

log = logging.getLogger(__name__)


class ProgressCounts(Callback):  # type: ignore[misc]
    """Excludes failures after which a trial made a new report, and failures because of a lost node.

    Tune itself excludes announced preemptions.
    """

    def __init__(self) -> None:
        self._lost: dict[str, int] = {}

    def on_trial_result(self, iteration: int, trials: list[Trial], trial: Trial, *_: Any, **__: Any) -> None:  # noqa: ARG002
        """Resets the count at a report: the trial makes progress despite earlier failures."""
        trial.run_metadata.num_failures = 0
        self._lost.pop(trial.trial_id, None)

    def on_trial_recover(self, iteration: int, trials: list[Trial], trial: Trial, **_: Any) -> None:  # noqa: ARG002
        """Called for a failure that is retried."""
        gone = _is_gone(trial.node_ip)
        what = "the node of its process was lost" if gone else "its process died"
        log.warning("trial %s: %s; it goes on from its last checkpoint", trial.config.get("trial_id"), what)
        lost = self._lost.get(trial.trial_id, 0)
        if lost < MOST_LOST_NODES and gone:
            self._lost[trial.trial_id] = lost + 1
            trial.run_metadata.num_failures -= 1


def _is_gone(address: str | None) -> bool:
    import ray

    return address is not None and address not in {node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"]}
