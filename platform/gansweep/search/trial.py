"""A trial in Ray Tune: a class Trainable whose actor and worker group are reused for the next trial.

Because it is a class Trainable, Tune's own checkpoints work, and so do schedulers that pause or clone trials
(HyperBand, PBT) and Tune's retries.
"""

from __future__ import annotations

import json
import math
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ray.tune import Trainable

from gansweep.errors import CohortError, StoreError
from gansweep.files import read_tensors
from gansweep.search.relay import relay_log
from gansweep.search.worker_group import WorkerGroup
from gansweep.store.schema import ReportRow
from gansweep.store.store import Store

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gansweep.progress import Report
    from gansweep.search.cluster import Footprint
    from gansweep.search.worker import WorkerGroupSettings
    from gansweep.store.schema import Status

__all__ = ["TrialResult", "WorkerGroupTrial"]


@dataclass(frozen=True)
class TrialResult:
    """Result of one step of a trial, sent from the trial's actor to the driver.

    Args:
        status: `running` after a report that is not the last; otherwise how the trial ended. `refused` if its node
            cannot train any trial, or the storage cannot be written.
        reason: why the trial did not complete.
        report: report of the step, or None.
        best: best value of each objective so far.
        reported: number of reports so far.
        seconds: seconds since the start of the attempt.
        footprint: resources of the trial.
    """

    status: Status | Literal["refused"]
    reason: str
    report: Report | None
    best: Mapping[str, float]
    reported: int
    seconds: float
    footprint: Footprint


class WorkerGroupTrial(Trainable):  # type: ignore[misc]
    """Runs one trial at a time on a warm worker group.

    Tune's configuration is `{"trial_id", "attempt", "started", "config"}`. `started` is the attempt's start in seconds
    since the epoch and `config` a TrialConfig as plain values. `"workers"` is included if trials differ in world size.

    A result has the objectives' scores by name, for the scheduler; `reported`; `done`; and the complete `TrialResult`
    under `result`. It is not a dict, because Tune would flatten a dict and lose names that contain a slash, and because
    Tune keeps statistics of every number of every trial.
    """

    def setup(
        self, config: dict[str, Any], settings: WorkerGroupSettings, footprint: Footprint, objectives: dict[str, str]
    ) -> None:
        """Starts the worker group, which also serves every later trial of this actor."""
        self._objectives = objectives
        self._footprint = footprint
        self._reports = settings.reports
        relay_log(settings.relay)
        self._store = Store.open(settings.store, patience_s=settings.patience_s)
        self._group = WorkerGroup(settings, self._wanted_footprint(config))
        self._take(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Assigns the next trial to the worker group. Only another world size starts new processes."""
        if self._wanted_footprint(new_config) != self._group.footprint:
            self._group.recycle(self._wanted_footprint(new_config))
        self._take(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """Waits for the trial's next report, or for its end without one."""
        try:
            outcome = self._group.outcome(self._reported)
        except CohortError as mistake:
            # If this were raised, Tune would treat it as a crash and retry.
            return self._result(status="refused", reason=str(mistake))
        if outcome.report is None:
            return self._result(status=outcome.ending or "failed", reason=outcome.reason)
        progress = outcome.report.progress.with_costs_of(self._earlier)
        report = replace(outcome.report, progress=progress)
        self._earlier.append(vars(progress))
        try:
            # A last report that is sent again is in the store already, maybe under an earlier attempt.
            if progress.index not in self._stored:
                # Written before Tune gets it, so that no report on which a scheduler acted can be lost.
                self._store.write_report(ReportRow(self._trial, self._attempt, report))
        except StoreError as mistake:
            # The storage's fault, not the trial's: it goes on from its checkpoint, once the storage works.
            return self._result(status="refused", reason=str(mistake))
        self._reported += 1
        if undefined := report.undefined(self._objectives):
            return self._result(status="diverged", reason=f"not finite: {', '.join(undefined)}")
        self._keep_best(report.progress.scores)
        return self._result(status="completed" if report.progress.final else "running", report=report)

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Copies the trial's last checkpoint to Tune's folder."""
        if self._checkpoint.exists():
            Path(checkpoint_dir, "state.pt").write_bytes(self._checkpoint.read_bytes())
        Path(checkpoint_dir, "reported.json").write_text(json.dumps(self._reported))

    def load_checkpoint(self, checkpoint_dir: str) -> None:
        """Resumes from a checkpoint of Tune: this trial's own or, in population based training, another trial's.

        A checkpoint belongs to the configuration in it. Here it becomes this trial's own. No scheduler that a sweep
        accepts gives a trial another's checkpoint: its row would not tell what made its weights.
        """
        kept = Path(checkpoint_dir, "state.pt")
        if kept.exists():
            with kept.open("rb") as file:
                state = read_tensors(file)
            self._checkpoint.write(state | {"config": self._values})
        self._reported = json.loads(Path(checkpoint_dir, "reported.json").read_text())
        self._assign()

    def cleanup(self) -> None:
        """Shuts down the workers."""
        self._group.close()

    def _take(self, config: dict[str, Any]) -> None:
        self._trial = config["trial_id"]
        self._attempt = config["attempt"]
        self._values = config["config"]
        # A retry resumes from the store's checkpoint, so it must not send Tune the earlier reports again.
        self._checkpoint = self._store.checkpoint(self._trial)
        reports = self._store.reports_of(self._trial, self._attempt) if self._checkpoint.exists() else []
        self._stored = {report["index"] for report in reports}
        self._reported = max(self._stored, default=-1) + 1
        self._best: dict[str, float] = {}
        self._earlier = list(reports)
        for report in reports:
            self._keep_best(report)
        # A retry belongs to the same attempt, whose row counts the time of all tries.
        self._clock = time.monotonic() - max(0.0, time.time() - config["started"])
        self._assign()

    def _assign(self) -> None:
        # If the last report was stored but the trial's end was not, send the last report again: nothing else would
        # follow.
        self._reported = min(self._reported, self._reports - 1)
        self._group.assign(self._trial, self._values, attempt=self._attempt, reported=self._reported)

    def _keep_best(self, scores: Mapping[str, Any]) -> None:
        for name, direction in self._objectives.items():
            if (value := scores.get(name)) is not None and math.isfinite(value):
                best = self._best.get(name, value)
                self._best[name] = min(value, best) if direction == "minimize" else max(value, best)

    def _wanted_footprint(self, config: dict[str, Any]) -> Footprint:
        return replace(self._footprint, workers=config.get("workers", self._footprint.workers))

    def _result(
        self, *, status: Status | Literal["refused"], reason: str = "", report: Report | None = None
    ) -> dict[str, Any]:
        result = TrialResult(
            status=status,
            reason=reason,
            report=report,
            best=dict(self._best),
            reported=self._reported,
            seconds=time.monotonic() - self._clock,
            footprint=self._group.footprint,
        )
        scores = report.progress.scores if report else {}
        compared = {name: scores[name] for name in self._objectives if name in scores}
        return {**compared, "reported": self._reported, "done": status != "running", "result": result}
