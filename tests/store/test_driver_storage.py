"""The driver's study in memory, and what its database has of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState, create_trial

from gansweep.search.samplers import make_sampler
from gansweep.store.driver_storage import driven as driven_by

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from optuna.trial import FrozenTrial

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")


@pytest.fixture
def read(tmp_path: Path) -> Callable[[], optuna.Study]:
    """Returns the study as another process reads it. The first call creates it."""
    url = f"sqlite:///{tmp_path / 'studies.db'}"

    def opened() -> optuna.Study:
        return optuna.create_study(
            study_name="sweep", storage=url, directions=["minimize", "maximize"], load_if_exists=True
        )

    return opened


def driven(study: optuna.Study) -> optuna.Study:
    """Returns the driver's study."""
    return driven_by(study, study._storage._backend)


def propose(trial: optuna.Trial) -> None:
    trial.suggest_float("rate", 1e-5, 1e-2, log=True)
    trial.suggest_int("batch", 8, 64, step=8)
    if trial.suggest_categorical("augmentation", ["none", "diffaugment"]) != "none":
        trial.suggest_float("strength", 0.0, 1.0)


def seen(trial: FrozenTrial) -> dict[str, Any]:
    """Returns what a trial says, without its times and its id in one storage."""
    return {
        "number": trial.number,
        "state": trial.state,
        "values": trial.values,
        "params": trial.params,
        "distributions": trial.distributions,
        "user_attrs": trial.user_attrs,
        "system_attrs": trial.system_attrs,
        "intermediate": trial.intermediate_values,
    }


def all_seen(study: optuna.Study) -> list[dict[str, Any]]:
    return [seen(trial) for trial in study.get_trials(deepcopy=False)]


def system_attrs(study: optuna.Study) -> dict[str, Any]:
    """Returns what samplers keep of a whole study."""
    return study._storage.get_study_system_attrs(study._study_id)


@pytest.mark.parametrize("kind", ["tpe", "nsga-ii", "nsga-iii", "random", "qmc"])
def test_the_database_has_what_memory_has(kind: str, read: Callable[[], optuna.Study]) -> None:
    study = driven(read())
    study.sampler = make_sampler(kind, 0, 0, 5)
    study.enqueue_trial({"rate": 1e-3})
    for number in range(15):
        trial = study.ask()
        propose(trial)
        trial.set_user_attr("attempts", 1)
        assert all_seen(read()) == all_seen(study)
        trial.set_constraint("seconds", float(number - 9))
        trial.set_user_attr("status", "completed")
        failed = number % 5 == 4
        study.tell(number, None if failed else [number, -number], TrialState.PRUNED if failed else TrialState.COMPLETE)
        assert all_seen(read()) == all_seen(study)
    assert system_attrs(read()) == system_attrs(study)
    assert read().user_attrs == study.user_attrs


def test_a_proposal_is_written_once_it_has_begun(read: Callable[[], optuna.Study]) -> None:
    study = driven(read())
    skipped = study.ask()
    begun = study.ask()
    propose(begun)
    assert read().trials == []
    begun.set_user_attr("attempts", 1)
    there = read().trials
    # The one before it is there too, so that numbers agree.
    assert [trial.state for trial in there] == [TrialState.RUNNING] * 2
    assert there[1].params == begun.params != {}
    study.tell(skipped, state=TrialState.FAIL)
    assert [trial.state for trial in read().trials] == [TrialState.FAIL, TrialState.RUNNING]


def test_a_waiting_trial_keeps_the_parameters_it_gets(read: Callable[[], optuna.Study]) -> None:
    before = read()
    before.enqueue_trial({"batch": 16})
    study = driven(before)
    trial = study.ask()
    propose(trial)
    assert read().trials[0].state == TrialState.RUNNING
    trial.set_user_attr("attempts", 1)
    assert seen(read().trials[0]) == seen(study.trials[0])
    assert read().trials[0].params["batch"] == 16
    # As at the end of an interrupted sweep.
    study._storage.set_trial_state_values(trial._trial_id, state=TrialState.WAITING)
    assert read().trials[0].state == TrialState.WAITING
    again = driven(read()).ask()
    propose(again)
    assert again.params == trial.params


def test_a_study_goes_on_with_its_numbers(read: Callable[[], optuna.Study]) -> None:
    first = driven(read())
    first.set_metric_names(["fid", "accuracy"])
    for _ in range(3):
        trial = first.ask()
        propose(trial)
        first.tell(trial, [1.0, 2.0])
    second = driven(read())
    assert second.metric_names == ["fid", "accuracy"]
    assert all_seen(second) == all_seen(first)
    second.add_trial(create_trial(state=TrialState.FAIL))
    trial = second.ask()
    assert trial.number == 4
    second.tell(trial, [0.0, 0.0])
    assert all_seen(read()) == all_seen(second)


def test_what_others_note_on_a_study_stays(read: Callable[[], optuna.Study]) -> None:
    """A dashboard writes its users' notes to the database."""
    study = driven(read())
    trial = study.ask()
    propose(trial)
    trial.set_user_attr("attempts", 1)
    dashboard = read()
    dashboard._storage.set_trial_system_attr(dashboard.trials[0]._trial_id, "dashboard:note", "promising")
    dashboard.set_user_attr("owner", "radiology")
    study.tell(trial, [1.0, 2.0])
    assert read().trials[0].system_attrs["dashboard:note"] == "promising"
    assert read().user_attrs == {"owner": "radiology"}


def test_a_write_that_failed_is_made_up_for(read: Callable[[], optuna.Study], monkeypatch: pytest.MonkeyPatch) -> None:
    study = driven(read())
    trial = study.ask()
    propose(trial)
    trial.set_user_attr("attempts", 1)

    def fails(*_: object) -> None:
        raise OSError("the disk is full")

    with monkeypatch.context() as broken:
        broken.setattr(study._storage._database, "set_trial_user_attr", fails)
        with pytest.raises(OSError, match="full"):
            trial.set_user_attr("status", "completed")
    study.tell(trial, [1.0, 2.0])
    assert all_seen(read()) == all_seen(study)
    assert read().trials[0].user_attrs == {"attempts": 1, "status": "completed"}


@pytest.mark.parametrize("unfit", [np.float32(1), {1, 2}, b"x"])
def test_what_the_database_cannot_hold_is_not_kept(unfit: object, read: Callable[[], optuna.Study]) -> None:
    """A space may note what it likes on its trial. Its refusal is noted there too."""
    study = driven(read())
    trial = study.ask()
    with pytest.raises(TypeError, match="not JSON serializable"):
        trial.set_user_attr("unfit", unfit)
    with pytest.raises(TypeError, match="not JSON serializable"):
        study.set_user_attr("unfit", unfit)
    with pytest.raises(TypeError, match="not JSON serializable"):
        study.enqueue_trial({"rate": unfit})
    trial.set_user_attr("refused", "why")
    study.tell(trial, state=TrialState.FAIL)
    assert all_seen(read()) == all_seen(study)
    assert len(study.trials) == 1
    assert trial.user_attrs == {"refused": "why"}
    assert study.user_attrs == {}


def test_attributes_are_as_the_database_returns_them(read: Callable[[], optuna.Study]) -> None:
    study = driven(read())
    study.enqueue_trial({"batch": 16}, user_attrs={"sizes": (1, 2)})
    trial = study.ask()
    growing = [1]
    trial.set_user_attr("growing", growing)
    growing.append(2)
    trial.set_user_attr("counts", {1: float("inf")})
    assert read().trials[0].user_attrs == study.trials[0].user_attrs
    assert study.trials[0].user_attrs == {"sizes": [1, 2], "growing": [1], "counts": {"1": float("inf")}}


def test_parameters_share_no_choices_that_only_seem_equal(read: Callable[[], optuna.Study]) -> None:
    study = driven(read())
    study.enqueue_trial({"blocks": 0, "spectral": False, "weight": 0.0})
    trial = study.ask()
    trial.suggest_categorical("blocks", [0, 1])
    trial.suggest_categorical("spectral", [False, True])
    trial.suggest_categorical("weight", [0.0, 1.0])
    trial.set_user_attr("attempts", 1)
    for params in (trial.params, read().trials[0].params):
        assert [repr(params[name]) for name in ("blocks", "spectral", "weight")] == ["0", "False", "0.0"]


def test_a_parameter_keeps_its_kind_after_a_resume(read: Callable[[], optuna.Study]) -> None:
    """Else memory would take what the database then refuses, when the trial begins."""
    trial = driven(read()).ask()
    propose(trial)
    trial.set_user_attr("attempts", 1)
    again = driven(read()).ask()
    with pytest.raises(ValueError, match="dynamic value space"):
        again.suggest_categorical("augmentation", ["none", "translation"])
    with pytest.raises(ValueError, match="different distribution kind"):
        again.suggest_int("rate", 0, 1)
    again.set_user_attr("refused", "why")
    assert read().trials[1].user_attrs == {"refused": "why"}
