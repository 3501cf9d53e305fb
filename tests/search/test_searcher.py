"""The searcher between a user's space and Optuna's study, without Tune."""

import re
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
import pytest
from optuna.trial import TrialState

from gansweep.cohort.dataset import Cohort
from gansweep.config import TrialConfig
from gansweep.errors import ConfigError, StoreError
from gansweep.experiment import Experiment
from gansweep.search.cluster import Footprint
from gansweep.search.searcher import MOST_REFUSED, SearchStopper, StudySearcher, count_ended, requeue_orphans
from gansweep.search.spaces import load_space
from gansweep.search.stop_rules import StopRules
from gansweep.search.study_rows import study_of_rows
from gansweep.search.trial import TrialResult
from gansweep.store.driver_storage import driven
from gansweep.store.provenance import describe_sweep
from gansweep.store.schema import TrialRow
from gansweep.store.store import Store
from tests.store.failing import fill, small_disk
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


def test_a_proposal_that_the_space_raises_for_is_set_aside(
    reference: str, cohort_path: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    experiment, store = _started(reference, cohort_path, tmp_path)
    study = store.create_study(optuna.samplers.RandomSampler(seed=0))
    study.enqueue_trial(experiment.first_trials[0])
    study.enqueue_trial({"width": "small"})
    searcher = StudySearcher(experiment, study, store, lambda _: None)
    told = searcher.suggest("a")
    assert isinstance(told, dict)
    assert (told["trial_id"], told["config"]["batch_size"]) == ("0001", 8)
    line = SPACE.splitlines().index(
        '    return TrialConfig(batch_size=SIZES[trial.suggest_categorical("width", ["small", "large"])])'
    )
    reason = f"space {reference} ({tmp_path / 'mine.py'}, line {line + 1}): KeyError: 'large'"
    assert _warnings(caplog) == [f"proposal 0000 is set aside: {reason}"]
    # An error in the space's code says nothing of the parameters: the sampler passes over FAIL.
    assert study.trials[0].state == TrialState.FAIL
    assert study.trials[0].user_attrs == {"refused": reason}
    assert store.trials()["trial_id"].tolist() == ["0001"]
    assert count_ended(study) == 0


def test_many_refused_proposals_in_a_row_end_the_search_in_one_line(
    reference: str, cohort_path: Path, tmp_path: Path
) -> None:
    experiment, store = _started(reference, cohort_path, tmp_path)
    study = store.create_study(optuna.samplers.RandomSampler(seed=0))
    study.enqueue_trial({"width": "large"})
    broken = experiment.model_copy(update={"space": lambda trial: TrialConfig(batch_size=_width(trial) // 2)})
    searcher = StudySearcher(broken, study, store, lambda _: None)
    assert searcher.suggest("a") == StudySearcher.FINISHED
    assert isinstance(searcher.mistake, ConfigError)
    said = str(searcher.mistake)
    assert said.startswith(f"{MOST_REFUSED} proposals in a row were refused, the last one: space {reference} (")
    assert said.endswith("; narrow the space, or mend it, and go on with --resume")
    assert not SearchStopper(searcher, StopRules(sweep_options(), experiment.objectives)).stop_all(), (
        "trials under way come to their end"
    )
    assert count_ended(study) == 0
    assert not study.get_trials(states=(TrialState.RUNNING,))
    # Put right, the first trial is asked for again.
    mended = experiment.model_copy(update={"space": lambda trial: TrialConfig(batch_size=2 + len(_width(trial)))})
    again = StudySearcher(mended, study, store, lambda _: None).suggest("b")
    assert isinstance(again, dict)
    assert again["config"]["batch_size"] == 2 + len("large")


def _rate(trial) -> TrialConfig:  # type: ignore[no-untyped-def]
    return TrialConfig(lr_d=trial.suggest_float("rate", 0.0, 2.0), batch_size=trial.suggest_int("batch", 4, 64))


def _even(config: TrialConfig) -> None:
    if config.batch_size % 2:
        raise ConfigError(f"batch_size = {config.batch_size} is not divisible by 2 workers")


def test_the_sampler_learns_what_was_refused_and_every_trial_is_had(
    reference: str, cohort_path: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Half of the batch sizes are refused by the check, half of the rates (above 1) by the model in the space."""
    experiment, store = _started(reference, cohort_path, tmp_path)
    study = store.create_study(optuna.samplers.RandomSampler(seed=1))
    searcher = StudySearcher(experiment.model_copy(update={"space": _rate}), study, store, _even)
    for name in "abcdefgh":
        told = searcher.suggest(name)
        assert isinstance(told, dict)
        assert told["config"]["batch_size"] % 2 == 0
    refused = [trial for trial in study.trials if "refused" in trial.user_attrs]
    assert len(refused) == len(study.trials) - 8 > 8
    assert len(_warnings(caplog)) == len(refused)
    assert any(
        re.search(r"line \d+\): lr_d = 1\.\d+: input should be less than or equal to 1$", line)
        for line in _warnings(caplog)
    )
    for trial in refused:
        assert trial.state == TrialState.PRUNED
        assert trial.params["rate"] > 1 or trial.params["batch"] % 2
    assert len(store.trials()) == 8
    assert searcher.mistake is None


def test_a_configuration_is_not_trained_twice(reference: str, cohort_path: Path, tmp_path: Path) -> None:
    experiment, store = _started(reference, cohort_path, tmp_path)
    study = store.create_study(optuna.samplers.RandomSampler(seed=0))
    few = experiment.model_copy(update={"space": lambda trial: TrialConfig(n_critic=trial.suggest_int("n", 1, 4))})
    for names in ("abc", "d"):  # the second searcher is that of a resumed sweep
        searcher = StudySearcher(few, study, store, lambda _: None)
        for name in names:
            assert isinstance(searcher.suggest(name), dict)
    assert sorted(store.trials()["config.n_critic"]) == [1, 2, 3, 4]
    # The space has nothing else: from here on it repeats itself.
    assert isinstance(searcher.suggest("e"), dict)


class Insisting(optuna.samplers.RandomSampler):
    """Proposes the lowest value, always."""

    def sample_independent(self, *arguments: Any) -> Any:
        return arguments[-1].low


def test_what_is_left_is_trained_whatever_the_sampler_insists_on(
    reference: str, cohort_path: Path, tmp_path: Path
) -> None:
    experiment, store = _started(reference, cohort_path, tmp_path)
    few = experiment.model_copy(
        update={
            "space": lambda trial: TrialConfig(
                n_critic=trial.suggest_int("n", 1, 5), batch_size=trial.suggest_int("batch", 4, 8, step=2)
            )
        }
    )
    study = store.create_study(Insisting())

    def check(config: TrialConfig) -> None:
        if config.n_critic == 5:
            raise ConfigError("too many")

    searcher = StudySearcher(few, study, store, check)
    for number in range(12):
        assert isinstance(searcher.suggest(str(number)), dict)
    trained = set(zip(store.trials()["config.n_critic"], store.trials()["config.batch_size"], strict=True))
    assert trained == {(n, batch) for n in (1, 2, 3, 4) for batch in (4, 6, 8)}
    assert searcher.suggest("again")["config"]["n_critic"] == 1  # type: ignore[index]
    assert searcher.mistake is None


def test_what_is_set_is_fixed_in_the_study(reference: str, cohort_path: Path, tmp_path: Path) -> None:
    _, store = _started(reference, cohort_path, tmp_path)
    study = store.create_study(optuna.samplers.RandomSampler(seed=0))
    fixed = load_space("smoke").with_settings({"architecture.width": 16, "lr_d": 3e-4})
    searcher = StudySearcher(fixed, study, store, lambda _: None)
    for name in "abcde":
        told = searcher.suggest(name)
        assert isinstance(told, dict)
        assert (told["config"]["architecture"]["width"], told["config"]["lr_d"]) == (16, 3e-4)
    assert {frozenset(trial.params) for trial in study.trials} == {frozenset({"n_critic", "lr_g", "lambda"})}


def test_a_row_that_has_ended_is_never_written_over(reference: str, cohort_path: Path, tmp_path: Path) -> None:
    experiment, store = _started(reference, cohort_path, tmp_path)
    store.write_trial(TrialRow("0000", 0, "completed", TrialConfig(), scores={"fid": 1.0, "accuracy": 0.5}))
    before = store.trials()
    searcher = StudySearcher(experiment, store.create_study(), store, lambda _: None)
    assert searcher.suggest("a") == StudySearcher.FINISHED
    assert "the study proposes trial 0000, which has ended (completed)" in str(searcher.mistake)
    pd.testing.assert_frame_equal(store.trials(), before)


def test_a_trial_that_had_begun_waits_while_it_is_refused_and_goes_on_as_what_it_is(
    reference: str, cohort_path: Path, tmp_path: Path
) -> None:
    experiment, store = _started(reference, cohort_path, tmp_path)
    study = store.create_study(optuna.samplers.RandomSampler(seed=0))
    study.enqueue_trial({"width": "small"})
    StudySearcher(experiment, study, store, lambda _: None).suggest("a")
    requeue_orphans(study, store, [], "the driver died")

    def refuse(config: TrialConfig) -> None:
        if config.batch_size == 8:
            raise ConfigError("no longer")

    changed = experiment.model_copy(update={"space": lambda trial: TrialConfig(batch_size=len(_width(trial)) * 4)})
    other = StudySearcher(changed, study, store, refuse).suggest("b")
    assert isinstance(other, dict)
    assert (other["trial_id"], other["config"]["batch_size"]) == ("0001", 20)
    assert requeue_orphans(study, store, [], "the sweep was interrupted") == 2
    again = StudySearcher(changed, study, store, lambda _: None).suggest("c")
    assert isinstance(again, dict)
    assert (again["trial_id"], again["attempt"], again["config"]["batch_size"]) == ("0000", 1, 8)


def test_a_trial_whose_process_died_has_taken_its_time(
    reference: str, cohort_path: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "gansweep")
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
    assert caplog.messages[-1] == f"trial 0000 failed, 1 of {store.info.trials}: its process died"


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
    assert SearchStopper(searcher, StopRules(sweep_options(), experiment.objectives)).stop_all()
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


def _warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]


def _width(trial) -> str:  # type: ignore[no-untyped-def]
    return str(trial.suggest_categorical("width", ["small", "large"]))


def test_a_full_disk_ends_the_search_and_no_trial(reference: str, cohort_path: Path, tmp_path: Path) -> None:
    """Tune would take the error for the trial's, try that again, and end in a traceback."""
    with small_disk(tmp_path / "disk") as disk:
        experiment, store = _started(reference, cohort_path, disk)
        study = optuna.create_study(directions=["minimize", "maximize"])
        for _ in range(3):
            study.enqueue_trial({"width": "small"})
        searcher = StudySearcher(experiment, study, store, lambda _: None)
        assert isinstance(searcher.suggest("a"), dict)
        searcher._trained.clear()
        assert isinstance(searcher.suggest("b"), dict)
        ballast = fill(disk)
        searcher.on_trial_complete("a", error=True)
        assert isinstance(searcher.mistake, StoreError)
        assert "No space left on device" in str(searcher.mistake)
        assert searcher.stops_at_once
        searcher.on_trial_complete("b", error=True)
        assert searcher.suggest("c") == StudySearcher.FINISHED
        ballast.unlink()
        assert store.trials()["status"].tolist() == ["running", "running"], "--resume goes on with both"
        assert [trial.state for trial in study.trials] == [TrialState.RUNNING] * 2 + [TrialState.WAITING]
        # A proposal is not set aside for it either.
        searcher = StudySearcher(experiment, study, store, lambda _: None)
        searcher._trained.clear()
        fill(disk)
        assert searcher.suggest("c") == StudySearcher.FINISHED
        assert "No space left on device" in str(searcher.mistake)
        assert study.trials[2].state == TrialState.RUNNING
        assert not study.trials[2].user_attrs


@pytest.mark.parametrize("damage", ["deleted", "overwritten", "locked"])
def test_a_study_that_fails_ends_the_search_in_one_line(
    damage: str, reference: str, cohort_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gansweep.store.study._LOCK_SECONDS", 0.1)
    experiment, store = _started(reference, cohort_path, tmp_path)
    study = driven(store.create_study(), store.study_storage())
    study.enqueue_trial({"width": "small"})
    searcher = StudySearcher(experiment, study, store, lambda _: None)
    assert isinstance(searcher.suggest("a"), dict)
    with closing(sqlite3.connect(store.study_path)) as other:
        if damage == "locked":
            other.execute("BEGIN EXCLUSIVE")
        elif damage == "deleted":
            store.study_path.unlink()
        else:
            store.study_path.write_bytes(b"overwritten" * 1000)
        searcher.on_trial_complete("a", error=True)
    assert searcher.stops_at_once
    assert isinstance(searcher.mistake, StoreError)
    said = str(searcher.mistake)
    assert said.startswith(f"{store.label}/studies.db: the study cannot be used: "), said
    assert "--resume" in said
    assert "\n" not in said
    # The trial has ended in its row, so it is not trained again.
    assert store.trials()["status"].tolist() == ["failed"]
    resumed = study_of_rows(store, experiment)
    requeue_orphans(resumed, store, ["fid", "accuracy"], "resumed")
    assert resumed.trials[0].state == TrialState.FAIL
