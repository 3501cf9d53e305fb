"""The warm gang: Ray Train workers that stay alive from trial to trial.

The documented pattern starts a TorchTrainer for every trial: tens of seconds before the first batch. Here one
TorchTrainer lives in a thread; its workers take trial after trial from the desk. Ray Train restarts workers that die,
and the trial they were on goes on from its last checkpoint.
"""

from __future__ import annotations

import itertools
import logging
import threading
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from gansweep.search.desk import CALLS_AT_ONCE, Desk, Job, Outcome
from gansweep.search.worker import GangSettings, work
from gansweep.store.files import Files

if TYPE_CHECKING:
    from gansweep.search.capacity import Footprint

__all__ = ["Gang"]

log = logging.getLogger(__name__)

_POLL_S = 5.0  # how often a waiting owner looks whether its gang is still alive
_WORKER_RESTARTS = 100  # per gang: the desk limits restarts per trial, which is what tells a bad trial from a bad node
_RSS_GROWTH_LIMIT = 4 * 2**30  # bytes a worker may grow over its first trial before its gang is replaced


class Gang:
    """Workers of one world size, kept warm. Not thread-safe: one owner, one trial at a time."""

    def __init__(self, settings: GangSettings, footprint: Footprint, max_starts: int = 3) -> None:
        self._settings, self._footprint, self._max_starts = settings, footprint, max_starts
        self._tickets = itertools.count()
        self._job: Job | None = None
        self._start()

    @property
    def footprint(self) -> Footprint:
        """What the gang occupies."""
        return self._footprint

    def assign(self, trial_id: str, config: dict[str, Any], *, attempt: int = 0, reported: int = 0) -> None:
        """Turns the workers to a trial; one they are on ends at its next report."""
        import ray

        if self._leaking() or not self._thread.is_alive():
            self.recycle()
        self._job = Job(next(self._tickets), trial_id, config, attempt, reported)
        ray.get(self._desk.assign.remote(self._job))

    def outcome(self, index: int) -> Outcome:
        """Waits for the assigned trial's report `index`, or for its ending.

        A gang that died beyond Ray Train's repair is replaced, and the trial goes on from its checkpoint. One that
        found no room did not die: the cluster could hold it when the sweep began, so it waits until it can again.

        Raises:
            CohortError: a node has not the sweep's cohort at its path, so that no trial can be trained there.
        """
        import ray

        assert self._job is not None
        deaths, error = 0, None
        while deaths < self._max_starts:
            reference = self._desk.outcome.remote(self._job.ticket, index)
            while self._thread.is_alive():
                if ray.wait([reference], timeout=_POLL_S)[0]:
                    outcome: Outcome = ray.get(reference)
                    if outcome.mistake is not None:
                        raise outcome.mistake
                    return outcome
            job, error = self._job, self._error or error
            if _found_no_room(self._error):
                log.warning("trial %s waits for room on the cluster", job.trial_id)
            else:
                deaths += 1
            self.recycle()
            self.assign(job.trial_id, job.config, attempt=job.attempt, reported=index)
        return Outcome(ending="failed", reason=f"its gang died {deaths} times: {error}")

    def recycle(self, footprint: Footprint | None = None) -> None:
        """Replaces every process of the gang, if wanted with another world size."""
        self.close()
        self._footprint = footprint or self._footprint
        self._start()

    def close(self, timeout_s: float = 15.0) -> None:
        """Sends the workers home; those that do not go are killed with their placement group."""
        import ray

        ray.get(self._desk.close.remote())
        self._thread.join(timeout_s)
        ray.kill(self._desk)

    def _start(self) -> None:
        import ray

        self._error: BaseException | None = None
        self._first_rss = 0
        # Zero CPUs and placed anywhere: inside a Tune trial it must not be captured by the trial's placement group.
        self._desk = (
            ray.remote(num_cpus=0, max_concurrency=CALLS_AT_ONCE)(Desk)
            .options(scheduling_strategy="DEFAULT")
            .remote(self._max_starts)
        )
        self._thread = threading.Thread(target=self._fit, args=(self._trainer(),), name="gang", daemon=True)
        self._thread.start()

    def _trainer(self) -> Any:
        from ray.train import FailureConfig, RunConfig, ScalingConfig
        from ray.train.torch import TorchTrainer

        footprint = self._footprint
        return TorchTrainer(
            work,
            train_loop_config={"settings": self._settings, "desk": self._desk},
            scaling_config=ScalingConfig(
                num_workers=footprint.workers,
                use_gpu=footprint.gpus_per_worker > 0,
                resources_per_worker={
                    "CPU": footprint.cpus_per_worker,
                    **({"GPU": footprint.gpus_per_worker} if footprint.gpus_per_worker else {}),
                },
            ),
            run_config=RunConfig(
                # A name of its own: Ray Train silently loads an old run's state found under the same name.
                name=f"gang-{uuid4().hex[:12]}",
                storage_path=Files(self._settings.store).child("ray").uri,
                failure_config=FailureConfig(max_failures=_WORKER_RESTARTS, controller_failure_limit=0),
            ),
        )

    def _fit(self, trainer: Any) -> None:
        try:
            trainer.fit()
        except Exception as error:
            # Kept for the owner, who polls: nothing above this thread could catch it.
            self._error = error

    def _leaking(self) -> bool:
        import ray

        rss = ray.get(self._desk.worker_rss.remote())
        self._first_rss = self._first_rss or rss
        return bool(rss - self._first_rss > _RSS_GROWTH_LIMIT)


def _found_no_room(error: BaseException | None) -> bool:
    """Whether a gang ended because its workers could not be placed in time: a busy cluster, or a lost node."""
    from ray.train import ControllerError
    from ray.train.v2._internal.exceptions import WorkerGroupStartupTimeoutError  # Ray Train has no public name for it

    return isinstance(error, ControllerError) and isinstance(error.controller_failure, WorkerGroupStartupTimeoutError)
