"""Records how an attempt at a trial ended, in its row and in the study."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import optuna
from optuna.trial import TrialState

from gansweep.search.mailbox import OUT_OF_MEMORY
from gansweep.store.feasibility import excesses

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gansweep.constraint import Constraint
    from gansweep.search.trial import TrialResult
    from gansweep.store.schema import TrialRow
    from gansweep.store.store import Store

__all__ = ["ended", "interrupt_running", "tell", "trial_name", "values_and_state"]


def trial_name(number: int) -> str:
    """Returns the trial id of an Optuna trial number."""
    return f"{number:04d}"


def ended(row: TrialRow, told: TrialResult | None, error: bool, gpus: float, pruned: str = "") -> TrialRow:
    """Returns the row of a running attempt that is now over.

    Args:
        row: row written when the attempt began.
        told: last result received from it; None if there was none.
        error: whether the trial's process raised or died.
        gpus: number of GPUs over all workers, for a trial that died before it reported its time.
        pruned: signals by which the trial was stopped, or "".
    """
    if told is None:
        return row.finished("failed", reason="its process died" if error else "", gpus=gpus)
    status = told.status
    reason = told.reason
    if error:
        status = "failed"
        reason = "its process died"
    elif status == "running":  # its last result was a report, so it was ended
        status = "stopped"
        reason = f"pruned: {pruned}" if pruned else "stopped early by the scheduler"
    assert status != "refused"
    return replace(row, workers=told.footprint.workers).finished(
        status,
        reason=reason,
        report=told.report,
        best=told.best,
        reports=told.reported,
        seconds=told.seconds,
        gpus=told.footprint.gpus,
    )


def interrupt_running(store: Store, reason: str) -> None:
    """Marks the attempts that a dead sweep left `running` as interrupted, when it resumes.

    Training since an attempt's last report is lost, so the attempt's end is the time of that report.
    """
    gpus = store.info.workers_per_trial * store.info.gpus_per_worker
    rows = store.trials()
    running = rows[rows["status"] == "running"]
    for trial_id, attempt in zip(running["trial_id"], running["attempt"], strict=True):
        row = store.row(trial_id, attempt)
        if row is None:
            continue
        started = row.started or datetime.now(UTC)
        times = [report["time"] for report in store.reports_of(trial_id, attempt)]
        store.write_trial(
            replace(row, started=started).finished(
                "interrupted",
                reason=reason,
                best=row.best,
                reports=row.reports,
                gpus=gpus,
                ended=max([started, *times]),
            )
        )


def tell(study: optuna.Study, row: TrialRow, objectives: Sequence[str], constraints: Sequence[Constraint] = ()) -> None:
    """Ends a trial in the study according to its row.

    The user attributes `status`, `reason` and `stopped_at` have details.
    """
    number = int(row.trial_id)
    frozen = study.get_trials(deepcopy=False)[number]
    trial = optuna.trial.Trial(study, frozen._trial_id)  # noqa: SLF001 (Optuna's storage knows trials by nothing else)
    for key, value in (("status", row.status), ("reason", row.reason), ("stopped_at", row.stopped_at)):
        trial.set_user_attr(key, value)
    values, state = values_and_state(row, objectives)
    for name, excess in excesses(row, constraints).items():
        trial.set_constraint(name, excess)
    study.tell(number, values, state)


def values_and_state(row: TrialRow, objectives: Sequence[str]) -> tuple[list[float] | None, TrialState]:
    """Returns the values and the state with which a finished attempt ends in the study.

    - A trial with its objectives is COMPLETE. So is one that the scheduler stopped, with its values at that time. This
      is pessimistic, but TPE learns more from a bad value than from none.
    - A trial that diverged or ran out of memory is PRUNED, without values, so that TPE treats its parameters as bad.
      TPE ignores FAIL, and would propose them again (0.205 against 0.080 diverged in the second half of a search).
    - Any other trial is FAIL: its error says nothing about its parameters.
    """
    values = [row.scores.get(name, math.nan) for name in objectives]
    has_scores = all(math.isfinite(value) for value in values)
    if has_scores and row.status in ("completed", "stopped"):
        return values, TrialState.COMPLETE
    ran_out_of_memory = row.status == "failed" and row.reason.startswith(OUT_OF_MEMORY)
    if row.status == "diverged" or ran_out_of_memory:
        return None, TrialState.PRUNED
    return None, TrialState.FAIL
