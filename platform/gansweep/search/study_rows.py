"""Rebuilds the study from the rows.

A sweep's record is its rows in `trials/`. The study serves the sampler. If it is missing, damaged or out of date, it is
rebuilt from the rows, which contain the sampler's parameters for this purpose.
"""

from __future__ import annotations

import logging
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from optuna.trial import FrozenTrial, TrialState, create_trial

from gansweep.search.parameters import DrawnTrial, SpaceParameters, parameters_from_json
from gansweep.search.trial_end import trial_name, values_and_state
from gansweep.store.feasibility import excesses
from gansweep.store.schema import flat_config

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import optuna
    from optuna.distributions import BaseDistribution

    from gansweep.experiment import Experiment
    from gansweep.store.schema import TrialRow
    from gansweep.store.store import Store

__all__ = ["ATTEMPTS", "study_of_rows", "trials_of_rows"]

log = logging.getLogger(__name__)

ATTEMPTS = "attempts"
"""User attribute of a trial: the number of its starts."""

_LOST = "its row was lost"
_QMC = "qmc:"  # prefix of Optuna's attribute of a study
_CONSTRAINT = "constraints"  # prefix of its attributes of a trial


def study_of_rows(store: Store, experiment: Experiment) -> optuna.Study:
    """Returns the sweep's study, rebuilt if it does not agree with the rows. No attempt may be running.

    A trial whose row was lost is retrained, with its parameters if the study still has them.

    Args:
        store: the sweep's store.
        experiment: the experiment. Its space reveals the parameters of rows from earlier versions, which do not have
            them.
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
    position = _position(study) if old and study is not None else {}
    found = store.replace_study(made)
    for key, value in position.items():
        found._storage.set_study_system_attr(found._study_id, key, value)  # noqa: SLF001
    if rows:
        log.warning("%s/studies.db %s: it was built again from the %d rows in trials/", store.label, why, len(rows))
    return found


def _position(study: optuna.Study) -> dict[str, Any]:
    """Returns how far the QMC sampler has gone in its sequence. What others note names trials by their old ids."""
    noted = study._storage.get_study_system_attrs(study._study_id)  # noqa: SLF001
    return {key: value for key, value in noted.items() if key.startswith(_QMC)}


def trials_of_rows(store: Store, experiment: Experiment) -> list[FrozenTrial]:
    """Returns the trials in the rows, and those first trials of the experiment that are not among them.

    Ignores the study.

    Args:
        store: the sweep's store.
        experiment: see `study_of_rows`.
    """
    objectives = [objective.name for objective in store.info.objectives]
    return _Trials(experiment, _by_number(store), [], objectives, store.trials_begun()).all()


def _by_number(store: Store) -> dict[int, TrialRow]:
    return {int(row.trial_id): row for row in store.latest_rows() if not row.repeat_of and row.trial_id.isdecimal()}


def _differences(
    old: Sequence[FrozenTrial], rows: Mapping[int, TrialRow], objectives: Sequence[str], begun: int
) -> str:
    """Describes the first trial on which study and store disagree; empty if there is none."""
    for number, row in sorted(rows.items()):
        if number >= len(old):
            return f"trial {trial_name(number)} is not in it"
        if not _agrees(old[number], row, objectives):
            return f"trial {trial_name(number)} is {old[number].state.name.lower()} there and {row.status} here"
    for trial in old:
        was_started = trial.user_attrs.get("status") or trial.user_attrs.get(ATTEMPTS)
        if was_started and trial.number not in rows:
            return f"the row of trial {trial_name(trial.number)} is missing"
    # No other trial may get its number.
    return f"trial {trial_name(begun - 1)} is not in it" if begun > len(old) else ""


def _agrees(trial: FrozenTrial, row: TrialRow, objectives: Sequence[str]) -> bool:
    params, distributions = parameters_from_json(row.parameters)
    if distributions and trial.params not in (params, _inside(params, distributions)[0]):
        return False
    if not trial.state.is_finished():
        # Its end is taken from the row. A waiting trial must not have ended, because it would be trained again.
        return trial.state == TrialState.RUNNING or row.status == "interrupted"
    if row.status in ("running", "interrupted"):
        return False
    values, state = values_and_state(row, objectives)
    if state == TrialState.COMPLETE:
        return trial.state == state and trial.values == values
    return trial.state != TrialState.COMPLETE  # earlier versions recorded diverged trials as FAIL


@dataclass(frozen=True)
class _Trials:
    """The trials of a study that is rebuilt from rows.

    Args:
        experiment: the search.
        rows: last attempt of each trial, by number.
        old: trials of the study being replaced, by number.
        objectives: names of the objectives, in the study's order.
        begun: number of trials with any stored data.
    """

    experiment: Experiment
    rows: Mapping[int, TrialRow]
    old: Sequence[FrozenTrial]
    objectives: Sequence[str]
    begun: int

    def all(self) -> list[FrozenTrial]:
        """Returns a trial for every number from 0: from its row, else from the old study, else a placeholder."""
        space = SpaceParameters(self.experiment)
        count = max(self.begun, len(self.old))
        made = []
        for number in range(count):
            row = self.rows.get(number)
            made.append(self._without_row(number) if row is None else self._of_row(row, space))
        return [*made, *self._first_trials(made)]

    def _of_row(self, row: TrialRow, space: SpaceParameters) -> FrozenTrial:
        params, distributions = parameters_from_json(row.parameters)
        if not distributions:
            if row.parameters.strip() not in ("", "{}"):
                log.warning(
                    "trial %s: its parameters are damaged, so those of its configuration are taken", row.trial_id
                )
            params, distributions = inferred_parameters(self.experiment, row, space)
        params, distributions = _inside(params, distributions)
        attributes: dict[str, Any] = {ATTEMPTS: row.attempt + 1}
        state = TrialState.WAITING
        values = None
        beyond: dict[str, float] = {}
        if row.status not in ("running", "interrupted"):
            attributes |= {"status": row.status, "reason": row.reason, "stopped_at": row.stopped_at}
            values, state = values_and_state(row, self.objectives)
            beyond = excesses(row, self.experiment.constraints)
        trial = create_trial(
            state=state,
            values=values,
            params=params,
            distributions=distributions,
            user_attrs=attributes,
            system_attrs=self._system_attrs(int(row.trial_id), params),
        )
        for key, value in beyond.items():
            trial.set_constraint(key, value)
        return trial

    def _system_attrs(self, number: int, params: Mapping[str, Any]) -> dict[str, Any]:
        """Returns what the sampler noted in the old study's trial of this number, such as its generation."""
        if number >= len(self.old) or _inside(self.old[number].params, self.old[number].distributions)[0] != params:
            return {}
        return {key: value for key, value in self.old[number].system_attrs.items() if not key.startswith(_CONSTRAINT)}

    def _without_row(self, number: int) -> FrozenTrial:
        old = self.old[number] if number < len(self.old) else None
        if old is None:
            return create_trial(state=TrialState.FAIL, user_attrs={"reason": _LOST})
        params, distributions = _inside(old.params, old.distributions)
        if old.state.is_finished() and "status" not in old.user_attrs:
            # A refused proposal, which never had a row.
            return create_trial(
                state=old.state,
                values=old.values,
                params=params,
                distributions=distributions,
                user_attrs=old.user_attrs,
                system_attrs=old.system_attrs,
            )
        attributes = {key: value for key, value in old.user_attrs.items() if key == ATTEMPTS}
        return create_trial(
            state=TrialState.WAITING,
            params=params,
            distributions=distributions,
            user_attrs=attributes,
            system_attrs=old.system_attrs,
        )

    def _first_trials(self, made: Sequence[FrozenTrial]) -> list[FrozenTrial]:
        """Returns those of the experiment's first trials that have not been started, if the old study was lost."""
        if self.old:
            return []
        waiting = []
        for parameters in self.experiment.first_trials:
            if not any(_are_of(trial.params, parameters) for trial in made):
                trial = create_trial(state=TrialState.WAITING, system_attrs={"fixed_params": parameters})
                waiting.append(trial)
        return waiting


def _inside(params: Mapping[str, Any], distributions: Mapping[str, BaseDistribution]) -> tuple[Any, Any]:
    """Returns the parameters within their distributions. Optuna adds no trial with others, but begins one."""
    inside = {name: value for name, value in params.items() if _is_inside(value, distributions[name])}
    return inside, {name: distributions[name] for name in inside}


def _is_inside(value: Any, distribution: BaseDistribution) -> bool:
    try:
        return bool(distribution._contains(distribution.to_internal_repr(value)))  # noqa: SLF001 (there is no public one)
    except ValueError:  # it is none of the choices
        return False


def _are_of(params: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Returns whether a trial's parameters agree with the wanted ones, as far as its space uses them."""
    asked = params.keys() & wanted.keys()
    return bool(asked) and all(params[name] == wanted[name] for name in asked)


def inferred_parameters(experiment: Experiment, row: TrialRow, space: SpaceParameters) -> tuple[Any, Any]:
    """Returns the parameters that make a row's configuration, with their distributions; both empty if they are unknown.

    Args:
        experiment: the sweep's experiment.
        row: an attempt.
        space: configuration keys that the parameters of the experiment's space set.
    """
    flat = flat_config(row.config)
    trial = DrawnTrial(space.of_config(flat), random.Random(0))
    try:
        same = experiment.space(trial).derive(experiment.overrides) == row.config
    except (Exception, SystemExit):  # whatever the space raises for values that it did not make
        same = False
    if not same:
        log.info("trial %s: its parameters cannot be told from its row; the sampler goes on without them", row.trial_id)
        return {}, {}
    return trial.params, trial.distributions
