"""Whole sweeps: real Ray, real workers under gloo, real Optuna, real Parquet."""

import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import optuna
import pandas as pd
import pytest
import ray
from optuna.trial import TrialState

from gansweep.cohort.dataset import Cohort
from gansweep.config import TrialConfig
from gansweep.errors import ClusterError, CohortError, ConfigError, StoreError
from gansweep.report.leaderboard import leaderboard
from gansweep.report.status import sweep_status
from gansweep.search.spaces import known_spaces, load_space
from gansweep.search.sweep import sweep
from gansweep.store.feasibility import excesses
from gansweep.store.store import Store
from tests.values import sweep_options

pytestmark = [pytest.mark.ray(shared=True), pytest.mark.timeout(400)]

SPACE = Path(__file__).with_name("tiny_space.py")
CONSTRAINTS = ("copies_pixels<=1", "seconds_per_iteration<=1e-6")  # all trials keep the one and break the other
DRIVER = """
import sys
import logging
from gansweep.options import SweepOptions
from gansweep.search.spaces import load_space
from gansweep.search.sweep import sweep
logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(message)s")
space, cohort, storage, trials, workers, resume = sys.argv[1:]
options = SweepOptions(
    cohort=cohort,
    storage=storage,
    name="s",
    trials=int(trials),
    workers_per_trial=int(workers),
    concurrent=1,
    resume=resume == "resume",
)
sweep(load_space(space), options)
"""


@pytest.fixture(scope="module")
def store(cohort_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Store:
    storage = tmp_path_factory.mktemp("storage")
    experiment = load_space(f"{SPACE}:tiny")
    options = sweep_options(
        cohort=cohort_path, storage=str(storage), trials=4, workers_per_trial=2, constraint=CONSTRAINTS
    )
    return sweep(experiment.with_settings(options.changes()), options)


def test_every_trial_has_its_row_its_reports_and_its_end_in_the_study(store: Store) -> None:
    trials = store.latest_trials()
    assert list(trials["trial_id"]) == ["0000", "0001", "0002", "0003"]
    assert trials.loc[0, "status"] == "completed"
    done = trials[trials["status"] == "completed"]
    reports = store.reports()
    for trial_id in done["trial_id"]:
        assert list(reports.loc[reports["trial_id"] == trial_id, "index"]) == [0, 1, 2]
    for column in ("fid", "kid", "accuracy", "accuracy_real_only", "sensitivity", "specificity", "auroc"):
        assert done[column].notna().all(), column
    assert done["fid_features"].str.match(r"cohort-encoder:[0-9a-f]{12}").all()
    study = store.load_study()
    assert [trial.state.is_finished() for trial in study.trials] == [True] * 4
    assert study.trials[0].values == [trials.loc[0, "fid"], trials.loc[0, "accuracy"]]


def test_a_diverged_trial_says_why_and_is_told_as_a_bad_region(store: Store) -> None:
    row = store.latest_trials().set_index("trial_id").loc["0001"]
    assert row["status"] == "diverged"
    assert "non-finite" in row["reason"]
    trial = store.load_study().trials[1]
    assert trial.state == TrialState.PRUNED
    assert trial.user_attrs["reason"] == row["reason"]


def test_what_constraints_bound_is_in_rows_and_reports_and_the_sampler_knows_it(store: Store) -> None:
    rows = {row.trial_id: row for row in store.ended_trials() if row.status == "completed"}
    reports = store.reports()
    for name, row in rows.items():
        own = reports[reports["trial_id"] == name]
        last = own.iloc[-1]
        assert 0.0 <= row.scores["copies_pixels"] <= 1.0
        assert 0.0 < row.scores["copies_pixels_floor"] < 1.0
        assert row.seconds_per_iteration == pytest.approx(last["seconds_training"] / last["iteration"])
        assert row.peak_memory_gib is None
        assert own["seconds_per_iteration"].gt(0).all()
        trial = store.load_study().trials[int(name)]
        assert trial.constraints == excesses(row, store.info.constraints)
    first = leaderboard(store)[0]
    assert first.trial_id in rows
    assert first.infeasible == f"seconds_per_iteration = {rows[first.trial_id].seconds_per_iteration:.6g} > 1e-06"
    assert first.scores["copies_pixels"] == rows[first.trial_id].scores["copies_pixels"]


def test_one_group_serves_all_trials(store: Store) -> None:
    # Each worker group leaves one folder of Ray Train's; starting one per trial is what the warm worker group is for.
    assert store.local is not None
    assert len(list((store.local / "ray").glob("workers-*"))) == 1


def test_plain_pandas_reads_the_rows_and_the_sheet_is_a_picture(store: Store) -> None:
    frame = pd.read_parquet(store.local / "trials")
    assert len(frame) == 4
    assert frame["config.lr_d"].notna().all()
    assert store.read_bytes("artifacts/0000.png").startswith(b"\x89PNG")


@pytest.mark.slow
def test_a_larger_number_of_trials_extends_a_finished_sweep(store: Store, cohort_path: Path) -> None:
    assert store.local is not None
    experiment = load_space(f"{SPACE}:tiny")
    options = sweep_options(cohort=cohort_path, storage=str(store.local.parent), trials=5, constraint=CONSTRAINTS)
    experiment = experiment.with_settings(options.changes())
    with pytest.raises(StoreError, match="--resume"):
        sweep(experiment, options)
    before = store.trials()
    again = sweep(experiment, options.model_copy(update={"resume": True}))
    assert sweep_status(Store.open(again.uri)).ended == Store.open(again.uri).info.trials == 5
    assert list(again.latest_trials()["trial_id"]) == ["0000", "0001", "0002", "0003", "0004"]
    pd.testing.assert_frame_equal(again.trials().iloc[:4][before.columns], before)


@pytest.mark.slow
def test_a_stopped_trial_trains_no_further_than_its_report(
    cohort_path: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    experiment = load_space(f"{SPACE}:tiny").with_settings(
        {"scheduler.kind": "asha", "scheduler.reduction_factor": 2, "family": "dcgan", "iterations": 30}
    )
    experiment = experiment.model_copy(update={"first_trials": ()})
    caplog.set_level("INFO", "gansweep")
    options = sweep_options(cohort=cohort_path, storage=str(tmp_path), name="a", trials=6, concurrent=1)
    store = sweep(experiment, options)
    starts = [line for line in caplog.messages if " starts: " in line]
    assert len(starts) == 6
    assert all("lr " in line and "family" not in line for line in starts)  # what is fixed is not what varies
    stopped = store.latest_trials().query("status == 'stopped'")
    assert len(stopped) > 0
    for row in stopped.itertuples():
        state = store.checkpoint(str(row.trial_id)).read()
        assert state["iteration"] == row.stopped_at == row.iterations < 30
        assert store.load_study().trials[int(row.trial_id)].state == TrialState.COMPLETE


@pytest.mark.parametrize(
    ("endings", "workers"),
    [
        # SIGTERM acts as SIGINT does, by a handler that test_connection.py looks at.
        pytest.param([signal.SIGKILL, signal.SIGINT], 1, marks=pytest.mark.slow),
        pytest.param([signal.SIGKILL, signal.SIGINT, signal.SIGTERM], 2, marks=pytest.mark.acceptance),
    ],
    ids=["twice", "thrice"],
)
def test_a_sweep_interrupted_again_and_again_goes_on_where_it_was(
    cohort_path: Path, tmp_path: Path, endings: list[signal.Signals], workers: int
) -> None:
    """Each of its trials is interrupted in another way."""
    arguments = [sys.executable, "-c", DRIVER, f"{SPACE}:slow", str(cohort_path), str(tmp_path), f"{len(endings)}"]
    # Each driver joins the cluster, as on a cluster of one's own.
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(["platform", "."]),
        "RAY_ADDRESS": ray.get_runtime_context().gcs_address,
    }
    # A shell's background jobs, and so their children, ignore SIGINT until told otherwise.
    heard = partial(signal.signal, signal.SIGINT, signal.default_int_handler)
    for trial, how in enumerate(endings):
        driver = subprocess.Popen(
            [*arguments, f"{workers}", "resume" if trial else "new"],
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
            preexec_fn=heard,
        )
        assert driver.stdout is not None
        for line in driver.stdout:
            if line.startswith(f"trial {trial:04d} report 2"):
                break
        driver.send_signal(how)
        driver.stdout.read()
        assert driver.wait(60) != 0
    subprocess.run([*arguments, f"{workers}", "resume"], env=environment, check=True, timeout=300)

    store = Store.open(str(tmp_path / "s"))
    trials = store.trials()
    reports = store.reports()
    assert not trials.duplicated(["trial_id", "attempt"]).any()
    trial_ids = [f"{trial:04d}" for trial in range(len(endings))]
    assert list(store.latest_trials()["trial_id"]) == trial_ids
    for trial_id in trial_ids:
        assert list(trials.loc[trials["trial_id"] == trial_id, "status"]) == ["interrupted", "completed"]
        # Every report once, over all attempts: the second went on from the checkpoint.
        assert list(reports.loc[reports["trial_id"] == trial_id, "index"]) == [0, 1, 2, 3, 4]
    assert {trial.state for trial in store.load_study().trials} == {TrialState.COMPLETE}


@pytest.mark.slow
def test_a_refused_proposal_is_set_aside_and_every_trial_is_had(
    cohort_path: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A batch of 9 cannot be shared by two workers; what is set and guessed is in the study as it was trained."""

    tiny = load_space(f"{SPACE}:tiny")

    def space(trial: optuna.Trial) -> TrialConfig:
        return tiny.space(trial).derive({"batch_size": trial.suggest_categorical("batch", [9, 8])})

    experiment = tiny.with_settings({"family": "dcgan"})
    experiment = experiment.model_copy(update={"space": space, "first_trials": ({"batch": 9}, {"batch": 8})})
    options = sweep_options(cohort=cohort_path, storage=str(tmp_path), trials=2, workers_per_trial=2)
    store = sweep(experiment, options.model_copy(update={"tries": ({"lr": 3e-3, "batch": 8},)}))
    rows = store.latest_trials()
    assert rows["status"].tolist() == ["completed"] * 2
    assert rows["trial_id"].tolist() == ["0000", "0002"]
    assert rows["config.lr_d"].tolist()[0] == 3e-3
    before = store.load_study().trials
    assert before[1].state == TrialState.PRUNED
    assert "batch_size = 9 is not divisible by 2 workers" in before[1].user_attrs["refused"]
    assert all(set(trial.params) == {"lr", "batch"} for trial in before)
    # The sweep is extended without its study, and ends by its target.
    assert store.local is not None
    (store.local / "studies.db").unlink()
    caplog.set_level("INFO", "gansweep")
    more = options.model_copy(update={"trials": 9, "resume": True, "target": {"accuracy": 0.0}, "scheduler": None})
    again = sweep(experiment, more)
    assert again.latest_trials()["trial_id"].tolist() == ["0000", "0002"]
    assert "trial 0002 met the target (accuracy 0)" in caplog.text
    after = again.load_study().trials
    assert [after[number].values for number in (0, 2)] == [before[number].values for number in (0, 2)]
    assert [after[number].params for number in (0, 2)] == [before[number].params for number in (0, 2)]


def test_more_workers_than_the_cluster_has_are_refused_at_once(cohort_path: Path, tmp_path: Path) -> None:
    started = time.monotonic()
    with pytest.raises(ClusterError, match="64 workers"):
        sweep(
            load_space(f"{SPACE}:tiny").with_settings({"batch_size": 64}),
            sweep_options(cohort=cohort_path, storage=str(tmp_path), workers_per_trial=64),
        )
    assert time.monotonic() - started < 30
    assert not (tmp_path / "s").exists()


def test_a_space_that_cannot_be_built_ends_the_sweep_with_its_reason(cohort_path: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="unheard_of"):
        sweep(load_space(f"{SPACE}:wrong"), sweep_options(cohort=cohort_path, storage=str(tmp_path), trials=2))


@pytest.mark.slow
def test_another_cohort_on_a_node_ends_the_sweep_in_one_line(
    cohort_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The driver's hash is not that of what the workers open."""
    monkeypatch.setattr(Cohort, "content_hash", "ab" * 32)
    with pytest.raises(CohortError, match="the sweep's is abababababab"):
        sweep(
            load_space(f"{SPACE}:slow"),
            sweep_options(cohort=cohort_path, storage=str(tmp_path), trials=3, concurrent=1),
        )
    store = Store.open(str(tmp_path / "s"))
    assert set(store.latest_trials()["status"]) == {"interrupted"}
    assert {trial.state for trial in store.load_study().trials} == {TrialState.WAITING}


@pytest.mark.parametrize(
    ("reference", "says"),
    [
        ("fahr_cd", "did you mean fahr_ct"),
        ("nothing_like_it_at_all", "known: "),
        ("missing.py:space", "no such file"),
        (f"{SPACE}:nothing", "no function 'nothing'"),
        (f"{SPACE}:not_an_experiment", "not an Experiment"),
    ],
)
def test_a_wrong_space_is_named(reference: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        load_space(reference)


def test_shipped_spaces_load_and_make_valid_configurations() -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    for name in known_spaces():
        experiment = load_space(name)
        study = optuna.create_study(directions=["minimize", "maximize"])
        for parameters in experiment.first_trials:
            study.enqueue_trial(parameters)
        for _ in range(5):
            config = experiment.config(study.ask())
            assert json.loads(json.dumps(config.as_dict())) == config.as_dict()
