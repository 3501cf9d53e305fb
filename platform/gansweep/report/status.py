"""How a sweep is getting on: counts, what runs, what went wrong, when it may end."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pandas as pd

from gansweep.report.wording import openings_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.console import RenderableType

    from gansweep.store.schema import TestOpening
    from gansweep.store.store import Store

__all__ = ["RunningTrial", "SweepStatus", "as_document", "as_text", "sweep_status"]

_ENDED = ("completed", "stopped", "diverged", "failed")
_QUIET_SECONDS = 600.0
"""A sweep that has written nothing for so long, and for five times its longest pause, has probably died."""


@dataclass(frozen=True)
class RunningTrial:
    """A trial that has begun and not ended.

    Args:
        trial_id: zero-padded trial number.
        attempt: 0 for the first.
        reports: received so far.
        iteration: generator iterations at the last report.
        scores: of the last report; only the sweep's objectives.
        seconds: since its attempt began.
    """

    trial_id: str
    attempt: int
    reports: int
    iteration: int
    scores: Mapping[str, float]
    seconds: float


@dataclass(frozen=True)
class SweepStatus:
    """A sweep at one instant.

    Args:
        name: of the sweep.
        asked: trials asked for.
        counts: trials by how their last attempt stands.
        running: those in progress.
        reports_per_trial: at equal fractions of a trial's budget.
        failures: reasons of diverged, failed and interrupted trials, with the trials they befell.
        gpu_seconds: spent so far.
        created, last_activity: UTC.
        eta_seconds: until the last trial ends, if the rest goes like the past; None where nothing can be said.
        quiet: nothing was written for so long that the sweep has probably died.
        repeats: trainings by `gansweep repeat`, by how they stand; they are not among the sweep's trials.
        test_openings: each use of the test patients, with its reason.
    """

    name: str
    asked: int
    counts: Mapping[str, int]
    running: tuple[RunningTrial, ...]
    reports_per_trial: int
    failures: Mapping[str, tuple[str, ...]]
    gpu_seconds: float
    created: datetime
    last_activity: datetime
    eta_seconds: float | None
    quiet: bool
    repeats: Mapping[str, int]
    test_openings: tuple[TestOpening, ...]

    @property
    def ended(self) -> int:
        """Trials that need no more work."""
        return sum(self.counts.get(status, 0) for status in _ENDED)

    @property
    def finished(self) -> bool:
        """Whether every trial asked for has ended."""
        return self.ended >= self.asked


def sweep_status(store: Store, now: datetime | None = None) -> SweepStatus:
    """Reads a sweep's state from its rows, live or not.

    Args:
        store: the sweep's.
        now: UTC; the clock's time by default.
    """
    now, info = now or datetime.now(UTC), store.info
    rows, reports = store.trials(), store.latest_reports()
    again = rows["repeat_of"].fillna("") != ""
    attempts, repeats = rows[~again], rows[again].drop_duplicates("trial_id", keep="last")
    latest = attempts.drop_duplicates("trial_id", keep="last")
    counts = Counter(str(status) for status in latest["status"])
    reports_per_trial = int(info.experiment.get("reports", 1))
    objectives = [objective.name for objective in info.objectives]
    running = tuple(
        _running(row, reports[reports["trial_id"] == row["trial_id"]], objectives, now)
        for row in latest[latest["status"] == "running"].to_dict("records")
    )
    moments = pd.concat([attempts["started"], attempts["ended"], reports["time"]]).dropna().sort_values()
    last = moments.iloc[-1].to_pydatetime() if len(moments) else info.created
    ended = sum(counts[status] for status in _ENDED)
    left = max(0, info.trials - ended)
    quiet_for = (now - last).total_seconds()
    longest_pause = moments.diff().max().total_seconds() if len(moments) > 1 else 0.0
    return SweepStatus(
        name=info.name,
        asked=info.trials,
        counts=dict(counts),
        running=running,
        reports_per_trial=reports_per_trial,
        failures=_failures(latest),
        gpu_seconds=float(rows["gpu_seconds"].sum()),
        created=info.created,
        last_activity=last,
        eta_seconds=_eta(attempts, left, running, info.concurrent) if running else None,
        quiet=left > 0 and quiet_for > max(_QUIET_SECONDS, 5 * longest_pause),
        repeats=dict(Counter(str(status) for status in repeats["status"])),
        test_openings=info.test_openings,
    )


def as_document(status: SweepStatus) -> dict[str, Any]:
    """Plain values for JSON."""
    document = {**vars(status), "ended": status.ended, "finished": status.finished}
    document["running"] = [vars(trial) for trial in status.running]
    document["test_openings"] = [opening.model_dump(mode="json") for opening in status.test_openings]
    return {**document, "created": status.created.isoformat(), "last_activity": status.last_activity.isoformat()}


def as_text(status: SweepStatus) -> RenderableType:
    """A few lines and a table for the terminal."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    counts = ", ".join(f"{count} {name}" for name, count in sorted(status.counts.items())) or "no trial yet"
    lines = [f"{status.name}: {status.ended} of {status.asked} trials ended ({counts})"]
    if status.eta_seconds is not None and not status.quiet:
        lines.append(f"about {_duration(status.eta_seconds)} to go at this pace")
    if status.quiet:
        since = status.last_activity.strftime("%Y-%m-%d %H:%M UTC")
        lines.append(f"nothing was written since {since}: if the sweep has died, go on with --resume")
    if status.repeats:
        stand = ", ".join(f"{count} {name}" for name, count in sorted(status.repeats.items()))
        lines.append(f"leaders trained again with fresh seeds: {stand}")
    if status.test_openings:
        lines.append(f"the test patients were opened {openings_text(status.test_openings)}")
    if status.gpu_seconds:
        lines.append(f"{_duration(status.gpu_seconds)} of GPU time used")
    lines += [f"{reason}: {_names(trials)}" for reason, trials in status.failures.items()]
    if not status.running:
        return Text("\n".join(lines))
    table = Table("trial", "attempt", "reports", "iteration", "last scores", "time")
    for trial in status.running:
        scores = ", ".join(f"{name} {value:.3g}" for name, value in trial.scores.items()) or "-"
        done = f"{trial.reports}/{status.reports_per_trial}"
        table.add_row(trial.trial_id, str(trial.attempt), done, str(trial.iteration), scores, _duration(trial.seconds))
    return Group(Text("\n".join(lines)), table)


def _running(row: Mapping[Any, Any], reports: pd.DataFrame, objectives: list[str], now: datetime) -> RunningTrial:
    last = reports.iloc[-1] if len(reports) else None
    started = row["started"]
    return RunningTrial(
        trial_id=row["trial_id"],
        attempt=int(row["attempt"]),
        reports=0 if last is None else int(last["index"]) + 1,
        iteration=0 if last is None else int(last["iteration"]),
        scores={} if last is None else {name: float(last[name]) for name in objectives if pd.notna(last.get(name))},
        seconds=0.0 if pd.isna(started) else (now - started.to_pydatetime()).total_seconds(),
    )


def _eta(attempts: pd.DataFrame, left: int, running: tuple[RunningTrial, ...], concurrent: int) -> float | None:
    """Seconds of work left, spread over the trials that run at once; early-stopped trials count as they were."""
    per_trial = attempts[attempts["status"].isin(_ENDED)].groupby("trial_id")["seconds"].sum()
    if per_trial.empty:
        return None
    mean = float(per_trial.mean())
    work = left * mean - sum(min(trial.seconds, mean) for trial in running)
    return max(work, 0.0) / max(1, concurrent)


def _failures(latest: pd.DataFrame) -> dict[str, tuple[str, ...]]:
    grouped: dict[str, list[str]] = {}
    troubled = latest[latest["status"].isin(["diverged", "failed", "interrupted"])]
    for row in troubled.to_dict("records"):
        grouped.setdefault(f"{row['status']}: {row['reason'] or 'no reason given'}", []).append(row["trial_id"])
    return {reason: tuple(trials) for reason, trials in sorted(grouped.items(), key=lambda item: -len(item[1]))}


def _names(trials: tuple[str, ...]) -> str:
    shown = ", ".join(trials[:8])
    return f"{len(trials)} trial{'s' * (len(trials) > 1)} ({shown}{', ...' if len(trials) > 8 else ''})"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
