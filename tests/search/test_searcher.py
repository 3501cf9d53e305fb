"""The searcher between a user's space and Optuna's study, without Tune."""

import time
from pathlib import Path

import pytest
from optuna.trial import TrialState

from gansweep.cohort.dataset import Cohort
from gansweep.config import TrialConfig
from gansweep.errors import ConfigError
from gansweep.experiment import Experiment
from gansweep.search.cluster import Footprint
from gansweep.search.searcher import MistakeStopper, StudySearcher, count_ended, requeue_orphans
from gansweep.search.spaces import load_space
from gansweep.search.trial import TrialResult
from gansweep.store.provenance import describe_sweep
from gansweep.store.store import Store
from tests.values import sweep_options

SPACE = """
from gansweep.config import TrialConfig
from gansweep.experiment import Experiment
from trainables import TRAINABLES

SIZES = {"small": 8}

def mine():
    return Experiment(name="mine", space=_space, trainables=TRAINABLES, first_trials=({"width": "large"},))

def _space(trial):
    return TrialConfig(batch_size=SIZES[trial.suggest_categorical("width", ["small", "large"])])

def unbuilt():
    return SIZES["medium"]
"""


@pytest.fixture
def reference(tmp_path: Path) -> str:
    (tmp_path / "mine.py").write_text(SPACE)
    return f"{tmp_path / 'mine.py'}:mine"


def _started(reference: str, cohort_path: Path, folder: Path) -> tuple[Experiment, Store]:
    experiment = load_space(reference)
    info = describe_sweep(experiment, Cohort.open(cohort_path), sweep_options(name="s", seed=0), space=reference)
    return experiment, Store.create(str(folder / "runs"), "s", info)


def test_a_space_that_raises_ends_the_search_with_its_own_line_and_spends_no_trial(
    reference: str, cohort_path: Path, tmp_path: Path
) -> None:
    experiment, store = _started(reference, cohort_path, tmp_path)
    study = store.create_study()
    study.enqueue_trial(experiment.first_trials[0])
    searcher = StudySearcher(experiment, study, store, lambda _: None)
    assert not MistakeStopper(searcher).stop_all()
    assert searcher.suggest("a") == StudySearcher.FINISHED
    line = SPACE.splitlines().index(
        '    return TrialConfig(batch_size=SIZES[trial.suggest_categorical("width", ["small", "large"])])'
    )
    assert isinstance(searcher.mistake, ConfigError)
    assert str(searcher.mistake) == f"space {reference} ({tmp_path / 'mine.py'}, line {line + 1}): KeyError: 'large'"
    assert MistakeStopper(searcher).stop_all()
    assert count_ended(study) == 0
    assert not study.get_trials(states=(TrialState.RUNNING,))
    # Put right, the first trial is asked for again.
    mended = experiment.model_copy(update={"space": lambda trial: TrialConfig(batch_size=2 + len(_width(trial)))})
    again = StudySearcher(mended, study, store, lambda _: None).suggest("b")
    assert isinstance(again, dict)
    assert again["config"]["batch_size"] == 2 + len("large")


def test_a_trial_that_had_begun_waits_for_its_space_to_be_put_right(
    reference: str, cohort_path: Path, tmp_path: Path
) -> None:
    experiment, store = _started(reference, cohort_path, tmp_path)
    study = store.create_study()
    study.enqueue_trial({"width": "small"})
    StudySearcher(experiment, study, store, lambda _: None).suggest("a")
    requeue_orphans(study, store, [], "the driver died")

    def refuse(_: TrialConfig) -> None:
        raise ConfigError("no longer")

    StudySearcher(experiment, study, store, refuse).suggest("b")
    assert requeue_orphans(study, store, [], "the sweep was interrupted") == 1
    assert [trial.state for trial in study.trials] == [TrialState.WAITING]


def test_a_trial_whose_process_died_has_taken_its_time(reference: str, cohort_path: Path, tmp_path: Path) -> None:
    experiment, store = _started(reference, cohort_path, tmp_path)
    store.update_info(workers_per_trial=2, gpus_per_worker=1.0)
    study = store.create_study()
    study.enqueue_trial({"width": "small"})
    searcher = StudySearcher(experiment, study, store, lambda _: None)
    searcher.suggest("a")
    time.sleep(0.05)
    searcher.on_trial_complete("a", None, error=True)
    row = store.trials().iloc[0]
    assert (row["status"], row["reason"]) == ("failed", "its process died")
    assert row["seconds"] >= 0.05
    assert row["gpu_seconds"] == pytest.approx(2 * row["seconds"])


def test_a_trial_that_its_node_refused_ends_the_search_and_is_not_spent(
    reference: str, cohort_path: Path, tmp_path: Path
) -> None:
    experiment, store = _started(reference, cohort_path, tmp_path)
    study = store.create_study()
    study.enqueue_trial({"width": "small"})
    searcher = StudySearcher(experiment, study, store, lambda _: None)
    searcher.suggest("a")
    refused = TrialResult("refused", "/data/cohort: is another one", None, {}, 0, 0.0, Footprint())
    searcher.on_trial_complete("a", {"result": refused})
    assert str(searcher.mistake) == "/data/cohort: is another one"
    assert requeue_orphans(study, store, [], "the sweep was interrupted") == 1
    assert count_ended(study) == 0
    assert list(store.trials()["status"]) == ["interrupted"]


@pytest.mark.parametrize("function", ["unbuilt", "mine"])
def test_a_function_or_a_file_that_raises_is_told_with_its_line(function: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(SPACE if function == "unbuilt" else f"{SPACE}\nunbuilt()\n")
    line = SPACE.splitlines().index('    return SIZES["medium"]') + 1
    with pytest.raises(ConfigError) as told:
        load_space(f"{path}:{function}")
    assert str(told.value) == f"space {path}:{function} ({path}, line {line}): KeyError: 'medium'"


def _width(trial) -> str:  # type: ignore[no-untyped-def]
    return str(trial.suggest_categorical("width", ["small", "large"]))
