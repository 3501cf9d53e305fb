"""Training a leader again: fresh seeds, the same validation patients, rows of its own, a study that knows nothing."""

import shutil
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
import pandas as pd
import pytest

from gansweep.cli import main
from gansweep.cohort.dataset import Cohort
from gansweep.config import TrialConfig
from gansweep.errors import CohortError, ConfigError, StoreError
from gansweep.experiment import Experiment
from gansweep.options import RepeatOptions
from gansweep.report.leaderboard import folded, leaderboard
from gansweep.search import repeat as module
from gansweep.search.cluster import Footprint, ray_cluster
from gansweep.search.repeat import _wanted, repeat
from gansweep.search.spaces import load_space
from gansweep.store.provenance import describe_sweep
from gansweep.store.schema import Status, TrialRow
from gansweep.store.store import Store
from tests.values import sweep_options

FIRST_SEED = RepeatOptions().seed
SPACE = Path(__file__).with_name("tiny_space.py")


@pytest.fixture(scope="module")
def experiment() -> Experiment:
    return load_space(f"{SPACE}:tiny")


@pytest.fixture(scope="module")
def searched(experiment: Experiment, cohort_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep of three trials, the second the best, as a search would have left it."""
    info = describe_sweep(experiment, Cohort.open(cohort_path), sweep_options(trials=3), space="tiny")
    store = Store.create(str(tmp_path_factory.mktemp("searched")), "s", info)
    study = store.create_study()
    for number, (fid, accuracy) in enumerate([(9.0, 0.6), (4.0, 0.9), (5.0, 0.8)]):
        trial = study.ask({"lr": optuna.distributions.FloatDistribution(1e-4, 1e-2)})
        width = {"width": 8, "latent": 8, "generator_norm": "group"}
        config = TrialConfig(iterations=9, batch_size=8, n_critic=1, lr_d=trial.params["lr"], architecture=width)
        scores = {"fid": fid, "accuracy": accuracy}
        store.write_trial(TrialRow(f"{number:04d}", 0, "completed", config, scores=scores, ended=datetime.now(UTC)))
        study.tell(trial, [fid, accuracy])
    assert store.local is not None
    return store.local


@pytest.fixture
def store(searched: Path, tmp_path: Path) -> Store:
    return Store.open(str(shutil.copytree(searched, tmp_path / "s")))


def test_what_is_missing_is_trained_and_no_more(store: Store) -> None:
    def wanted(leaders: int, repeats: int) -> list[tuple[str, int, int]]:
        return [
            (row.trial_id, row.attempt, row.config.seed)
            for row in _wanted(store, RepeatOptions(leaders=leaders, repeats=repeats))
        ]

    assert wanted(2, 2) == [
        ("0001-20000", 0, 20_000),
        ("0001-20001", 0, 20_001),
        ("0002-20000", 0, 20_000),
        ("0002-20001", 0, 20_001),
    ]
    begun = list(_wanted(store, RepeatOptions(leaders=1, repeats=3)))
    scores = {"fid": 5.5, "accuracy": 0.85}
    store.write_trial(replace(begun[0], status="completed", scores=scores))
    store.write_trial(replace(begun[1], status="diverged", reason="the critic died"))
    store.write_trial(begun[2])  # its driver died under it
    assert wanted(1, 3) == [("0001-20002", 1, 20_002)]
    assert wanted(1, 4) == [("0001-20002", 1, 20_002), ("0001-20003", 0, 20_003)]
    # What failed or was interrupted is made good, and no more of it than is missing.
    store.write_trial(replace(begun[0], status="failed", reason="out of device memory"))
    assert wanted(1, 2) == [("0001-20002", 1, 20_002)]
    assert wanted(1, 3) == [("0001-20002", 1, 20_002), ("0001-20000", 1, 20_000)]
    # By its fresh training 0001 still leads; by a worse one it would not, and the next in line would be trained.
    store.write_trial(replace(begun[0], status="completed", scores={"fid": 8.0, "accuracy": 0.5}))
    assert [name for name, *_ in wanted(1, 2)] == ["0002-20000", "0002-20001"]


def test_without_a_completed_trial_there_is_nothing_to_repeat(
    store: Store, experiment: Experiment, tmp_path: Path
) -> None:
    empty = Store.create(str(tmp_path), "empty", store.info)
    with pytest.raises(StoreError, match="no completed trial to repeat"):
        repeat(empty, experiment.trainables, cache=tmp_path / "cache")


def test_named_trials_are_trained_to_their_end_even_if_the_search_stopped_them(store: Store) -> None:
    stopped = replace(store.latest_rows()[0], status="stopped", stopped_at=4)
    store.write_trial(stopped)
    wanted = list(_wanted(store, RepeatOptions(trial=("0000", "0002", "0000"), repeats=2)))
    assert [(row.repeat_of, row.config.seed) for row in wanted] == [
        ("0000", 20_000),
        ("0000", 20_001),
        ("0002", 20_000),
        ("0002", 20_001),
    ]
    assert wanted[0].config == stopped.config.derive({"seed": 20_000})
    for row in wanted[:2]:
        store.write_trial(replace(row, status="completed", scores={"fid": 1.0, "accuracy": 0.95}))
    # It is then the first of the leaderboard, and its repeats are found under the same name.
    assert leaderboard(store)[0].trial_id == "0000-20000"
    assert not [row for row in _wanted(store, RepeatOptions(leaders=1, repeats=2)) if row.repeat_of == "0000"]
    with pytest.raises(ConfigError, match="--trial: unknown trial '0009'; did you mean"):
        list(_wanted(store, RepeatOptions(trial=("0009",))))


def test_a_mistake_is_told_before_anything_starts(
    store: Store, experiment: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ray_cluster", lambda: pytest.fail("a cluster was started"))
    before = store.trials()
    with pytest.raises(ConfigError, match="batch_size = 8 is not divisible by 3 workers"):
        repeat(store, experiment.trainables, RepeatOptions(workers_per_trial=3), cache=tmp_path / "cache")
    pd.testing.assert_frame_equal(store.trials(), before)


def test_with_nothing_missing_it_says_so(
    store: Store, experiment: Experiment, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "gansweep")
    for row in list(_wanted(store, RepeatOptions(leaders=1, repeats=2))):
        store.write_trial(replace(row, status="completed", scores={"fid": 1.0, "accuracy": 0.99}))
    options = RepeatOptions(leaders=1, repeats=2)
    assert not repeat(store, experiment.trainables, options, cache=tmp_path / "cache")
    assert caplog.messages == ["nothing to train: the leaders have 2 fresh trainings each"]


def test_a_sweep_that_another_process_works_on_is_left_alone(
    store: Store, experiment: Experiment, tmp_path: Path
) -> None:
    with store.exclusive(), pytest.raises(StoreError, match="is at work on this sweep"):
        repeat(store, experiment.trainables, cache=tmp_path / "cache")


@pytest.mark.parametrize(
    ("end", "reason"),
    [(KeyboardInterrupt(), "the repeats were interrupted"), (CohortError("another one"), "another one")],
)
def test_no_row_is_left_running(
    end: BaseException,
    reason: str,
    store: Store,
    experiment: Experiment,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Ending(SimpleNamespace):
        footprint = Footprint(1, 1.0, 1.0)

        def assign(self, *_: Any, **__: Any) -> None:
            assert store.latest_trials()["status"].tolist()[-3:] == ["completed", "running", "completed"]

        def outcome(self, _: int) -> None:
            raise end

        def close(self) -> None:
            pass

    monkeypatch.setattr(module, "retraining_group", lambda *_, **__: Ending())
    monkeypatch.setattr(module, "ray_cluster", nullcontext)
    monkeypatch.setattr(module, "room_for", lambda *_: nullcontext(SimpleNamespace(groups=lambda: 2)))
    monkeypatch.setattr(module, "relayed", nullcontext)
    with pytest.raises(type(end)):
        repeat(store, experiment.trainables, cache=tmp_path / "cache")
    row = store.latest_trials().set_index("trial_id").loc[f"0001-{FIRST_SEED}"]
    assert (row["status"], row["reason"]) == ("interrupted", reason)
    assert row["ended"] > row["started"]
    assert row["gpu_seconds"] == row["seconds"] > 0
    assert next(_wanted(store, RepeatOptions(leaders=2, repeats=3))).attempt == 1


@pytest.mark.parametrize(("status", "exits"), [("completed", 0), ("diverged", 0), ("failed", 1)])
def test_the_command_fails_where_a_training_failed(
    status: Status, exits: int, store: Store, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def run(*_: Any, **__: Any) -> list[str]:
        rows = list(_wanted(store, RepeatOptions(leaders=1, repeats=2)))
        for row, how in zip(rows, ("completed", status), strict=True):
            store.write_trial(replace(row, status=how, scores={"fid": 1.0, "accuracy": 0.9}))
        return [row.trial_id for row in rows]

    monkeypatch.setattr("gansweep.search.repeat.repeat", run)
    assert main(["repeat", store.uri, "--space=smoke"]) == exits
    said = capfd.readouterr().err
    assert said == ("1 of 2 trainings failed; the same command trains them again\n" if exits else "")


@pytest.mark.ray(shared=True)
@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_leader_is_trained_again_with_fresh_seeds(store: Store, experiment: Experiment, tmp_path: Path) -> None:
    with ray_cluster():
        options = RepeatOptions(leaders=1, repeats=2)
        made = repeat(store, experiment.trainables, options, cache=tmp_path / "cache")
    kept = Store.open(store.uri)
    rows = kept.trials().set_index("trial_id").loc[made]
    assert made == [f"0001-{FIRST_SEED}", f"0001-{FIRST_SEED + 1}"]
    assert rows["status"].tolist() == ["completed"] * 2
    assert rows["repeat_of"].tolist() == ["0001"] * 2
    assert rows["fid"].nunique() == 2, "each seed gave a generator of its own"
    assert rows["iterations"].tolist() == [9, 9]
    assert rows["accuracy_real_only"].notna().all(), "scored as the search scores, on validation patients"
    assert not kept.info.test_openings
    place = next(row for row in folded(leaderboard(kept)) if row.trial_id == "0001")
    assert place.trainings == 2
    assert place.scores["fid"] == pytest.approx(rows["fid"].mean())
    study = kept.load_study()
    assert [trial.values for trial in study.trials] == [[9.0, 0.6], [4.0, 0.9], [5.0, 0.8]], "it never hears of repeats"
