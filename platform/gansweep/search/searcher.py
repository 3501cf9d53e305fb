"""Optuna as Tune's searcher, with the two promises Ray's own OptunaSearch does not keep.

Every trial ends in the study (NaN or a missing objective is told as FAIL, so that no RUNNING trial misleads the
sampler's constant liar), and a trial the driver died under is neither lost nor repeated: it waits in the study with its
parameters, and goes on from its checkpoint.
"""

from __future__ import annotations

import logging
import math
import warnings
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import optuna
from optuna.trial import TrialState
from ray.tune.search import Searcher
from ray.tune.stopper import Stopper

from gansweep.errors import CohortError, GansweepError
from gansweep.search.spaces import users_code
from gansweep.store.artifacts import attach_sheet
from gansweep.store.schema import TrialRow

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gansweep.config import TrialConfig
    from gansweep.experiment import Experiment
    from gansweep.search.trial import TrialResult
    from gansweep.store.store import Store

__all__ = [
    "MistakeStopper",
    "StudySearcher",
    "count_ended",
    "ended",
    "make_sampler",
    "requeue_orphans",
    "tell",
    "trial_name",
]

log = logging.getLogger(__name__)

_ATTEMPTS = "attempts"  # user attribute: how often a trial was started


def trial_name(number: int) -> str:
    """The trial id of an Optuna trial number."""
    return f"{number:04d}"


def make_sampler(kind: str, seed: int, startup_trials: int) -> optuna.samplers.BaseSampler:
    """The sampler an experiment names.

    Args:
        kind: `tpe`, `random` or `nsga2`.
        seed: of its random numbers.
        startup_trials: random trials before TPE's model is used.
    """
    if kind == "tpe":
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # `group`, experimental since 2021
        return optuna.samplers.TPESampler(
            seed=seed, multivariate=True, group=True, constant_liar=True, n_startup_trials=startup_trials
        )
    if kind == "nsga2":
        return optuna.samplers.NSGAIISampler(seed=seed)
    return optuna.samplers.RandomSampler(seed=seed)


class StudySearcher(Searcher):  # type: ignore[misc]
    """Asks the study for trials and tells it how they ended; each trial's row is in the store before the study knows.

    Args:
        experiment: the space and the objectives.
        study: a study of its own, with the objectives' directions.
        store: gets a row for each attempt.
        check: raises ConfigError for a configuration that cannot be built on this cohort.
    """

    def __init__(
        self, experiment: Experiment, study: optuna.Study, store: Store, check: Callable[[TrialConfig], None]
    ) -> None:
        super().__init__()
        self._experiment = experiment
        self._study = study
        self._store = store
        self._check = check
        self._objectives = [objective.name for objective in experiment.objectives]
        self._asked: dict[str, TrialRow] = {}
        self.mistake: GansweepError | None = None

    def suggest(self, trial_id: str) -> dict[str, Any] | str:
        """The next configuration; trials that wait in the study come first.

        A space that raises ends the search, and the trial is not spent: the error is kept in `mistake`, because Tune
        would bury it in its own.
        """
        trial = self._study.ask()
        attempt = int(trial.user_attrs.get(_ATTEMPTS, 0))
        try:
            with users_code(f"space {self._store.info.space}"):
                config = self._experiment.config(trial)
                self._check(config)
        except GansweepError as mistake:
            self.mistake = mistake
            if not attempt:
                self._drop(trial)
            return str(Searcher.FINISHED)
        trial.set_user_attr(_ATTEMPTS, attempt + 1)
        started = datetime.now(UTC)
        row = TrialRow(trial_name(trial.number), attempt, "running", config, started=started)
        self._store.write_trial(row)
        self._store.sync_study()
        self._asked[trial_id] = row
        # What an override replaces would be shown with a value that it has not; parameters are named after their keys.
        fixed = {key.rpartition(".")[2] for key in self._experiment.overrides}
        values = ", ".join(f"{name} {_brief(value)}" for name, value in trial.params.items() if name not in fixed)
        begins = "goes on" if attempt else "starts"
        log.info("trial %s %s: %s", row.trial_id, begins, values or "no free parameters")
        return {
            "trial_id": row.trial_id,
            "attempt": attempt,
            "started": started.timestamp(),
            "config": config.as_dict(),
        }

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Logs a report."""
        told: TrialResult = result["result"]
        log.info("trial %s %s", self._asked[trial_id].trial_id, self._described(told))

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Writes the attempt's row, then tells the study. A trial that a node refused ends the search, not itself."""
        told: TrialResult | None = (result or {}).get("result")
        if told is not None and told.status == "refused":
            self.mistake = CohortError(told.reason)
            return
        info = self._store.info
        row = ended(self._asked.pop(trial_id), told, error, info.workers_per_trial * info.gpus_per_worker)
        # First the files, last the study: what the study calls finished is complete in the store.
        self._store.write_trial(row)
        attach_sheet(self._store, self._study, int(row.trial_id))
        tell(self._study, row, self._objectives)
        self._store.sync_study()
        how = self._described(told) if told is not None and row.scores else row.reason
        log.info("trial %s %s: %s", row.trial_id, row.status, how)

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune pickles its searcher for a restoration that this platform does from the study instead."""
        return {}

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the study is the state."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: the study is the state."""

    def _drop(self, trial: optuna.Trial) -> None:
        """Ends a trial that never became a configuration; one of `first_trials` is asked for again."""
        dropped = self._study.tell(trial, state=TrialState.FAIL)
        if parameters := dropped.system_attrs.get("fixed_params"):
            self._study.enqueue_trial(parameters)
        self._store.sync_study()

    def _described(self, told: TrialResult) -> str:
        assert told.report is not None
        progress = told.report.progress
        scores = ", ".join(f"{name} {_brief(progress.scores.get(name))}" for name in self._objectives)
        return f"report {progress.index + 1}/{self._experiment.reports}: {scores} ({told.seconds:.0f} s)"


class MistakeStopper(Stopper):  # type: ignore[misc]
    """Ends the search with the searcher's mistake. Trials under way are no worse off than after Ctrl-C.

    Args:
        searcher: whose mistake.
    """

    def __init__(self, searcher: StudySearcher) -> None:
        self._searcher = searcher

    def __call__(self, *_: Any) -> bool:
        """No trial is stopped for its results: that is the scheduler's part."""
        return False

    def stop_all(self) -> bool:
        """Whether the search has met a mistake of the user's."""
        return self._searcher.mistake is not None


def ended(row: TrialRow, told: TrialResult | None, error: bool, gpus: float) -> TrialRow:
    """The running attempt's row, now that it is over.

    Args:
        row: as written when the attempt began.
        told: the last that was heard of it; None if nothing was.
        error: whether the trial's process raised or died.
        gpus: over all workers, for a trial that did not live to tell its time.
    """
    if told is None:
        return row.finished("failed", reason="its process died" if error else "", gpus=gpus)
    status = told.status
    reason = told.reason
    if error:
        status = "failed"
        reason = "its process died"
    elif status == "running":  # its last word was a report, so the scheduler ended it
        status = "stopped"
        reason = "stopped early by the scheduler"
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


def tell(study: optuna.Study, row: TrialRow, objectives: Sequence[str]) -> None:
    """Ends a trial in the study as its row says.

    A trial the scheduler stopped is COMPLETE with the values it had then: pessimistic, but TPE learns more from a bad
    value than from none. The user attribute `stopped_at` tells which these are.
    """
    number = int(row.trial_id)
    frozen = study.get_trials(deepcopy=False)[number]
    trial = optuna.trial.Trial(study, frozen._trial_id)  # noqa: SLF001 (Optuna's storage knows trials by nothing else)
    for key, value in (("status", row.status), ("reason", row.reason), ("stopped_at", row.stopped_at)):
        trial.set_user_attr(key, value)
    values = [row.scores.get(name, math.nan) for name in objectives]
    if row.status in ("completed", "stopped") and all(map(math.isfinite, values)):
        study.tell(number, values)
    else:
        study.tell(number, state=TrialState.FAIL)


def count_ended(study: optuna.Study) -> int:
    """How many trials have ended as `tell` told; one that the space made no configuration for is none of them."""
    return sum("status" in trial.user_attrs for trial in study.get_trials(deepcopy=False) if trial.state.is_finished())


def requeue_orphans(study: optuna.Study, store: Store, objectives: Sequence[str], reason: str) -> int:
    """Puts right what a dead or interrupted driver left behind; returns how many trials will go on.

    A trial whose row says how it ended is told so; one without waits in the study to be asked for again, and the row of
    its interrupted attempt says so.
    """
    orphans = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    if not orphans:
        return 0
    store.interrupt_running(reason)
    ends = {row.trial_id: row for row in store.ended_trials()}
    waiting = 0
    for orphan in orphans:
        if (row := ends.get(trial_name(orphan.number))) is not None:
            tell(study, row, objectives)
            continue
        study._storage.set_trial_state_values(orphan._trial_id, state=TrialState.WAITING)  # noqa: SLF001
        waiting += 1
    store.sync_study()
    return waiting


def _brief(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
