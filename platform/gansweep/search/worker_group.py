"""The warm worker group: Ray Train workers that stay alive between trials.

The documented pattern starts a TorchTrainer for every trial, which takes tens of seconds before the first batch. Here
one TorchTrainer runs in a thread, and its workers take one trial after another from a mailbox. Ray Train restarts
workers that die, and their trial resumes from its last checkpoint.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import threading
import time
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from gansweep.errors import one_line
from gansweep.search.cluster import on_this_node, torch_trainer
from gansweep.search.hung_workers import kill_workers
from gansweep.search.mailbox import CALLS_AT_ONCE, Job, Outcome, TrialMailbox
from gansweep.search.silence import SilenceLimit
from gansweep.search.worker import WorkerGroupSettings, work
from gansweep.store.filesystem import Files

if TYPE_CHECKING:
    from gansweep.search.cluster import Footprint
    from gansweep.search.mailbox import Hang

__all__ = ["WorkerGroup"]

log = logging.getLogger(__name__)

_POLL_S = 2.0  # between two checks of a waiting owner whether its worker group is alive
# Per worker group. The mailbox limits restarts per trial, which distinguishes a bad trial from a bad node.
_WORKER_RESTARTS = 100
_NODES_S = 10.0  # how often a waiting owner looks whether the nodes of its workers are still there
_RESTART_S = 180.0  # for Ray Train to replace killed workers
_RSS_GROWTH_LIMIT = 4 * 2**30  # bytes by which a worker may grow after its first trial


class WorkerGroup:
    """Warm workers of one world size. Not thread-safe: one owner, one trial at a time."""

    stop: threading.Event | None = None
    """Once set, `outcome` raises KeyboardInterrupt. For groups whose owner is not the main thread."""

    _error: BaseException | None
    _killed_at: float | None = None
    _mailbox: Any
    _nodes_seen_at: float = 0.0
    _thread: threading.Thread

    def __init__(self, settings: WorkerGroupSettings, footprint: Footprint, max_starts: int = 3) -> None:
        self._settings = settings
        self._footprint = footprint
        self._max_starts = max_starts
        self._tickets = itertools.count()
        self._job: Job | None = None
        self._start()

    @property
    def footprint(self) -> Footprint:
        """Resources of the worker group."""
        return self._footprint

    def assign(self, trial_id: str, config: dict[str, Any], *, attempt: int = 0, reported: int = 0) -> None:
        """Assigns a trial to the workers. A running trial ends at its next report."""
        import ray

        if self._leaking() or not self._thread.is_alive():
            self.recycle()
        self._job = Job(next(self._tickets), trial_id, config, attempt, reported)
        ray.get(self._mailbox.assign.remote(self._job))

    def outcome(self, index: int) -> Outcome:
        """Waits for report `index` of the assigned trial, or for the end of the trial.

        A group that Ray Train cannot restart is replaced, and the trial resumes from its checkpoint. After `max_starts`
        such deaths the trial fails. A group that does not fit on the cluster has not died: it fitted when the sweep
        began, so it waits until it fits again. Workers that hang are killed, and Ray Train replaces them.

        Returns:
            The report, or how the trial ended.

        Raises:
            CohortError: a node does not have the sweep's cohort at its path, so it cannot train any trial.
            KeyboardInterrupt: `stop` is set.
        """
        import ray

        assert self._job is not None
        deaths = 0
        error = None
        while deaths < self._max_starts:
            self._heed_stop()
            reference = self._mailbox.outcome.remote(self._job.ticket, index)
            try:
                while self._thread.is_alive():
                    if ray.wait([reference], timeout=_POLL_S)[0]:
                        outcome: Outcome = ray.get(reference)
                        if outcome.mistake is not None:
                            raise outcome.mistake
                        return outcome
                    self._heed_stop()
                    if self._stuck():
                        break
            except ray.exceptions.RayActorError as lost:  # the mailbox's own node died
                self._error = lost
            job = self._job
            error = self._error or error
            if _found_no_room(self._error):
                log.warning("trial %s waits for room on the cluster", job.trial_id)
            else:
                deaths += 1
                what = one_line(error or "it ended", 200)
                log.warning("trial %s: its worker group died (%s); another begins in its place", job.trial_id, what)
            self.recycle()
            self.assign(job.trial_id, job.config, attempt=job.attempt, reported=index)
        return Outcome(ending="failed", reason=f"its worker group died {deaths} times: {error}")

    def recycle(self, footprint: Footprint | None = None) -> None:
        """Replaces every process of the worker group, optionally with another world size."""
        self.close()
        self._footprint = footprint or self._footprint
        self._start()

    def close(self, timeout_s: float = 15.0) -> None:
        """Shuts down the workers. Those that do not exit in time are killed with their placement group."""
        import ray

        with contextlib.suppress(ray.exceptions.RayActorError):
            ray.get(self._mailbox.close.remote())
        self._thread.join(timeout_s)
        ray.kill(self._mailbox)

    def _heed_stop(self) -> None:
        if self.stop is not None and self.stop.is_set():
            raise KeyboardInterrupt

    def _stuck(self) -> bool:
        """Kills workers that hang. Returns whether Ray Train has failed to replace killed ones in time."""
        import ray

        assert self._job is not None
        for restart in ray.get(self._mailbox.restarts.remote()):
            log.warning("%s; other workers go on from its last checkpoint", restart)
        if time.monotonic() - self._nodes_seen_at > _NODES_S:
            self._nodes_seen_at = time.monotonic()
            if ray.get(self._mailbox.lost.remote()):
                log.warning("trial %s: a node was lost under it; it waits for room on the cluster", self._job.trial_id)
        if self._killed_at is not None:
            if ray.get(self._mailbox.fetched.remote()):
                self._killed_at = None
            elif time.monotonic() - self._killed_at > _RESTART_S:
                self._error = TimeoutError(f"no workers came in the place of killed ones within {_RESTART_S:.0f} s")
                return True
            return False
        hang: Hang | None = ray.get(self._mailbox.hang.remote(self._job.ticket))
        if hang is not None:
            log.warning(
                "trial %s: its workers have said nothing for %.0f s, so they count as hung; they are killed, and others"
                " go on from its last checkpoint",
                self._job.trial_id,
                hang.seconds,
            )
            kill_workers(hang.workers)
            self._killed_at = time.monotonic()
        return False

    def _start(self) -> None:
        import ray

        self._error = None
        self._killed_at = None
        self._first_rss = 0
        # Not in the placement group of a Tune trial, which would capture it otherwise.
        self._mailbox = (
            ray.remote(num_cpus=0, max_concurrency=CALLS_AT_ONCE)(TrialMailbox)
            .options(scheduling_strategy=on_this_node())
            .remote(self._max_starts, silence=self._silence_limit())
        )
        self._thread = threading.Thread(target=self._fit, args=(self._trainer(),), name="worker group", daemon=True)
        self._thread.start()

    def _silence_limit(self) -> SilenceLimit:
        settings = self._settings
        return SilenceLimit(settings.hang_seconds, settings.checkpoint_seconds, settings.hang_factor)

    def _trainer(self) -> Any:
        files = Files(self._settings.store).child("ray")
        trainer = torch_trainer(
            work,
            {"settings": self._settings, "mailbox": self._mailbox},
            self._footprint,
            name=f"workers-{uuid4().hex[:12]}",
            storage=files.root,
            max_failures=_WORKER_RESTARTS,
        )
        if files.local is None:
            # Not as a URI, because Ray logs and shows it, including any credentials.
            trainer.run_config.storage_filesystem = files.filesystem
        return trainer

    def _fit(self, trainer: Any) -> None:
        try:
            trainer.fit()
        except Exception as error:
            # Kept for the owner, which polls it: nothing above this thread could catch it.
            self._error = error

    def _leaking(self) -> bool:
        import ray

        rss = ray.get(self._mailbox.worker_rss.remote())
        self._first_rss = self._first_rss or rss
        return bool(rss - self._first_rss > _RSS_GROWTH_LIMIT)


def _found_no_room(error: BaseException | None) -> bool:
    """Returns whether a worker group ended because its workers could not be placed in time.

    The cluster is busy, or has lost a node.
    """
    from ray.train import ControllerError
    from ray.train.v2._internal.exceptions import WorkerGroupStartupTimeoutError  # it has no public name in Ray Train

    return isinstance(error, ControllerError) and isinstance(error.controller_failure, WorkerGroupStartupTimeoutError)
