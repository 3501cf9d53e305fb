"""The study as the rows tell it.

A sweep's record is its rows in `trials/`. The study serves the sampler. Where it is missing, damaged or behind the
rows, it is made again from them; rows keep the sampler's parameters for that.
"""

from __future__ import annotations

import logging
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from optuna.trial import FrozenTrial, TrialState, create_trial

from gansweep.errors import GansweepError
from gansweep.search.parameters import DrawnTrial, SpaceParameters, parameters_from_json
from gansweep.search.trial_end import excesses, trial_name, values_and_state
from gansweep.store.schema import flat_config

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import optuna

    from gansweep.experiment import Experiment
    from gansweep.store.schema import TrialRow
    from gansweep.store.store import Store

__all__ = ["ATTEMPTS", "study_of_rows", "trials_of_rows"]

log = logging.getLogger(__name__)

ATTEMPTS = "attempts"
"""User attribute of a trial: how often it was started."""

_LOST = "its row was lost"


def study_of_rows(store: Store, experiment: Experiment) -> optuna.Study:
    """The sweep's study, made again where it does not agree with the rows. No attempt may be running.

    A trial whose row was lost is trained again, with its parameters where the study still knows them.

    Args:
        store: of the sweep.
        experiment: its space tells the parameters of rows that do not have them, which an earlier gansweep wrote.
    """
    rows = _by_number(store)
    damage = store.study_damage()
    study = None if damage else store.create_study()
    begun = store.trials_begun()
    objectives = [objective.name for objective in store.info.objectives]
    directions = [objective.direction for objective in store.info.objectives]
    old: Sequence[FrozenTrial] = []
    if study is not None and [direction.name.lower() for direction in study.directions] == directions:
        old = study.get_trials(deepcopy=False)
        differences = _differences(old, rows, objectives, begun)
        if not differences:
            return study
        why = f"does not agree with the rows ({differences})"
    else:
        why = f"was damaged ({damage})" if damage else "is of other objectives"
    made = _Trials(experiment, rows, old, objectives, begun).all()
    found = store.replace_study(made)
    if rows:
        log.warning("%s/studies.db %s: it was built again from the %d rows in trials/", store.label, why, len(rows))
    return found


def trials_of_rows(store: Store, experiment: Experiment) -> list[FrozenTrial]:
    """The trials that the rows alone tell of, and those first trials that none of them is. The study is not touched.

    Args:
        store: of the sweep.
        experiment: see `study_of_rows`.
    """
    objectives = [objective.name for objective in store.info.objectives]
    return _Trials(experiment, _by_number(store), [], objectives, store.trials_begun()).all()


def _by_number(store: Store) -> dict[int, TrialRow]:
    return {int(row.trial_id): row for row in store.latest_rows() if not row.repeat_of and row.trial_id.isdecimal()}


def _differences(
    old: Sequence[FrozenTrial], rows: Mapping[int, TrialRow], objectives: Sequence[str], begun: int
) -> str:
    """The first trial of which study and store tell different things; empty where there is none."""
    for number, row in sorted(rows.items()):
        if number >= len(old):
            return f"trial {trial_name(number)} is not in it"
        if not _agrees(old[number], row, objectives):
            return f"trial {trial_name(number)} is {old[number].state.name.lower()} there and {row.status} here"
    for trial in old:
        if trial.number not in rows and (trial.user_attrs.get("status") or trial.user_attrs.get(ATTEMPTS)):
            return f"the row of trial {trial_name(trial.number)} is missing"
    # Its number must not be given to another trial.
    return f"trial {trial_name(begun - 1)} is not in it" if begun > len(old) else ""


def _agrees(trial: FrozenTrial, row: TrialRow, objectives: Sequence[str]) -> bool:
    if row.parameters:
        params, _ = parameters_from_json(row.parameters)
        if trial.params != params:
            return False
    if not trial.state.is_finished():
        # Its end is told from the row. A trial that waits must not have ended: it would be trained again.
        return trial.state == TrialState.RUNNING or row.status == "interrupted"
    if row.status in ("running", "interrupted"):
        return False
    values, state = values_and_state(row, objectives)
    if state == TrialState.COMPLETE:
        return trial.state == state and trial.values == values
    return trial.state != TrialState.COMPLETE  # an earlier gansweep told diverged trials as FAIL


@dataclass(frozen=True)
class _Trials:
    """The trials of a study that is made from rows.

    Args:
        experiment: the search.
        rows: the last attempt of each trial, by number.
        old: the trials of the study that is replaced, by number.
        objectives: names, in the study's order.
        begun: trials of which anything is kept.
    """

    experiment: Experiment
    rows: Mapping[int, TrialRow]
    old: Sequence[FrozenTrial]
    objectives: Sequence[str]
    begun: int

    def all(self) -> list[FrozenTrial]:
        """Every number from 0: from its row, else from the old study, else a place that is kept free."""
        space = SpaceParameters(self.experiment)
        count = max(self.begun, len(self.old))
        made = [
            self._of_row(self.rows[number], space) if number in self.rows else self._without_row(number)
            for number in range(count)
        ]
        return [*made, *self._first_trials(made)]

    def _of_row(self, row: TrialRow, space: SpaceParameters) -> FrozenTrial:
        params, distributions = parameters_from_json(row.parameters)
        if not row.parameters:
            params, distributions = inferred_parameters(self.experiment, row, space)
        attributes: dict[str, Any] = {ATTEMPTS: row.attempt + 1}
        state = TrialState.WAITING
        values = None
        beyond: dict[str, float] = {}
        if row.status not in ("running", "interrupted"):
            attributes |= {"status": row.status, "reason": row.reason, "stopped_at": row.stopped_at}
            values, state = values_and_state(row, self.objectives)
            beyond = excesses(row, self.experiment.constraints)
        trial = create_trial(
            state=state, values=values, params=params, distributions=distributions, user_attrs=attributes
        )
        for key, value in beyond.items():
            trial.set_constraint(key, value)
        return trial

    def _without_row(self, number: int) -> FrozenTrial:
        old = self.old[number] if number < len(self.old) else None
        if old is None:
            return create_trial(state=TrialState.FAIL, user_attrs={"reason": _LOST})
        if old.state.is_finished() and "status" not in old.user_attrs:
            return old  # refused: it never had a row
        attributes = {key: value for key, value in old.user_attrs.items() if key == ATTEMPTS}
        return create_trial(
            state=TrialState.WAITING,
            params=old.params,
            distributions=old.distributions,
            user_attrs=attributes,
            system_attrs=old.system_attrs,
        )

    def _first_trials(self, made: Sequence[FrozenTrial]) -> list[FrozenTrial]:
        """Those of the experiment's first trials that nobody has asked for yet, where the old study was lost."""
        if self.old:
            return []
        asked = [trial.params for trial in made]
        return [
            create_trial(state=TrialState.WAITING, system_attrs={"fixed_params": parameters})
            for parameters in self.experiment.first_trials
            if not any(_are_of(params, parameters) for params in asked)
        ]


def _are_of(params: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Whether a trial's parameters are those that were wanted, as far as its space asked for them."""
    asked = params.keys() & wanted.keys()
    return bool(asked) and all(params[name] == wanted[name] for name in asked)


def inferred_parameters(experiment: Experiment, row: TrialRow, space: SpaceParameters) -> tuple[Any, Any]:
    """The parameters that make a row's configuration, with their distributions; both empty where they cannot be told.

    Args:
        experiment: of the sweep.
        row: an attempt.
        space: what the parameters of the experiment's space set.
    """
    flat = flat_config(row.config)
    trial = DrawnTrial(space.of_config(flat), random.Random(0))
    try:
        same = experiment.space(trial).derive(experiment.overrides) == row.config
    except (GansweepError, ValueError, TypeError, KeyError):
        same = False
    if not same:
        log.info("trial %s: its parameters cannot be told from its row; the sampler goes on without them", row.trial_id)
        return {}, {}
    return trial.params, trial.distributions
