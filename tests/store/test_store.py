import os
import pickle
import re
from datetime import UTC, datetime, timedelta

import duckdb
import optuna
import pandas as pd
import pyarrow.dataset as ds
import pytest
from pydantic import BaseModel

from gansweep.cohort.dataset import Cohort
from gansweep.config import Objective, TrialConfig
from gansweep.contracts import Trainables
from gansweep.errors import ConfigError, StoreError
from gansweep.search.trial_end import interrupt_running
from gansweep.store.columns import config_columns
from gansweep.store.store import Store
from gansweep.store.sweep_info import CohortReference, TestOpening


class Dcgan:
    class Architecture(BaseModel):
        width: int = 64
        norm: str | None = None


class StyleGan:
    class Architecture(BaseModel):
        width: float = 1.5
        style_mixing: bool = True


TWO_FAMILIES = Trainables(gans={"dcgan": Dcgan, "stylegan": StyleGan})


def _by_duckdb(store, table="trials"):
    return (
        duckdb.sql(f"select * from read_parquet('{store.local}/{table}/*.parquet', union_by_name=true)")
        .to_arrow_table()
        .to_pandas()
    )


def _by_pyarrow(store, table="trials"):
    return ds.dataset(store.local / table).to_table().to_pandas()


def _by_pandas(store, table="trials"):
    return pd.read_parquet(store.local / table)


READERS = [_by_pandas, _by_duckdb, _by_pyarrow]


@pytest.mark.parametrize("read", READERS)
def test_conditional_architectures_lose_no_column_in_any_reader(tmp_path, info, trial, read):
    store = Store.create(
        str(tmp_path), "first", info.model_copy(update={"config_columns": config_columns(TWO_FAMILIES)})
    )
    store.write_trial(trial(0, config=TrialConfig(family="dcgan", architecture={"width": 64, "norm": "layer"})))
    store.write_trial(
        trial(1, config=TrialConfig(family="stylegan", architecture={"width": 1.5, "style_mixing": False}))
    )
    rows = read(store).set_index("trial_id").sort_index()
    assert list(rows["config.architecture.width"]) == [64.0, 1.5]
    assert rows["config.architecture.norm"]["0000"] == "layer"
    assert not rows["config.architecture.style_mixing"]["0001"]
    assert pd.isna(rows["config.architecture.norm"]["0001"])
    assert list(rows["config.lr_d"]) == [2e-4, 2e-4]
    assert list(rows["config.penalty.lambda"]) == [10.0, 10.0]
    assert list(rows["config.augmentation.policy"]) == ["flip,translation"] * 2


@pytest.mark.parametrize("read", READERS)
def test_columns_nobody_declared_reach_every_reader(store, trial, read):
    store.write_trial(trial(5, scores={"fid": 1, "kid": 0.1}, config=TrialConfig(architecture={"depth": 3})))
    store.write_trial(trial(2, scores={"accuracy": 1.0}, config=TrialConfig(architecture={"depth": 2.5})))
    store.write_trial(trial(1, scores={"fid": float("nan")}, config=TrialConfig(architecture={"depth": "auto"})))
    rows = read(store).set_index("trial_id").sort_index()
    assert [str(value) for value in rows["config.architecture.depth"]] == ["auto", "2.5", "3"]
    assert rows["kid"]["0005"] == 0.1
    assert rows["fid"].isna().tolist() == [True, True, False]


@pytest.mark.parametrize("read", READERS)
def test_reports_with_different_losses_are_one_table(store, report, read):
    store.write_report(report(0, 0, losses={"critic": 1.0}))
    store.write_report(report(1, 0, losses={"critic": 2.0, "student": 3.0}))
    rows = read(store, "reports").set_index("trial_id").sort_index()
    assert rows["loss.critic"].tolist() == [1.0, 2.0]
    assert rows["loss.student"]["0001"] == 3.0


def test_declared_types_come_from_the_models():
    columns = config_columns(TWO_FAMILIES)
    assert columns["config.lr_d"] == "float64"
    assert columns["config.data.size"] == "int64"
    assert columns["config.loss.clip"] == "float64"
    assert columns["config.penalty.one_sided"] == "bool"
    assert columns["config.penalty.norm"] == "string"
    assert columns["config.architecture.width"] == "float64"
    assert columns["config.architecture.style_mixing"] == "bool"
    assert "config.architecture" not in columns


def test_a_row_reads_back_as_it_was_written(store, trial):
    row = trial(
        7, status="stopped", reason="asha", stopped_at=50, gpu_seconds=1.5, ended=datetime(2026, 1, 3, tzinfo=UTC)
    )
    store.write_trial(row)
    read = store.trials().iloc[0]
    assert read["trial_id"] == "0007"
    assert (read["status"], read["reason"], read["stopped_at"], read["gpu_seconds"]) == ("stopped", "asha", 50, 1.5)
    assert read["ended"] == pd.Timestamp("2026-01-03", tz="UTC")
    assert (read["fid"], read["best.fid"]) == (17.0, 17.0)
    assert store.config("0007") == row.config
    assert store.ended_trials() == (row,)


def test_writing_again_replaces_and_attempts_stay_apart(store, trial, report):
    store.write_trial(trial(0, status="running"))
    store.write_trial(trial(0, status="interrupted"))
    for _ in range(2):
        store.write_trial(trial(0, attempt=1))
        for index in (1, 0):
            store.write_report(report(0, index))
        store.write_report(report(0, 1, attempt=1))
    assert store.trials()["status"].tolist() == ["interrupted", "completed"]
    assert store.latest_trials()["attempt"].tolist() == [1]
    assert store.reports()[["attempt", "index"]].to_numpy().tolist() == [[0, 0], [0, 1], [1, 1]]
    assert store.latest_reports()[["attempt", "index"]].to_numpy().tolist() == [[0, 0], [1, 1]]


def test_a_trials_reports_go_on_over_attempts(store, report):
    for attempt, index in ((0, 0), (0, 1), (2, 2), (3, 3)):
        store.write_report(report(0, index, attempt=attempt))
    found = [store.reports_of("0000", attempt) for attempt in range(4)]
    assert [[row["index"] for row in rows] for rows in found] == [[0, 1], [0, 1], [0, 1, 2], [0, 1, 2, 3]]
    assert found[0][1]["fid"] == 19.0
    assert store.reports_of("0001", 0) == []


def test_only_trials_that_came_to_an_end_count_as_ended(store, trial):
    store.write_trial(trial(0, status="interrupted"))
    store.write_trial(trial(0, attempt=1, status="diverged", reason="loss is not finite"))
    store.write_trial(trial(1, status="failed"))
    store.write_trial(trial(1, attempt=1, status="running"))
    store.write_trial(trial(2, status="interrupted"))
    assert [(row.trial_id, row.attempt, row.status) for row in store.ended_trials()] == [("0000", 1, "diverged")]


def test_running_rows_of_a_dead_sweep_become_interrupted(store, trial):
    store.write_trial(trial(0, status="running", scores={"kid": 0.5}))
    store.write_trial(trial(1))
    interrupt_running(store, "the driver ended")
    rows = store.trials()
    assert rows["status"].tolist() == ["interrupted", "completed"]
    assert rows["kid"][0] == 0.5
    assert rows["ended"].notna()[0]


def test_an_interrupted_attempt_took_the_time_up_to_its_last_report(store, trial, report):
    store.update_info(workers_per_trial=2, gpus_per_worker=0.5)
    start = datetime(2026, 1, 2, tzinfo=UTC)
    for number in range(2):
        store.write_trial(trial(number, status="running", started=start))
    for index in range(2):
        store.write_report(report(0, index, time=start + timedelta(seconds=30 * (index + 1))))
    interrupt_running(store, "the driver ended")
    rows = store.trials()
    assert rows["seconds"].tolist() == rows["gpu_seconds"].tolist() == [60.0, 0.0]
    assert (rows["ended"] - rows["started"]).dt.total_seconds().tolist() == [60.0, 0.0]


def test_compaction_changes_no_row_whatever_is_written_after(store, trial, report):
    for number in range(5):
        store.write_trial(trial(number, status="running" if number == 2 else "completed"))
        store.write_report(report(number, 0))
        store.write_report(report(number, 1))
    before, reports = store.trials(), store.reports()
    store.compact()
    pd.testing.assert_frame_equal(store.trials(), before)
    pd.testing.assert_frame_equal(store.reports(), reports)
    pd.testing.assert_frame_equal(pd.read_parquet(store.local / "trials.parquet"), before)

    store.write_trial(trial(2, scores={"mind": 4.0}))
    store.write_trial(trial(9))
    store.write_report(report(3, 2))
    after = store.trials()
    assert after["trial_id"].tolist() == ["0000", "0001", "0002", "0003", "0004", "0009"]
    assert after["status"].tolist() == ["completed"] * 6
    assert after["mind"].notna().tolist() == [False, False, True, False, False, False]
    assert len(store.reports()) == 11
    assert store.reports().query("trial_id == '0003'")["index"].tolist() == [0, 1, 2]
    reports = store.reports()
    store.compact()  # adds to the first compaction what has changed since
    pd.testing.assert_frame_equal(store.trials(), after)
    pd.testing.assert_frame_equal(store.reports(), reports)
    assert len(pd.read_parquet(store.local / "trials.parquet")) == 6


def test_an_empty_store_has_its_columns(store):
    assert store.trials().empty
    assert {"trial_id", "status", "config_json"} <= set(store.trials())
    assert {"index", "iteration"} <= set(store.reports())
    store.compact()
    assert store.trials().empty


def test_opening_gives_what_creating_kept(store, info):
    assert Store.open(store.uri).info == info
    assert pickle.loads(pickle.dumps(store)).info == info


def test_info_can_be_completed_but_not_spoiled(store):
    store.update_info(fid_features="cohort:0123456789ab", test_openings=(TestOpening(opened=datetime.now(UTC)),))
    again = Store.open(store.uri)
    assert again.info.fid_features == "cohort:0123456789ab"
    assert len(again.info.test_openings) == 1
    with pytest.raises(ConfigError, match="unknown key 'fid_feature'"):
        store.update_info(fid_feature="x")


def test_a_sweep_is_not_overwritten_and_resumes_only_itself(store, info):
    storage = str(store.local.parent)
    with pytest.raises(StoreError, match="a sweep is here already; choose another --name, or use --resume"):
        Store.create(storage, "first", info)
    assert Store.create(storage, "first", info, exist_ok=True).info == info
    other = info.model_copy(update={"cohort": CohortReference(path="/x", content_hash="cd" * 32, classes=("a",))})
    with pytest.raises(StoreError, match="this sweep is of cohort abababababab, not cdcdcdcdcdcd"):
        Store.create(storage, "first", other, exist_ok=True)
    aims = info.model_copy(update={"objectives": (Objective(name="kid", direction="minimize"),)})
    with pytest.raises(StoreError, match=r"objectives are fid \(minimize\), accuracy \(maximize\)"):
        Store.create(storage, "first", aims, exist_ok=True)


EXPERIMENT = {
    "sampler": "tpe",
    "reports": 2,
    "scoring": {"samples": 32, "encoder_steps": 20},
    "scheduler": {"kind": "asha"},
    "prune": [{"score": "imbalance", "at_most": 50.0}],
    "overrides": {"lr_d": 1e-3},
}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"sampler": "random"}, "sampler = tpe, not random"),
        ({"reports": 1}, "reports = 2, not 1"),
        ({"scoring": {"samples": 64, "encoder_steps": 20}}, r"scoring\.samples = 32, not 64"),
        ({"scheduler": {"kind": "none"}}, r"scheduler\.kind = asha, not none"),
        ({"prune": []}, "prune = imbalance<=50, not none"),
        ({"overrides": {}}, r"lr_d = 0\.001, not what the space says"),
        ({"overrides": {"lr_d": 1e-3, "seed": 4}}, "seed = what the space says, not 4"),
    ],
)
def test_a_sweep_resumes_with_its_own_settings_alone(tmp_path, info, changes, says):
    begun = info.model_copy(update={"experiment": EXPERIMENT})
    Store.create(str(tmp_path), "first", begun)
    other = info.model_copy(update={"experiment": EXPERIMENT | changes})
    with pytest.raises(StoreError, match=f"this sweep has {says}; give the same settings, or choose another --name"):
        Store.create(str(tmp_path), "first", other, exist_ok=True)
    newer = {**EXPERIMENT, "scoring": {**EXPERIMENT["scoring"], "new_in_this_version": 3}}
    Store.create(str(tmp_path), "first", info.model_copy(update={"experiment": newer}), exist_ok=True)


def test_a_sweep_resumes_with_its_own_space_and_seed_wherever_the_file_lies_now(tmp_path, info):
    own = {"space": "/old/a.py:mine", "space_sha256": "ab", "seeds": {"sampler": 7, "cohort_split": 0}}
    begun = info.model_copy(update=own)
    Store.create(str(tmp_path), "first", begun)

    def resume(**changes):
        return Store.create(str(tmp_path), "first", begun.model_copy(update=changes), exist_ok=True)

    resume(space="/new/b.py:mine")
    resume(space_sha256="cd")
    for other in ({"space": "/new/b.py:other"}, {"space": "/new/b.py:mine", "space_sha256": "cd"}, {"space": "smoke"}):
        with pytest.raises(StoreError, match=r"this sweep has space = /old/a\.py:mine, not"):
            resume(**other)
    with pytest.raises(StoreError, match="this sweep has seed = 7, not 0"):
        resume(seeds={"sampler": 0, "cohort_split": 0})


def test_resuming_clears_what_killed_writers_left(store, info):
    old, young = (store.local / "checkpoints" / f".0000.pt.{name}.tmp" for name in ("1-a", "2-b"))
    store.write_bytes("checkpoints/0000.pt", b"weights")
    old.write_bytes(b"half")
    young.write_bytes(b"half")
    os.utime(old, (0, 0))
    Store.create(str(store.local.parent), "first", info, exist_ok=True)
    assert {path.name for path in old.parent.iterdir()} == {young.name, "0000.pt"}
    assert [entry.name for entry in store.list("checkpoints")] == ["0000.pt"]


def test_what_is_not_a_store_is_told_in_one_line(store, tmp_path):
    with pytest.raises(StoreError, match="not a sweep's store") as error:
        Store.open(str(tmp_path / "nowhere"))
    assert "\n" not in str(error.value)
    with pytest.raises(StoreError, match=r"give one of its sweeps: .*storage/first"):
        Store.open(str(tmp_path / "storage"))
    with pytest.raises(StoreError, match="not a sweep's store"):
        Store.open(__file__)
    (store.local / "sweep.copy.json").unlink()
    (store.local / "sweep.json").write_text("{")
    with pytest.raises(StoreError, match="not valid JSON"):
        Store.open(store.uri)
    (store.local / "sweep.json").write_text('{"format": 99}')
    with pytest.raises(StoreError, match="written in format 99"):
        Store.open(store.uri)
    (store.local / "sweep.json").write_text('{"format": 1, "name": "x"}')
    with pytest.raises(StoreError, match=r"missing key 'experiment'"):
        Store.open(store.uri)


@pytest.mark.parametrize("storage", ["/proc/nowhere", "{file}/below"])
def test_a_destination_that_cannot_be_written_is_told_in_one_line(storage, tmp_path, info):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"cannot write: .*; choose a (storage|place) that can be written") as error:
        Store.create(storage.format(file=tmp_path / "file"), "first", info)
    assert "\n" not in str(error.value)


def test_a_score_cannot_take_the_place_of_a_column(store, trial):
    with pytest.raises(StoreError, match="a score cannot be named 'seconds'"):
        store.write_trial(trial(0, scores={"seconds": 1.0}))


def test_an_unknown_trial_is_an_error(store):
    with pytest.raises(StoreError, match="no trial '0042'"):
        store.config("0042")


def test_the_study_has_the_sweeps_name_and_directions(store):
    with pytest.raises(StoreError, match="no Optuna study here yet"):
        store.load_study()
    study = store.create_study(optuna.samplers.RandomSampler(seed=0))
    study.optimize(lambda trial: (trial.suggest_float("x", 0, 1), 0.5), n_trials=2)
    again = Store.open(store.uri).load_study()
    assert again.study_name == "first"
    assert again.metric_names == ["fid", "accuracy"]
    assert [direction.name for direction in again.directions] == ["MINIMIZE", "MAXIMIZE"]
    assert [trial.values for trial in again.trials] == [trial.values for trial in study.trials]


def test_a_study_path_may_hold_any_character(tmp_path, info):
    store = Store.create(str(tmp_path / "50% of ? # {x} é"), "first", info)
    store.create_study().add_trial(optuna.create_trial(values=[1.0, 2.0]))
    assert store.study_path.is_file()
    assert len(Store.open(store.uri).load_study().trials) == 1


@pytest.mark.parametrize("storage", ["{}/runs", "memory://runs"])
@pytest.mark.parametrize("name", ["", " ", ".", "..", "../first", "a/b", "a\\b", "/abs", "a?b", "a#b", "a%2fb", "a\nb"])
def test_a_store_lies_in_its_storage(storage, name, tmp_path, info):
    with pytest.raises(ConfigError, match=r"--name: .* cannot name a sweep; choose"):
        Store.create(storage.format(tmp_path), name, info)
    assert not list(tmp_path.iterdir())


def test_a_name_may_have_spaces_and_dots(tmp_path, info):
    assert Store.create(str(tmp_path), "fahr v1.2 (ü)", info).local == tmp_path / "fahr v1.2 (ü)"


def test_a_notebook_shows_a_summary_of_the_sweep(store, trial):
    store.write_trial(trial(0))
    store.write_trial(trial(1, status="failed"))
    page = store._repr_html_()
    assert "<tr><th>cohort</th><td>abababababab: control, fahr</td></tr>" in page
    assert "<tr><th>objectives</th><td>fid (minimize), accuracy (maximize)</td></tr>" in page
    assert "<tr><th>trials</th><td>2 of 0: 1 completed, 1 failed</td></tr>" in page


@pytest.mark.parametrize("given", [None, 3, ["a"]])
@pytest.mark.parametrize("opens", [Store.open, Cohort.open])
def test_what_is_no_path_is_told_in_one_line(opens, given):
    with pytest.raises(ConfigError, match=rf"^a path is needed, not {re.escape(repr(given))}$"):
        opens(given)


def test_a_store_without_scores_can_be_sorted_by_its_objectives(store, trial):
    assert store.trials().sort_values("fid").empty
    store.write_trial(trial(0, status="diverged", scores={}, best={}))
    assert store.trials().sort_values("accuracy")["fid"].isna().tolist() == [True]


@pytest.mark.parametrize("host", ["", "localhost"])
def test_a_file_uri_of_this_machine_is_a_path(store, host):
    moved = store.local.rename(store.local.with_name("with a space"))
    for path in (str(moved), str(moved).replace(" ", "%20")):
        assert Store.open(f"file://{host}{path}").local == moved
