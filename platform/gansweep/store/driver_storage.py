"""Optuna storage for a sweep's driver: the study in memory, and a copy in its database for all who only read.

A sampler reads all trials several times for each proposal. Optuna's own storage asks the database each time, because
another process might have written to it. A sweep has one driver, which is the only one that writes trials.
"""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Any

import optuna
from optuna.storages import InMemoryStorage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from optuna.distributions import BaseDistribution
    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial, TrialState

__all__ = ["DriverStorage", "driven"]


class DriverStorage(InMemoryStorage):
    """Keeps one study in memory, and writes it to the database from which it was read.

    A trial is written when its state changes and when it gets a user attribute. Its parameters and the sampler's
    attributes are written with the next of these, so that a proposal takes one transaction instead of some 25.

    Attributes are kept as the database returns them. One that it cannot hold raises TypeError, and is not kept.

    Args:
        study: study in a database. No other process may change its trials from now on.
        database: storage of the study, without Optuna's cache, which would keep each trial once more.
    """

    def __init__(self, study: optuna.Study, database: BaseStorage) -> None:
        super().__init__()
        self._database = database
        self._in_database = database.get_study_id_from_name(study.study_name)
        self._ids: list[int] = []
        self._written: dict[int, FrozenTrial] = {}
        self._distributions: dict[str, BaseDistribution] = {}
        own = super().create_new_study(study.directions, study.study_name)
        for key, value in study.user_attrs.items():
            super().set_study_user_attr(own, key, value)
        for key, value in self._database.get_study_system_attrs(self._in_database).items():
            super().set_study_system_attr(own, key, value)
        known = self._studies[own].param_distribution
        for trial in study.get_trials(deepcopy=False):
            super().create_new_trial(own, trial)
            # The database would refuse a parameter whose distribution is of another kind than in these trials.
            known.update(trial.distributions)
            self._ids.append(trial._trial_id)  # noqa: SLF001 (storages know trials by nothing else)
            self._note(trial)

    def set_study_user_attr(self, study_id: int, key: str, value: Any) -> None:
        """Sets it in memory and in the database."""
        super().set_study_user_attr(study_id, key, _as_read(value))
        self._database.set_study_user_attr(self._in_database, key, value)

    def set_study_system_attr(self, study_id: int, key: str, value: Any) -> None:
        """Sets it in memory and in the database."""
        super().set_study_system_attr(study_id, key, _as_read(value))
        self._database.set_study_system_attr(self._in_database, key, value)

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        """Creates a trial. It is written now only if it has a template: a new proposal has no parameters yet."""
        if template_trial is None:
            return super().create_new_trial(study_id)
        template = copy.copy(template_trial)
        template.user_attrs = _as_read(template.user_attrs)
        template.system_attrs = _as_read(template.system_attrs)
        trial_id = super().create_new_trial(study_id, template)
        self._write(trial_id)
        return trial_id

    def set_trial_param(self, trial_id: int, name: str, value: float, distribution: BaseDistribution) -> None:
        """Sets a parameter in memory. Trials share equal distributions, which take more memory than the values."""
        # Known by their text, because Optuna takes the choices (False, True) and (0, 1) for equal.
        shared = self._distributions.setdefault(repr(distribution), distribution)
        super().set_trial_param(trial_id, name, value, shared)

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        """Sets a trial's state and values, and writes the trial."""
        changed = super().set_trial_state_values(trial_id, state, values)
        self._write(trial_id)
        return changed

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Sets a user attribute, and writes the trial."""
        super().set_trial_user_attr(trial_id, key, _as_read(value))
        self._write(trial_id)

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Sets a sampler's attribute in memory."""
        super().set_trial_system_attr(trial_id, key, _as_read(value))

    def _write(self, trial_id: int) -> None:
        """Writes what has changed in a trial. Earlier trials that are not written come first, for their numbers."""
        trial = self.get_trial(trial_id)
        study_id, _ = self._trial_id_to_study_id_and_number[trial_id]
        if trial.number >= len(self._ids):
            for new in self.get_all_trials(study_id, deepcopy=False)[len(self._ids) : trial.number + 1]:
                self._ids.append(self._database.create_new_trial(self._in_database, new))
                self._note(new)
            return
        before = self._written[trial.number]
        there = self._ids[trial.number]
        database = self._database
        for name, value in trial.params.items():
            if name not in before.params:
                distribution = trial.distributions[name]
                database.set_trial_param(there, name, distribution.to_internal_repr(value), distribution)
        for key, value in _changed(before.system_attrs, trial.system_attrs):
            database.set_trial_system_attr(there, key, value)
        for key, value in _changed(before.user_attrs, trial.user_attrs):
            database.set_trial_user_attr(there, key, value)
        for step, value in _changed(before.intermediate_values, trial.intermediate_values):
            database.set_trial_intermediate_value(there, step, value)
        if trial.state != before.state:
            database.set_trial_state_values(there, trial.state, trial.values)
        self._note(trial)

    def _note(self, trial: FrozenTrial) -> None:
        """Notes how a trial was written, if it can still change."""
        if trial.state.is_finished():
            self._written.pop(trial.number, None)
        else:
            # A copy, because Optuna's `Trial` changes the object that a storage returned.
            self._written[trial.number] = copy.deepcopy(trial)


def driven(study: optuna.Study, database: BaseStorage) -> optuna.Study:
    """Returns a study in a database as the driver's own, in memory. See `DriverStorage`."""
    storage = DriverStorage(study, database)
    return optuna.load_study(study_name=study.study_name, storage=storage, sampler=study.sampler)


def _as_read(value: Any) -> Any:
    """Returns a value as the database returns it: a copy, with lists for tuples, and strings for the keys of a dict."""
    return json.loads(json.dumps(value))


def _changed(before: dict[Any, Any], now: dict[Any, Any]) -> list[tuple[Any, Any]]:
    return [(key, value) for key, value in now.items() if key not in before or before[key] != value]
