"""Status of a sweep: counts of trials, running trials, failures, and the expected end."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import pandas as pd

from gansweep.report.fitting import Column, FittingTable
from gansweep.report.formatting import duration_text, openings_text, time_text
from gansweep.scoring.metrics.formatting import of_asked, score_text
from gansweep.search.answer import answer
from gansweep.store.interims import interim_of, interim_text, last_interim

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import RenderableType

    from gansweep.progress import Interim
    from gansweep.store.store import Store
    from gansweep.store.sweep_info import TestOpening

__all__ = ["RunningTrial", "SweepStatus", "as_document", "as_text", "sweep_status"]

_ENDED = ("completed", "stopped", "diverged", "failed")
_BEFORE_THE_FIRST = (
    "before the first trial: Ray and the workers start, then the cohort's encoder and the real-only detectors are "
    "trained, once per cohort"
)
_QUIET_SECONDS = 600.0
"""A sweep that wrote nothing for this long, and for five times its longest pause so far, is probably dead."""


@dataclass(frozen=True)
class RunningTrial:
    """A trial that has started but not ended.

    Args:
        trial_id: zero-padded trial number.
        attempt: 0 for the first attempt.
        reports: number of reports so far.
        iteration: generator iterations at the last report or interim.
        scores: objectives at the last report.
        seconds: time since the attempt started.
        interim: losses, images per second and time left, if the trial wrote them since its last report, or None.
    """

    trial_id: str
    attempt: int
    reports: int
    iteration: int
    scores: Mapping[str, float]
    seconds: float
    interim: Interim | None = None


@dataclass(frozen=True)
class SweepStatus:
    """State of a sweep at one moment.

    Args:
        name: name of the sweep.
        answer: whether synthetic images help, in one sentence.
        asked: number of trials requested.
        counts: number of trials by the status of their last attempt.
        running: running trials.
        reports_per_trial: number of reports per trial, at equal fractions of its budget.
        failures: trials by the reason why they diverged, failed or were interrupted.
        gpu_seconds: GPU time used so far.
        created, last_activity: times in UTC.
        eta_seconds: expected time until the last trial ends, at the current pace; None if unknown.
        dead: whether the process that drove it ended before the sweep; known only on its own machine.
        quiet: whether the sweep has written nothing for so long that it is probably dead.
        repeats: number of trainings by `gansweep repeat`, by status; they are not trials of the sweep.
        test_openings: each use of the test patients, with its reason.
    """

    name: str
    answer: str
    asked: int
    counts: Mapping[str, int]
    running: tuple[RunningTrial, ...]
    reports_per_trial: int
    failures: Mapping[str, tuple[str, ...]]
    gpu_seconds: float
    created: datetime
    last_activity: datetime
    eta_seconds: float | None
    dead: bool
    quiet: bool
    repeats: Mapping[str, int]
    test_openings: tuple[TestOpening, ...]

    @property
    def ended(self) -> int:
        """Number of trials that have ended."""
        return sum(self.counts.get(status, 0) for status in _ENDED)

    @property
    def finished(self) -> bool:
        """Whether all requested trials have ended."""
        return self.ended >= self.asked


def sweep_status(store: Store, now: datetime | None = None) -> SweepStatus:
    """Reads the status of a sweep, running or not, from its store.

    Args:
        store: the sweep's store.
        now: current time (UTC); None: the system time.
    """
    now = now or datetime.now(UTC)
    info = store.info
    rows = store.trials(settings=False)
    report_times = store.report_times()

    is_repeat = rows["repeat_of"].fillna("") != ""
    attempts = rows[~is_repeat]
    repeats = rows[is_repeat].drop_duplicates("trial_id", keep="last")
    latest = attempts.drop_duplicates("trial_id", keep="last")  # rows are in the order of attempts
    counts = Counter(str(status) for status in latest["status"])

    reports_per_trial = int(info.experiment.get("reports", 1))
    objectives = [objective.name for objective in info.objectives]
    running = []
    for row in latest[latest["status"] == "running"].to_dict("records"):
        reports = store.reports_of(row["trial_id"], int(row["attempt"]))
        trial = _running(row, reports, objectives, now)
        running.append(_with_interim(store, trial))

    times = pd.concat([attempts["started"], attempts["ended"], report_times]).dropna().sort_values()
    last = times.iloc[-1].to_pydatetime() if len(times) else info.created
    last = min(max(last, last_interim(store) or last), now)  # the clock that wrote it may be ahead of this one
    ended = sum(counts[status] for status in _ENDED)
    left = max(0, info.trials - ended)
    quiet_for = (now - last).total_seconds()
    longest_pause = times.diff().max().total_seconds() if len(times) > 1 else 0.0

    return SweepStatus(
        name=info.name,
        answer=answer(store, lambda: store.ranked_trials(rows)).text,
        asked=info.trials,
        counts=dict(counts),
        running=tuple(running),
        reports_per_trial=reports_per_trial,
        failures=_failures(latest),
        gpu_seconds=float(rows["gpu_seconds"].sum()),
        created=info.created,
        last_activity=last,
        eta_seconds=_eta(attempts, left, running, info.concurrent) if running else None,
        dead=left > 0 and store.driver_has_ended(),
        quiet=left > 0 and quiet_for > max(_QUIET_SECONDS, 5 * longest_pause),
        repeats=dict(Counter(str(status) for status in repeats["status"])),
        test_openings=info.test_openings,
    )


def as_document(status: SweepStatus) -> dict[str, Any]:
    """Returns the status as plain values for JSON.

    Args:
        status: result of `sweep_status`.
    """
    document = {**vars(status), "ended": status.ended, "finished": status.finished}
    document["running"] = [asdict(trial) for trial in status.running]
    document["test_openings"] = [opening.model_dump(mode="json") for opening in status.test_openings]
    return {**document, "created": status.created.isoformat(), "last_activity": status.last_activity.isoformat()}


def as_text(status: SweepStatus) -> RenderableType:
    """Returns the status as text for the terminal, with a table of running trials.

    Args:
        status: result of `sweep_status`.
    """
    from rich.console import Group
    from rich.text import Text

    counts = ", ".join(f"{count} {name}" for name, count in sorted(status.counts.items())) or "no trial yet"
    lines = [status.answer, f"{status.name}: {of_asked(status.ended, status.asked)} ended ({counts})"]
    if status.dead:
        lines.append("the process that drove the sweep has ended: continue it with --resume")
    elif status.quiet:
        since = time_text(status.last_activity)
        lines.append(f"nothing was written since {since}: if the sweep has died, continue it with --resume")
    elif status.eta_seconds is not None:
        lines.append(f"about {duration_text(status.eta_seconds)} to go at this pace")
    elif not status.counts:
        lines.append(_BEFORE_THE_FIRST)
    if status.repeats:
        repeats = ", ".join(f"{count} {name}" for name, count in sorted(status.repeats.items()))
        lines.append(f"repeats of the leaders with new seeds: {repeats}")
    if status.test_openings:
        lines.append(f"the test patients were opened {openings_text(status.test_openings)}")
    if status.gpu_seconds:
        lines.append(f"{duration_text(status.gpu_seconds)} of GPU time used")
    lines += [f"{reason}: {_names(trials)}" for reason, trials in status.failures.items()]
    if not status.running:
        return Text("\n".join(lines))
    return Group(Text("\n".join(lines)), _running_table(status))


def _running_table(status: SweepStatus) -> FittingTable:
    trials = status.running
    return FittingTable(
        [
            Column("trial", [trial.trial_id for trial in trials]),
            Column("attempt", [str(trial.attempt) for trial in trials], right=True, spare=True),
            Column("reports", [f"{trial.reports} of {status.reports_per_trial}" for trial in trials], right=True),
            Column("iteration", [str(trial.iteration) for trial in trials], right=True),
            Column("last scores", [_scores_text(trial) for trial in trials], prose=True),
            Column("now", [interim_text(trial.interim) if trial.interim else "-" for trial in trials], prose=True),
            Column("time", [duration_text(trial.seconds) for trial in trials], right=True),
        ]
    )


def _scores_text(trial: RunningTrial) -> str:
    return ", ".join(f"{name} {score_text(name, value)}" for name, value in trial.scores.items()) or "-"


def _running(
    row: Mapping[Any, Any], reports: list[dict[str, Any]], objectives: list[str], now: datetime
) -> RunningTrial:
    started = row["started"]
    trial = RunningTrial(
        trial_id=row["trial_id"],
        attempt=int(row["attempt"]),
        reports=0,
        iteration=0,
        scores={},
        # The clock of the machine that started it may be ahead of this one.
        seconds=0.0 if pd.isna(started) else max(0.0, (now - started.to_pydatetime()).total_seconds()),
    )
    if not reports:
        return trial
    last = max(reports, key=itemgetter("index", "attempt"))
    scores = {name: float(last[name]) for name in objectives if pd.notna(last.get(name))}
    return replace(trial, reports=int(last["index"]) + 1, iteration=int(last["iteration"]), scores=scores)


def _with_interim(store: Store, trial: RunningTrial) -> RunningTrial:
    """Returns the trial with its interim, if that is newer than its last report."""
    interim = interim_of(store, trial.trial_id)
    if interim is None or interim.iteration <= trial.iteration:
        return trial
    return replace(trial, iteration=interim.iteration, interim=interim)


def _eta(attempts: pd.DataFrame, left: int, running: Sequence[RunningTrial], concurrent: int) -> float | None:
    """Returns the remaining work in seconds, divided by the number of concurrent trials.

    A trial is expected to take the mean time of ended trials, including those stopped early.
    """
    ended = attempts[attempts["status"].isin(_ENDED)]
    per_trial = ended.groupby("trial_id")["seconds"].sum()
    if per_trial.empty:
        return None
    mean = float(per_trial.mean())
    # Running trials count up to the mean, so that a slow one does not make the remaining time negative.
    work = left * mean - sum(min(trial.seconds, mean) for trial in running)
    return max(work, 0.0) / max(1, concurrent)


def _failures(latest: pd.DataFrame) -> dict[str, tuple[str, ...]]:
    """Returns trials by the reason why they did not complete, the most frequent reason first."""
    grouped: dict[str, list[str]] = {}
    failed = latest[latest["status"].isin(["diverged", "failed", "interrupted"])]
    for row in failed.to_dict("records"):
        reason = f"{row['status']}: {row['reason'] or 'no reason given'}"
        grouped.setdefault(reason, []).append(row["trial_id"])
    most_first = sorted(grouped, key=lambda reason: len(grouped[reason]), reverse=True)
    return {reason: tuple(grouped[reason]) for reason in most_first}


def _names(trials: tuple[str, ...]) -> str:
    shown = list(trials[:8])
    if len(trials) > len(shown):
        shown.append("...")
    unit = "trials" if len(trials) > 1 else "trial"
    return f"{len(trials)} {unit} ({', '.join(shown)})"
