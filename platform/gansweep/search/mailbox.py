"""The mailbox of a worker group, from which its workers fetch trials and to which they send reports.

Workers never wait for the driver inside a collective operation, because gloo and NCCL would treat an idle group as hung
and time out. Instead, every rank waits on this actor, and all ranks get the same answers from it.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from gansweep.search.hung_workers import WorkerProcess
from gansweep.search.silence import Silence, SilenceLimit

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from gansweep.errors import CohortError
    from gansweep.progress import Report

__all__ = ["CALLS_AT_ONCE", "OUT_OF_MEMORY", "Hang", "Job", "Outcome", "TrialMailbox"]

OUT_OF_MEMORY = "out of device memory"
"""Start of the reason of a trial that needs more memory than its workers have."""

CALLS_AT_ONCE = 1000
"""Number of concurrent calls of the actor. Every rank keeps one waiting. Ray's default of 1000 is set explicitly."""

MOST_LOST = 20
"""Number of consecutive lost nodes without a report after which a trial fails: it may be the cause of the losses."""

Ending = Literal["completed", "diverged", "failed"]


@dataclass(frozen=True)
class Job:
    """One trial as the workers see it.

    Args:
        ticket: identifier of this assignment, new for each one, even of the same trial.
        trial_id: id of the trial. It names the checkpoint and the rows.
        config: the TrialConfig as plain values.
        attempt: number of the attempt, from 0.
        reported: number of reports received in earlier assignments.
    """

    ticket: int
    trial_id: str
    config: dict[str, Any]
    attempt: int = 0
    reported: int = 0


@dataclass(frozen=True)
class Outcome:
    """Result of one step of a trial for the worker group's owner: a report, or an ending without one.

    `mistake` is an ending that the trial did not cause: its node cannot train any trial.
    """

    report: Report | None = None
    ending: Ending | None = None
    reason: str = ""
    mistake: CohortError | None = None


@dataclass(frozen=True)
class Hang:
    """Workers that have been silent for too long.

    Args:
        seconds: how long.
        workers: their processes.
    """

    seconds: float
    workers: tuple[WorkerProcess, ...]


@dataclass
class _Trial:
    job: Job
    reports: dict[int, Report] = field(default_factory=dict)
    wanted: int = 0  # the owner waits for the report with this index
    ending: Outcome | None = None
    starts: int = 0  # starts since the last report, except those ended by a lost node
    lost: int = 0  # starts since the last report that a lost node ended
    nodes: set[str] = field(default_factory=set)  # current or last nodes of its workers
    fault: str = ""
    begun: bool = False  # workers have fetched it
    waits: bool = False  # its workers were lost with a node, and no others have fetched it since


class TrialMailbox:
    """Async actor shared by a worker group's owner and its workers. It holds one trial at a time.

    Args:
        max_starts: how often workers may begin one trial without a new report; a trial that keeps killing its workers
            then fails. A start whose node was lost is not counted.
        living_nodes: the ids of the cluster's nodes.
        silence: how long its workers may say nothing.
    """

    def __init__(
        self,
        max_starts: int = 3,
        living_nodes: Callable[[], Collection[str]] | None = None,
        silence: SilenceLimit | None = None,
    ) -> None:
        self._changed = asyncio.Condition()
        self._trial: _Trial | None = None
        self._closed = False
        self._max_starts = max_starts
        self._living_nodes = living_nodes or _living_nodes
        self._worker_rss = 0
        self._silence = Silence(silence or SilenceLimit())
        self._restarts: list[str] = []
        self._workers: dict[int, WorkerProcess] = {}  # by rank, those that have fetched the trial

    # -- the owner's side -------------------------------------------------------------------------------------------

    async def assign(self, job: Job) -> None:
        """Assigns a trial. Workers stop the previous one at its next report."""
        async with self._changed:
            self._trial = _Trial(job, wanted=job.reported)
            self._silence.stop()
            self._changed.notify_all()

    async def outcome(self, ticket: int, index: int) -> Outcome:
        """Waits for the report `index` of the trial, or for its end.

        The call lets the workers train up to this report.
        """
        async with self._changed:
            trial = self._current(ticket)
            if trial is None:
                return Outcome(ending="failed", reason="the trial was replaced")
            if index > trial.wanted:
                trial.wanted = index
                self._silence.begin()  # the workers waited for this, and go on
            self._changed.notify_all()
            await self._changed.wait_for(lambda: index in trial.reports or trial.ending is not None)
            if index in trial.reports:
                return Outcome(report=trial.reports[index])
            return trial.ending or Outcome()

    async def close(self) -> None:
        """Shuts down the workers."""
        async with self._changed:
            self._closed = True
            self._trial = None
            self._changed.notify_all()

    async def hang(self, ticket: int) -> Hang | None:
        """The trial's workers, if they have been silent for too long. They are then to be killed.

        Nothing is waited for until they, or those that follow them, fetch the trial again.
        """
        trial = self._current(ticket)
        if trial is None or not self._silence.is_hang():
            return None
        found = Hang(self._silence.seconds(), tuple(self._workers.values()))
        trial.fault = trial.fault or f"its workers said nothing for {found.seconds:.0f} s"
        self._silence.stop()
        self._workers.clear()
        return found

    async def lost(self) -> bool:
        """Returns whether a node was lost under the trial. Told once for each start of the trial.

        Ray Train waits for room for other workers and says nothing, so their silence is no hang.
        """
        trial = self._trial
        if trial is None or trial.waits or not trial.nodes or trial.ending is not None:
            return False
        trial.waits = not trial.nodes <= set(self._living_nodes())
        if trial.waits:
            self._silence.stop()
            self._workers.clear()
        return trial.waits

    async def fetched(self) -> bool:
        """Whether workers have fetched the trial since they were last told to be killed."""
        return bool(self._workers)

    async def restarts(self) -> list[str]:
        """Why workers began a trial anew since the last call: the trial and the reason."""
        restarts = self._restarts
        self._restarts = []
        return restarts

    async def worker_rss(self) -> int:
        """Returns the resident memory of the largest worker after its last trial, in bytes."""
        return self._worker_rss

    # -- the workers' side ------------------------------------------------------------------------------------------

    async def next_job(self, rank: int, done: int, node: str = "", pid: int = 0, created: float = 0.0) -> Job | None:
        """Waits for a trial other than `done`. Returns None if the worker should exit.

        A restarted worker passes -1, and so gets the trial during which its predecessor died.

        Args:
            rank: rank of the worker.
            done: ticket of the worker's previous trial; -1 if there is none.
            node: node of the worker.
            pid: id of the worker's process on the node.
            created: start of that process, in seconds since the epoch.

        Raises:
            RuntimeError: the trial was started too often. Other ranks may already be working on it and waiting for rank
                0 in a collective operation, so the whole worker group must be replaced.
        """
        async with self._changed:
            await self._changed.wait_for(lambda: self._closed or self._open_ticket() not in (None, done))
            if self._closed or self._trial is None:
                return None
            trial = self._trial
            if rank == 0:
                self._count_start(trial)
            trial.nodes |= {node} - {""}
            self._workers[rank] = WorkerProcess(node, pid, created)
            self._silence.begin()
            if trial.starts <= self._max_starts and trial.lost <= MOST_LOST:
                return trial.job
            reason = f"{trial.fault or 'its workers died'} ({self._max_starts} starts)"
            if trial.lost > MOST_LOST:
                reason = f"{trial.lost} nodes were lost under it, one after the other"
            trial.ending = Outcome(ending="failed", reason=reason)
            self._changed.notify_all()
            raise RuntimeError(reason)

    async def reported(self, ticket: int) -> int:
        """Returns the number of reports received so far, including earlier assignments."""
        trial = self._current(ticket)
        return 0 if trial is None else max([trial.job.reported, *(i + 1 for i in trial.reports)])

    async def hand_in(self, ticket: int, index: int, report: Report) -> None:
        """Stores a report from rank 0."""
        async with self._changed:
            if (trial := self._current(ticket)) is not None:
                self._silence.end(report=True)
                if index not in trial.reports:
                    trial.starts = 0  # the starts so far made progress
                    trial.lost = 0
                trial.reports[index] = report
                if report.progress.final:
                    # A worker group that restarts after this must not train the trial again.
                    trial.ending = Outcome(ending="completed")
                self._changed.notify_all()

    async def verdict(self, ticket: int, index: int) -> bool:
        """Waits until the owner wants a report after `index` (returns True) or has assigned another trial."""
        async with self._changed:
            await self._changed.wait_for(lambda: (trial := self._current(ticket)) is None or trial.wanted > index)
            return self._current(ticket) is not None

    async def end(self, ticket: int, ending: Ending, reason: str) -> None:
        """Ends a trial without a report."""
        await self._end(ticket, Outcome(ending=ending, reason=reason))

    async def refuse(self, ticket: int, mistake: CohortError) -> None:
        """Ends a trial because a worker's node can train neither this trial nor any other."""
        await self._end(ticket, Outcome(mistake=mistake))

    async def alive(self, ticket: int) -> None:
        """A sign of life between reports."""
        if self._current(ticket) is not None:
            self._silence.sign()

    async def memory(self, rss: int) -> None:
        """Records the resident memory of a worker after a trial, in bytes."""
        self._worker_rss = max(self._worker_rss, rss)

    async def fault(self, ticket: int, reason: str) -> None:
        """Records the reason why a worker is about to die. The trial may be started again."""
        if (trial := self._current(ticket)) is not None:
            trial.fault = trial.fault or reason

    def _count_start(self, trial: _Trial) -> None:
        """Counts a start of the trial, unless a lost node ended the previous start."""
        living = trial.nodes & set(self._living_nodes()) if trial.nodes else set()
        lost = living < trial.nodes
        if trial.begun:
            reason = "a node was lost under it" if lost else trial.fault or "its workers died"
            self._restarts.append(f"trial {trial.job.trial_id}: {reason}")
        trial.begun = True
        trial.waits = False
        if lost:
            trial.lost += 1
        else:
            trial.starts += 1
        trial.nodes = living

    async def _end(self, ticket: int, outcome: Outcome) -> None:
        async with self._changed:
            trial = self._current(ticket)
            if trial is not None and trial.ending is None:
                trial.ending = outcome
                self._silence.end()
                self._changed.notify_all()

    def _current(self, ticket: int) -> _Trial | None:
        return self._trial if self._trial is not None and self._trial.job.ticket == ticket else None

    def _open_ticket(self) -> int | None:
        """Returns the ticket of the trial if it has not ended, or None."""
        return None if self._trial is None or self._trial.ending is not None else self._trial.job.ticket


def _living_nodes() -> set[str]:
    import ray

    return {node["NodeID"] for node in ray.nodes() if node["Alive"]}
