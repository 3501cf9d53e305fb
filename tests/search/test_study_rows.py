"""The rows in trials/ are the record: the study is made again where it is missing, damaged or behind."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from gansweep.cohort.dataset import Cohort
from gansweep.config import TrialConfig
from gansweep.experiment import Experiment
from gansweep.progress import Progress, Report
from gansweep.search.cluster import Footprint
from gansweep.search.samplers import make_sampler
from gansweep.search.searcher import StudySearcher
from gansweep.search.spaces import load_space
from gansweep.search.study_rows import study_of_rows
from gansweep.search.sweep import _resumed_study
from gansweep.search.trial import TrialResult
from gansweep.store.provenance import describe_sweep
from gansweep.store.store import Store
from tests.values import sweep_options


@pytest.fixture(scope="module")
def experiment() -> Experiment:
    return load_space("smoke")


@pytest.fixture(scope="module")
def searched(experiment: Experiment, cohort_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One trial each that completed, was stopped, diverged, was refused, failed and was under way."""
    info = describe_sweep(experiment, Cohort.open(cohort_path), sweep_options(seed=0), space="smoke")
    store = Store.create(str(tmp_path_factory.mktemp("searched")), "s", info)
    study = store.create_study(optuna.samplers.RandomSampler(seed=0))
    searcher = StudySearcher(experiment, study, store, lambda _: None)
    ends = [("completed", ""), ("running", ""), ("diverged", "dead"), ("refused", ""), ("failed", "a node"), (None, "")]
    for number, (end, reason) in enumerate(ends):
        if end == "refused":
            study.tell(study.ask(), state=TrialState.PRUNED)
            continue
        name = str(number)
        searcher.suggest(name)
        if end is None:
            break
        progress = Progress(1, end == "completed", 60, 60, {}, {"fid": 3.0 + number, "accuracy": 0.5}, 0.0, 0.0)
        report = Report(progress) if end in ("completed", "running") else None
        told = TrialResult(end, reason, report, {}, 2, 1.0, Footprint())
        searcher.on_trial_complete(name, {"result": told})
    assert store.local is not None
    return store.local


@pytest.fixture
def store(searched: Path, tmp_path: Path) -> Store:
    return Store.open(str(shutil.copytree(searched, tmp_path / "s")))


def _told(study: optuna.Study) -> list[tuple[object, ...]]:
    return [(trial.state, trial.values, trial.params, trial.distributions) for trial in study.trials]


ENDS = ["completed", "stopped", "diverged", "failed", "interrupted"]


@pytest.mark.parametrize("loss", ["missing", "empty", "garbage", "behind", "another study"])
def test_a_lost_study_is_the_same_again(store: Store, experiment: Experiment, loss: str) -> None:
    assert store.local is not None
    before = _told(_resumed_study(store, experiment))
    rows = store.trials()
    assert rows["status"].tolist() == ENDS
    path = store.local / "studies.db"
    if loss == "missing":
        path.unlink()
    elif loss == "empty":
        path.write_bytes(b"")
    elif loss == "garbage":
        path.write_bytes(b"not a database" * 500)
    elif loss == "another study":
        path.unlink()
        optuna.create_study(storage=f"sqlite:///{path}", study_name="s", directions=["minimize"])
    else:
        path.unlink()
        older = store.create_study()
        older.add_trial(optuna.create_trial(values=[3.0, 0.5], params=before[0][2], distributions=before[0][3]))  # type: ignore[arg-type]
    again = _resumed_study(Store.open(store.uri), experiment)
    after = _told(again)
    assert [state for state, *_ in after[:3]] == [TrialState.COMPLETE, TrialState.COMPLETE, TrialState.PRUNED]
    assert [after[number] for number in (0, 1, 2, 4, 5)] == [before[number] for number in (0, 1, 2, 4, 5)]
    assert after[3][0].is_finished()  # the place of the refused one is kept
    assert after[3][1] is None
    assert Store.open(store.uri).trials().equals(rows)
    goes_on = StudySearcher(experiment, again, store, lambda _: None).suggest("a")
    assert isinstance(goes_on, dict)
    assert (goes_on["trial_id"], goes_on["attempt"]) == ("0005", 1)
    assert goes_on["config"] == json.loads(rows.iloc[-1]["config_json"])


@pytest.mark.parametrize("kind", ["qmc", "nsga-ii"])
def test_a_study_that_is_behind_keeps_what_the_sampler_noted(
    kind: str, experiment: Experiment, cohort_path: Path, tmp_path: Path
) -> None:
    info = describe_sweep(experiment, Cohort.open(cohort_path), sweep_options(seed=0), space="smoke")
    store = Store.create(str(tmp_path / "runs"), "s", info)
    study = store.create_study()
    study.sampler = make_sampler(kind, 0, 0, 2)
    searcher = StudySearcher(experiment, study, store, lambda _: None)
    for number in range(6):
        if number == 5:
            shutil.copy(store.study_path, tmp_path / "older.db")
        assert isinstance(searcher.suggest(str(number)), dict)
        progress = Progress(1, True, 60, 60, {}, {"fid": 3.0, "accuracy": 0.5}, 0.0, 0.0)
        told = TrialResult("completed", "", Report(progress), {}, 2, 1.0, Footprint())
        searcher.on_trial_complete(str(number), {"result": told})
    noted = [trial.system_attrs for trial in study.trials]
    shutil.copy(tmp_path / "older.db", store.study_path)

    again = _resumed_study(Store.open(store.uri), experiment)
    assert [trial.system_attrs for trial in again.trials[:5]] == noted[:5]
    again.sampler = make_sampler(kind, 0, 6, 2)
    assert isinstance(StudySearcher(experiment, again, store, lambda _: None).suggest("next"), dict)
    # The place of the trial that the study did not know is proposed once more, and no other one is.
    repeated = [trial for trial in again.trials if "refused" in trial.user_attrs]
    assert len(repeated) == (1 if kind == "qmc" else 0)


def test_a_study_that_agrees_is_left_alone(
    store: Store, experiment: Experiment, caplog: pytest.LogCaptureFixture
) -> None:
    assert store.local is not None
    _resumed_study(store, experiment)
    content = (store.local / "studies.db").read_bytes()
    _resumed_study(store, experiment)
    assert (store.local / "studies.db").read_bytes() == content
    assert not (store.local / "studies.db.before").exists()
    assert [record for record in caplog.records if record.levelname == "WARNING"] == []


def test_a_driver_that_died_after_the_row_and_before_the_study(store: Store, experiment: Experiment) -> None:
    """The row is written first: the study is told its end, and nothing is built again."""
    row = store.row("0005", 0)
    assert row is not None
    store.write_trial(row.finished("diverged", reason="dead"))
    study = _resumed_study(store, experiment)
    assert study.trials[5].state == TrialState.PRUNED
    assert store.local is not None
    assert not (store.local / "studies.db.before").exists()


@pytest.mark.parametrize("number", [0, 4])
def test_a_trial_whose_row_was_damaged_is_trained_again_as_it_was(
    store: Store, experiment: Experiment, number: int, caplog: pytest.LogCaptureFixture
) -> None:
    assert store.local is not None
    config = store.config(f"{number:04d}").as_dict()
    path = store.local / "trials" / f"trial-{number:04d}.0.parquet"
    path.write_bytes(path.read_bytes()[:3000])
    again = Store.open(store.uri)
    study = _resumed_study(again, experiment)
    assert (store.local / "trials" / f"_{path.name}.damaged").exists()
    assert f"the row of trial {number:04d} is missing" in caplog.text
    told = StudySearcher(experiment, study, again, lambda _: None).suggest("a")
    assert isinstance(told, dict)
    assert (told["trial_id"], told["attempt"], told["config"]) == (f"{number:04d}", 1, config)
    assert set(again.trials()["trial_id"]) == {"0000", "0001", "0002", "0004", "0005"}


def test_with_study_and_row_lost_no_number_is_given_twice(store: Store, experiment: Experiment) -> None:
    """What is left of the last trial is a checkpoint: a new trial must not take its name."""
    assert store.local is not None
    store.checkpoint("0005").write({"config": store.config("0005").as_dict()})
    (store.local / "trials" / "trial-0005.0.parquet").unlink()
    (store.local / "studies.db").unlink()
    study = _resumed_study(Store.open(store.uri), experiment)
    assert len(study.trials) == 6
    told = StudySearcher(experiment, study, store, lambda _: None).suggest("a")
    assert isinstance(told, dict)
    assert told["trial_id"] == "0006"


def test_first_trials_that_were_not_reached_are_still_tried(
    experiment: Experiment, cohort_path: Path, tmp_path: Path
) -> None:
    first = ({"n_critic": 1, "never": 2}, {"n_critic": 2}, {"n_critic": 3})
    experiment = experiment.model_copy(update={"first_trials": first})
    info = describe_sweep(experiment, Cohort.open(cohort_path), sweep_options(seed=0), space="smoke")
    store = Store.create(str(tmp_path), "s", info)
    study = store.create_study(optuna.samplers.RandomSampler(seed=0))
    for parameters in experiment.first_trials:
        study.enqueue_trial(parameters)
    StudySearcher(experiment, study, store, lambda _: None).suggest("a")
    assert store.local is not None
    (store.local / "studies.db").unlink()
    again = _resumed_study(store, experiment)
    searcher = StudySearcher(experiment, again, store, lambda _: None)
    told = [searcher.suggest(name) for name in "abc"]
    assert [one["config"]["n_critic"] for one in told if isinstance(one, dict)] == [1, 2, 3]


def test_rows_without_parameters_are_understood_by_the_space(store: Store, experiment: Experiment) -> None:
    """As an earlier gansweep wrote them."""
    before = _told(_resumed_study(store, experiment))
    for row in store.latest_rows():
        store.write_trial(replace(row, parameters=""))
    assert store.local is not None
    (store.local / "studies.db").unlink()
    after = _told(study_of_rows(Store.open(store.uri), experiment))
    assert [after[number] for number in (0, 1, 2, 4, 5)] == [before[number] for number in (0, 1, 2, 4, 5)]


@pytest.mark.parametrize("text", ["x", "[1]", '{"lr_d": 1}', '{"lr_d": {"value": "high", "distribution": {}}}'])
def test_damaged_parameters_are_those_of_the_configuration(
    store: Store, experiment: Experiment, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    before = _told(_resumed_study(store, experiment))
    first = min(store.latest_rows(), key=lambda row: row.trial_id)
    store.write_trial(replace(first, parameters=text))
    assert store.local is not None
    (store.local / "studies.db").unlink()
    after = _told(study_of_rows(Store.open(store.uri), experiment))
    assert [after[number] for number in (0, 1, 2, 4, 5)] == [before[number] for number in (0, 1, 2, 4, 5)]
    assert f"trial {first.trial_id}: its parameters are damaged, so those of its configuration are taken" in caplog.text


def test_repeats_are_none_of_the_studys(store: Store, experiment: Experiment) -> None:
    row = store.row("0000", 0)
    assert row is not None
    store.write_trial(replace(row, trial_id="0000-20000", repeat_of="0000", config=row.config.derive({"seed": 20_000})))
    assert store.local is not None
    (store.local / "studies.db").unlink()
    assert len(study_of_rows(store, experiment).trials) == 6


def test_a_value_outside_its_range_does_not_end_a_resumed_sweep(
    experiment: Experiment, cohort_path: Path, tmp_path: Path
) -> None:
    """Optuna begins a first trial with it, and adds none with it."""

    def space(trial: optuna.Trial) -> TrialConfig:
        n = trial.suggest_int("n", 1, 4)
        if n == 4:
            raise ValueError("refused")
        return TrialConfig(n_critic=n, batch_size=trial.suggest_int("batch", 4 * n, 40))

    changed = experiment.model_copy(update={"space": space, "first_trials": ()})
    info = describe_sweep(changed, Cohort.open(cohort_path), sweep_options(seed=0), space="smoke")
    store = Store.create(str(tmp_path), "s", info)
    study = store.create_study(optuna.samplers.RandomSampler(seed=0))
    for first in ({"n": 3, "batch": 4}, {"n": 9, "batch": 40}, {"n": 2, "batch": 8}):
        study.enqueue_trial(first)
    searcher = StudySearcher(changed, study, store, lambda _: None)
    for number in range(3):
        assert isinstance(searcher.suggest(str(number)), dict)
    store.study_path.unlink()
    again = _resumed_study(Store.open(store.uri), changed)
    assert [trial.params for trial in again.trials[:3]] == [{"n": 3}, {"batch": 40}, {"n": 2, "batch": 8}]
    content = store.study_path.read_bytes()
    _resumed_study(Store.open(store.uri), changed)
    assert store.study_path.read_bytes() == content, "it agrees with the rows"
