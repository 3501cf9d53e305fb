"""Optuna as Tune's searcher, with two guarantees that Ray's own OptunaSearch lacks.

First, every trial ends in the study. NaN or a missing objective is recorded as FAIL, so that no RUNNING trial misleads
the sampler's constant liar. Second, a trial during which the driver died is neither lost nor repeated: it waits in the
study with its parameters and resumes from its checkpoint.
"""

from __future__ import annotations

import logging
from contextlib import contextmanager
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
from gansweep.search.pruning import why_pruned
from gansweep.search.spaces import users_code
from gansweep.search.study_rows import ATTEMPTS
from gansweep.search.trial_end import ended, interrupt_running, tell, trial_name
from gansweep.search.untrained import Untrained, key_of
from gansweep.store.artifacts import attach_sheet
from gansweep.store.schema import TrialRow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import optuna
    from optuna.trial import BaseTrial

    from gansweep.config import TrialConfig
    from gansweep.constraint import Constraint
    from gansweep.experiment import Experiment
    from gansweep.search.parameters import DrawnTrial
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
"""Number of consecutive refused proposals after which a sweep ends."""

MOST_REPEATED = 3
"""Number of consecutive repeated configurations after which one is drawn at random, in place of the sampler."""

REFUSED = "refused"
"""User attribute of a skipped proposal: the reason."""


class RepeatedError(GansweepError):
    """Raised for a proposal of a configuration that was already trained: equal seeds give equal results."""


@dataclass(frozen=True)
class _Refusal:
    parameters: dict[str, Any]
    attempt: int
    reason: GansweepError


class StudySearcher(Searcher):  # type: ignore[misc]
    """Asks the study for trials and tells it how they ended. Each trial's row is written to the store first.

    Args:
        experiment: the space and the objectives.
        study: a dedicated study, with the objectives' directions.
        store: store for the row of each attempt.
        check: function that raises ConfigError for a configuration that cannot be built on this cohort.
        rules: decide when no further trial starts.
        upkeep: notified of each trial that has ended.
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
        self._trained = {key_of(row.config): row.trial_id for row in store.latest_rows() if not row.repeat_of}
        self._refusals: list[_Refusal] = []
        self._drawn = -1  # number of the last trial that was not the sampler's
        self._untrained = Untrained(self._checked, store.info.seeds.get("sampler", 0))
        self._ended = count_ended(study)
        self.mistake: GansweepError | None = None
        self.stops_at_once = False

    def suggest(self, trial_id: str) -> dict[str, Any] | str:
        """Returns the next configuration. Trials that wait in the study come first.

        A refused proposal is skipped with its reason, and the sampler learns of it. After many consecutive refusals the
        search ends. The reason is kept in `mistake`, because Tune would hide it in its own error.
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
        """Returns the initial row of an attempt.

        Raises:
            GansweepError: the space does not make a configuration from the proposal, or makes one that cannot be
                trained.
        """
        name = trial_name(trial.number)
        if (there := self._store.row(name, attempt)) is not None and there.status not in ("running", "interrupted"):
            # Never overwritten, because the rows are the record.
            what = f"the study proposes trial {name}, which has ended ({there.status})"
            self.mistake = StoreError(what, where=self._store.label, fix="the sweep's --resume builds the study again")
            raise self.mistake
        begun = self._store.row(name, attempt - 1) if attempt else there
        # A started trial continues with its own configuration, even if the space's file has changed.
        config = self._config(trial) if begun is None else begun.config
        self._check(config)
        earlier = self._trained.get(key_of(config), name)
        if earlier != name and not attempt and trial.params:
            raise RepeatedError(f"the same configuration as trial {earlier}")
        parameters = parameters_to_json(trial)
        return TrialRow(name, attempt, "running", config, started=datetime.now(UTC), parameters=parameters)

    def _begin(self, trial_id: str, trial: optuna.Trial, row: TrialRow) -> dict[str, Any]:
        assert row.started is not None
        # Files first, study last: everything in the study is then also in the store.
        self._store.write_trial(row)
        trial.set_user_attr(ATTEMPTS, row.attempt + 1)
        self._asked[trial_id] = row
        self._trained[key_of(row.config)] = row.trial_id
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
            # It was partly trained, so it waits for a sweep that can continue it.
            log.warning("trial %s waits, and the others go on: %s", name, refusal)
        else:
            log.warning("proposal %s is set aside: %s", name, refusal)
            trial.set_user_attr(REFUSED, str(refusal))
            # PRUNED marks a bad region. FAIL makes the sampler ignore the proposal, because an error in the space's
            # code says nothing about the parameters, and a repetition adds no information.
            state = TrialState.FAIL if _says_nothing(refusal) else TrialState.PRUNED
            told = self._study.tell(trial, state=state)
            asked = told.system_attrs.get("fixed_params", {})
        self._refusals.append(_Refusal(asked, attempt, refusal))
        if isinstance(refusal, RepeatedError) and len(self._refusals) >= MOST_REPEATED:
            self._draw_another(trial.number)
        if len(self._refusals) >= MOST_REFUSED:
            self._give_up(refusal)

    def _draw_another(self, refused: int) -> None:
        """Enqueues a configuration that was not trained. If none is found, the space may now repeat itself.

        The model of some samplers, such as a Gaussian process, insists on its best configuration.
        """
        number = len(self._study.get_trials(deepcopy=False))
        another = None
        if refused != self._drawn:  # else the space makes something else of the same values
            another = self._untrained.parameters(number, self._trained)
        if another is None:
            self._trained.clear()
            return
        self._study.enqueue_trial(another)
        self._drawn = number

    def _checked(self, trial: DrawnTrial) -> TrialConfig:
        config = self._config(trial)
        self._check(config)
        return config

    def _config(self, trial: BaseTrial | DrawnTrial) -> TrialConfig:
        with users_code(f"space {self._store.info.space}"):
            return self._experiment.config(cast("optuna.Trial", WithFixed(trial, self._fixed)))

    def _give_up(self, last: GansweepError) -> None:
        """Ends the search. First trials lost to an error in the space are enqueued again, for when it is fixed."""
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
        """Writes the attempt's row, then updates the study.

        If a node refused the trial, ends the search, not the trial.
        """
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
        gpus = info.workers_per_trial * info.gpus_per_worker
        pruned = why_pruned(told, self._experiment.prune)
        row = ended(self._asked.pop(trial_id), told, error, gpus, pruned)
        # Files first, study last: a trial that is finished in the study is complete in the store.
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
        try:
            with self._store.study_errors_explained():
                yield
        except GansweepError as mistake:
            self.mistake = self.mistake or mistake
            self.stops_at_once = True

    def __getstate__(self) -> dict[str, Any]:
        """Returns an empty state.

        Tune pickles its searcher for recovery, which this platform does from the study instead.
        """
        return {}

    def save(self, checkpoint_path: str) -> None:
        """Does nothing, because the study is the state."""

    def restore(self, checkpoint_path: str) -> None:
        """Does nothing, because the study is the state."""

    def _described(self, told: TrialResult) -> str:
        assert told.report is not None
        progress = told.report.progress
        scores = ", ".join(f"{name} {score_text(name, progress.scores.get(name))}" for name in self._objectives)
        return f"report {progress.index + 1}/{self._experiment.reports}: {scores} ({told.seconds:.0f} s)"


class SearchStopper(Stopper):  # type: ignore[misc]
    """Ends the search if no node can train, or if a budget is used up. Ends a trial whose training begins to fail.

    When the search ends, running trials are treated as after Ctrl-C: they resume with `--resume`.

    Args:
        searcher: searcher whose `mistake` ends the search.
        rules: rules whose budgets end the search.
        prune: bounds on signals of a failing training.
    """

    def __init__(self, searcher: StudySearcher, rules: StopRules, prune: Sequence[Constraint] = ()) -> None:
        self._searcher = searcher
        self._rules = rules
        self._prune = prune

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:  # noqa: ARG002 (Tune's)
        """Returns whether a trial ends because a signal is beyond its bound. All else is the scheduler's task."""
        return bool(why_pruned(result.get("result"), self._prune))

    def stop_all(self) -> bool:
        """Returns whether running trials should end too."""
        return self._searcher.stops_at_once or bool(self._rules.over_budget)


def count_ended(study: optuna.Study) -> int:
    """Returns the number of trials that ended through `tell`. Refused proposals do not count."""
    return sum("status" in trial.user_attrs for trial in study.get_trials(deepcopy=False) if trial.state.is_finished())


def count_proposed(study: optuna.Study) -> int:
    """Returns the number of proposals that the sampler has made, whatever their outcome."""
    return sum(trial.state != TrialState.WAITING or bool(trial.params) for trial in study.get_trials(deepcopy=False))


def requeue_orphans(study: optuna.Study, store: Store, objectives: Sequence[str], reason: str) -> int:
    """Repairs what a dead or interrupted driver left behind. Returns the number of trials that will resume.

    If a trial's row records its end, the study is updated. Otherwise the trial waits in the study to be started again,
    and the row of its interrupted attempt records this.
    """
    interrupt_running(store, reason)
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
    """Returns whether a refusal says nothing about the parameters: a repetition, or an error in the space's code.

    A value that a configuration rejects does say something, whether the space or the check finds it.
    """
    if isinstance(refusal, RepeatedError):
        return True
    cause = refusal.__cause__
    return cause is not None and not isinstance(cause, ValidationError)


def _brief(value: Any) -> str:
    return plain(value, 4) if isinstance(value, float) else str(value)
