"""Optuna as Tune's searcher, with the two promises Ray's own OptunaSearch does not keep.

Every trial ends in the study (NaN or a missing objective is told as FAIL, so that no RUNNING trial misleads the
sampler's constant liar), and a trial the driver died under is neither lost nor repeated: it waits in the study with its
parameters, and goes on from its checkpoint.
"""

from __future__ import annotations

import json
import logging
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

from optuna.trial import TrialState
from pydantic import ValidationError
from ray.tune.search import Searcher
from ray.tune.stopper import Stopper

from gansweep.errors import CohortError, ConfigError, GansweepError, StoreError
from gansweep.scoring.metrics.formatting import plain, score_text
from gansweep.search.parameters import SpaceParameters, WithFixed, parameters_to_json
from gansweep.search.spaces import users_code
from gansweep.search.study_rows import ATTEMPTS
from gansweep.search.trial_end import ended, tell, trial_name
from gansweep.store.artifacts import attach_sheet
from gansweep.store.schema import TrialRow
from gansweep.store.study_database import database_errors_told

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import optuna

    from gansweep.config import TrialConfig
    from gansweep.experiment import Experiment
    from gansweep.search.stop_rules import StopRules
    from gansweep.search.trial import TrialResult
    from gansweep.store.compaction import Upkeep
    from gansweep.store.store import Store

__all__ = [
    "MOST_REFUSED",
    "SearchStopper",
    "StudySearcher",
    "count_ended",
    "count_proposed",
    "requeue_orphans",
]

log = logging.getLogger(__name__)

MOST_REFUSED = 50
"""Refused proposals in a row after which a sweep ends."""

MOST_REPEATED = 10
"""Repeated configurations in a row after which a space counts as small, and may repeat itself."""

REFUSED = "refused"
"""User attribute of a proposal that was set aside: why."""


class RepeatedError(GansweepError):
    """A proposal of a configuration that was trained already: equal seeds give equal results."""


@dataclass(frozen=True)
class _Refusal:
    parameters: dict[str, Any]
    attempt: int
    reason: GansweepError


class StudySearcher(Searcher):  # type: ignore[misc]
    """Asks the study for trials and tells it how they ended; each trial's row is in the store before the study knows.

    Args:
        experiment: the space and the objectives.
        study: a study of its own, with the objectives' directions.
        store: gets a row for each attempt.
        check: raises ConfigError for a configuration that cannot be built on this cohort.
        rules: when no further trial is to begin.
        upkeep: told of each trial that has ended.
    """

    def __init__(
        self,
        experiment: Experiment,
        study: optuna.Study,
        store: Store,
        check: Callable[[TrialConfig], None],
        rules: StopRules | None = None,
        upkeep: Upkeep | None = None,
    ) -> None:
        super().__init__()
        self._experiment = experiment
        self._study = study
        self._store = store
        self._check = check
        self._rules = rules
        self._upkeep = upkeep
        self._objectives = [objective.name for objective in experiment.objectives]
        self._fixed = SpaceParameters(experiment).fixed(experiment.overrides) if experiment.overrides else {}
        self._asked: dict[str, TrialRow] = {}
        self._trained = {_key(row.config): row.trial_id for row in store.latest_rows() if not row.repeat_of}
        self._refusals: list[_Refusal] = []
        self._ended = count_ended(study)
        self.mistake: GansweepError | None = None
        self.stops_at_once = False

    def suggest(self, trial_id: str) -> dict[str, Any] | str:
        """The next configuration; trials that wait in the study come first.

        A proposal that is refused is set aside with its reason, and the sampler learns of it. After many in a row the
        search ends: the reason is kept in `mistake`, because Tune would bury it in its own error.
        """
        with self._kept():
            return self._suggested(trial_id)
        return str(Searcher.FINISHED)

    def _suggested(self, trial_id: str) -> dict[str, Any] | str:
        while self.mistake is None and not (self._rules is not None and self._rules.reason):
            trial = self._study.ask()
            attempt = int(trial.user_attrs.get(ATTEMPTS, 0))
            try:
                row = self._row(trial, attempt)
            except GansweepError as refusal:
                if isinstance(refusal, StoreError) and self.mistake is None:
                    raise  # the storage fails: that is no fault of the proposal
                self._refuse(trial, attempt, refusal)
                continue
            self._refusals.clear()
            return self._begin(trial_id, trial, row)
        return str(Searcher.FINISHED)

    def _row(self, trial: optuna.Trial, attempt: int) -> TrialRow:
        """The row that an attempt begins with.

        Raises:
            GansweepError: the space makes no configuration of the proposal, or one that cannot be trained.
        """
        name = trial_name(trial.number)
        if (there := self._store.row(name, attempt)) is not None and there.status not in ("running", "interrupted"):
            # Never written over: the rows are the record.
            what = f"the study proposes trial {name}, which has ended ({there.status})"
            self.mistake = StoreError(what, where=self._store.label, fix="the sweep's --resume builds the study again")
            raise self.mistake
        begun = self._store.row(name, attempt - 1) if attempt else there
        if begun is not None:
            # What was trained goes on as what it is, even if the space's file has changed since.
            config = begun.config
        else:
            with users_code(f"space {self._store.info.space}"):
                config = self._experiment.config(cast("optuna.Trial", WithFixed(trial, self._fixed)))
        self._check(config)
        if not attempt and trial.params and (earlier := self._trained.get(_key(config))) not in (None, name):
            raise RepeatedError(f"the same configuration as trial {earlier}")
        parameters = parameters_to_json(trial)
        return TrialRow(name, attempt, "running", config, started=datetime.now(UTC), parameters=parameters)

    def _begin(self, trial_id: str, trial: optuna.Trial, row: TrialRow) -> dict[str, Any]:
        assert row.started is not None
        # First the files, last the study: what the study knows of is in the store.
        self._store.write_trial(row)
        trial.set_user_attr(ATTEMPTS, row.attempt + 1)
        self._asked[trial_id] = row
        self._trained[_key(row.config)] = row.trial_id
        if self._rules is not None:
            self._rules.began(row)
        values = ", ".join(f"{name} {_brief(value)}" for name, value in trial.params.items())
        begins = "goes on" if row.attempt else "starts"
        log.info("trial %s %s: %s", row.trial_id, begins, values or "no free parameters")
        return {
            "trial_id": row.trial_id,
            "attempt": row.attempt,
            "started": row.started.timestamp(),
            "config": row.config.as_dict(),
        }

    def _refuse(self, trial: optuna.Trial, attempt: int, refusal: GansweepError) -> None:
        name = trial_name(trial.number)
        if self.mistake is not None:
            return
        asked: dict[str, Any] = {}
        if attempt:
            # It has been trained: it waits for a sweep that can go on with it.
            log.warning("trial %s waits, and the others go on: %s", name, refusal)
        else:
            log.warning("proposal %s is set aside: %s", name, refusal)
            trial.set_user_attr(REFUSED, str(refusal))
            # PRUNED: a bad region. FAIL: the sampler passes over it, for an error in the space's code says nothing of
            # the parameters, and a repetition nothing new.
            state = TrialState.FAIL if _says_nothing(refusal) else TrialState.PRUNED
            told = self._study.tell(trial, state=state)
            asked = told.system_attrs.get("fixed_params", {})
        self._refusals.append(_Refusal(asked, attempt, refusal))
        if isinstance(refusal, RepeatedError) and len(self._refusals) >= MOST_REPEATED:
            self._trained.clear()  # a small space has been searched: from here on it may repeat itself
        if len(self._refusals) >= MOST_REFUSED:
            self._give_up(refusal)

    def _give_up(self, last: GansweepError) -> None:
        """Ends the search. What the space's own error lost of the first trials is asked for again when it is mended."""
        what = f"{len(self._refusals)} proposals in a row were refused, the last one: {last}"
        self.mistake = ConfigError(what, fix="narrow the space, or mend it, and go on with --resume")
        for refused in self._refusals:
            if refused.parameters and not refused.attempt and _says_nothing(refused.reason):
                self._study.enqueue_trial(refused.parameters)
        self._store.sync_study()

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Logs a report."""
        told: TrialResult = result["result"]
        log.info("trial %s %s", self._asked[trial_id].trial_id, self._described(told))

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Writes the attempt's row, then tells the study. A trial that a node refused ends the search, not itself."""
        with self._kept():
            self._complete(trial_id, (result or {}).get("result"), error)

    def _complete(self, trial_id: str, told: TrialResult | None, error: bool) -> None:
        if self.stops_at_once:
            return  # it goes on with --resume
        if told is not None and told.status == "refused":
            self.mistake = CohortError(told.reason)
            self.stops_at_once = True
            return
        info = self._store.info
        row = ended(self._asked.pop(trial_id), told, error, info.workers_per_trial * info.gpus_per_worker)
        # First the files, last the study: what the study calls finished is complete in the store.
        self._store.write_trial(row)
        if self._rules is not None:
            self._rules.ended(row)
        attach_sheet(self._store, self._study, int(row.trial_id))
        tell(self._study, row, self._objectives, self._experiment.constraints)
        if self._upkeep is not None:
            self._upkeep.trial_ended()
        how = self._described(told) if told is not None and row.scores else row.reason
        self._ended += 1
        log.info("trial %s %s, %d of %d: %s", row.trial_id, row.status, self._ended, info.trials, how)

    @contextmanager
    def _kept(self) -> Iterator[None]:
        """Keeps what the storage or the study's database raises as the reason why the search ends at once.

        Tune would take it for a failure of the trial, try that again, and end in a traceback.
        """
        place = self._store.info.study
        try:
            with database_errors_told(place) if place else nullcontext():
                yield
        except GansweepError as mistake:
            self.mistake = self.mistake or mistake
            self.stops_at_once = True

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune pickles its searcher for a restoration that this platform does from the study instead."""
        return {}

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the study is the state."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: the study is the state."""

    def _described(self, told: TrialResult) -> str:
        assert told.report is not None
        progress = told.report.progress
        scores = ", ".join(f"{name} {score_text(name, progress.scores.get(name))}" for name in self._objectives)
        return f"report {progress.index + 1}/{self._experiment.reports}: {scores} ({told.seconds:.0f} s)"


class SearchStopper(Stopper):  # type: ignore[misc]
    """Ends the search where no node can train, or a budget is used up.

    Trials under way are no worse off than after Ctrl-C: they go on with `--resume`.

    Args:
        searcher: whose mistake.
        rules: whose budgets.
    """

    def __init__(self, searcher: StudySearcher, rules: StopRules) -> None:
        self._searcher = searcher
        self._rules = rules

    def __call__(self, *_: Any) -> bool:
        """No trial is stopped for its results: that is the scheduler's part."""
        return False

    def stop_all(self) -> bool:
        """Whether trials under way are to end too."""
        return self._searcher.stops_at_once or bool(self._rules.over_budget)


def count_ended(study: optuna.Study) -> int:
    """How many trials have ended as `tell` told; a proposal that was refused is none of them."""
    return sum("status" in trial.user_attrs for trial in study.get_trials(deepcopy=False) if trial.state.is_finished())


def count_proposed(study: optuna.Study) -> int:
    """How many proposals the sampler has made, whatever became of them."""
    return sum(trial.state != TrialState.WAITING or bool(trial.params) for trial in study.get_trials(deepcopy=False))


def requeue_orphans(study: optuna.Study, store: Store, objectives: Sequence[str], reason: str) -> int:
    """Puts right what a dead or interrupted driver left behind; returns how many trials will go on.

    A trial whose row says how it ended is told so; one without waits in the study to be asked for again, and the row of
    its interrupted attempt says so.
    """
    store.interrupt_running(reason)
    orphans = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    if not orphans:
        return 0
    ends = {row.trial_id: row for row in store.ended_trials()}
    waiting = 0
    for orphan in orphans:
        if (row := ends.get(trial_name(orphan.number))) is not None:
            tell(study, row, objectives, store.info.constraints)
            continue
        study._storage.set_trial_state_values(orphan._trial_id, state=TrialState.WAITING)  # noqa: SLF001
        waiting += 1
    store.sync_study()
    return waiting


def _says_nothing(refusal: GansweepError) -> bool:
    """Whether a refusal is no reason to keep away from the parameters: a repetition, or an error in the space's code.

    A value that a configuration refuses is a reason, whether the space or the check meets it.
    """
    cause = refusal.__cause__
    return isinstance(refusal, RepeatedError) or (cause is not None and not isinstance(cause, ValidationError))


def _key(config: TrialConfig) -> str:
    return json.dumps(config.as_dict(), sort_keys=True)


def _brief(value: Any) -> str:
    return plain(value, 4) if isinstance(value, float) else str(value)
