"""A trial as Ray Tune sees it: a class Trainable whose actor, and with it the gang, is reused by the next trial.

Being a class Trainable, Tune's own checkpoints work: schedulers that pause trials or clone them (HyperBand, PBT) do,
and so do Tune's retries.
"""

from __future__ import annotations

import json
import math
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ray.tune import Trainable

from gansweep.contracts import Progress
from gansweep.errors import CohortError
from gansweep.search.gang import Gang
from gansweep.store.schema import ReportRow
from gansweep.store.store import Store

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gansweep.search.capacity import Footprint
    from gansweep.search.worker import GangSettings

__all__ = ["GangTrial"]


class GangTrial(Trainable):  # type: ignore[misc]
    """One trial at a time on a warm gang.

    Tune's configuration is `{"trial_id", "attempt", "started", "config"}`, with `started` the attempt's start in
    seconds since the epoch, `config` a TrialConfig as plain values, and `"workers"` where trials differ in world size.
    A result has `status`, `reason`, `reported` and, if the trial reported, its scores by name and the report as JSON.
    """

    def setup(
        self, config: dict[str, Any], settings: GangSettings, footprint: Footprint, objectives: dict[str, str]
    ) -> None:
        """Starts the gang; it serves every later trial of this actor."""
        self._objectives, self._footprint, self._reports = objectives, footprint, settings.reports
        self._store = Store.open(settings.store)
        self._gang = Gang(settings, self._wanted_footprint(config))
        self._take(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Turns the gang to the next trial; only another world size starts new processes."""
        if self._wanted_footprint(new_config) != self._gang.footprint:
            self._gang.recycle(self._wanted_footprint(new_config))
        self._take(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """Waits for the trial's next report, or for its end without one."""
        try:
            outcome = self._gang.outcome(self._reported)
        except CohortError as mistake:
            # Raised, Tune would take it for a crash and try again.
            return self._result(status="refused", reason=str(mistake))
        if outcome.report is None:
            return self._result(status=outcome.ending or "failed", reason=outcome.reason)
        progress, features = Progress(**outcome.report["progress"]), outcome.report["fid_features"]
        # On disk before Tune hears of it: what a scheduler acted on is never lost.
        self._store.write_report(ReportRow.of(self._trial, self._attempt, progress, features))
        self._reported += 1
        undefined = [name for name in self._objectives if not math.isfinite(progress.scores.get(name, math.nan))]
        if undefined:
            return self._result(status="diverged", reason=f"not finite: {', '.join(undefined)}")
        self._keep_best(progress.scores)
        status = "completed" if progress.final else "running"
        return self._result(status=status, progress=progress, fid_features=features)

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Puts the trial's last checkpoint where Tune keeps it."""
        path = f"checkpoints/{self._trial}.pt"
        if self._store.exists(path):
            Path(checkpoint_dir, "state.pt").write_bytes(self._store.read_bytes(path))
        Path(checkpoint_dir, "reported.json").write_text(json.dumps(self._reported))

    def load_checkpoint(self, checkpoint_dir: str) -> None:
        """Goes on from a checkpoint of Tune's, this trial's own or (population based training) another's."""
        state = Path(checkpoint_dir, "state.pt")
        if state.exists():
            self._store.write_bytes(f"checkpoints/{self._trial}.pt", state.read_bytes())
        self._reported = json.loads(Path(checkpoint_dir, "reported.json").read_text())
        self._assign()

    def cleanup(self) -> None:
        """Sends the gang home."""
        self._gang.close()

    def _take(self, config: dict[str, Any]) -> None:
        self._trial, self._attempt = config["trial_id"], config["attempt"]
        self._values = config["config"]
        # A retry goes on from the store's checkpoint, so it must not hand Tune the reports of before again.
        resumes = self._store.exists(f"checkpoints/{self._trial}.pt")
        reports = self._store.reports_of(self._trial, self._attempt) if resumes else []
        self._reported = max((report["index"] + 1 for report in reports), default=0)
        self._best: dict[str, float] = {}
        for report in reports:
            self._keep_best(report)
        # A retry belongs to the same attempt, whose row counts the time of all that was tried.
        self._clock = time.monotonic() - max(0.0, time.time() - config["started"])
        self._assign()

    def _assign(self) -> None:
        # Where its last report is stored and its end is not, the last report again: nothing else would ever come.
        self._reported = min(self._reported, self._reports - 1)
        self._gang.assign(self._trial, self._values, attempt=self._attempt, reported=self._reported)

    def _keep_best(self, scores: Mapping[str, Any]) -> None:
        for name, direction in self._objectives.items():
            if (value := scores.get(name)) is not None and math.isfinite(value):
                best = self._best.get(name, value)
                self._best[name] = min(value, best) if direction == "minimize" else max(value, best)

    def _wanted_footprint(self, config: dict[str, Any]) -> Footprint:
        return replace(self._footprint, workers=config.get("workers", self._footprint.workers))

    def _result(
        self, *, status: str, reason: str = "", progress: Progress | None = None, fid_features: str = ""
    ) -> dict[str, Any]:
        seconds = time.monotonic() - self._clock
        footprint = self._gang.footprint
        return {
            **(progress.scores if progress else {}),
            # As text: Tune flattens dicts in results, and names with a slash would not come back.
            "progress": json.dumps(vars(progress)) if progress else "",
            "fid_features": fid_features,
            "status": status,
            "reason": reason,
            "reported": self._reported,
            "best": json.dumps(self._best),
            "seconds": seconds,
            "gpu_seconds": seconds * footprint.workers * footprint.gpus_per_worker,
            "workers": footprint.workers,
            "done": status != "running",
        }
