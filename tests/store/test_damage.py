"""One damaged file costs itself and no more: it is named, and what is derived from others is built again."""

import json
import logging
import os
import shutil
import struct

import optuna
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from gansweep.config import TrialConfig
from gansweep.errors import StoreError
from gansweep.store.store import Store


def _truncate(path, fraction):
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * fraction)])


def _fill(path, _):
    path.write_bytes(b"not a table" * 300)


def _empty(path, _):
    path.write_bytes(b"")


def _break_pages(path, _):
    """Keeps the frame of a Parquet file, and destroys what is in it."""
    content = bytearray(path.read_bytes())
    content[4 : len(content) // 3] = bytes(len(content) // 3 - 4)
    path.write_bytes(content)


DAMAGES = [_truncate, _fill, _empty, _break_pages]


@pytest.fixture
def rows(store, trial, report):
    """Five trials with two reports each."""
    for number in range(5):
        store.write_trial(trial(number))
        for index in range(2):
            store.write_report(report(number, index))
    return store


def _lines(caplog):
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_row_file_is_named_and_hides_no_other(rows, caplog, damage):
    path = rows.local / "trials" / "trial-0002.0.parquet"
    damage(path, 0.5)
    again = Store.open(rows.uri)
    for _ in range(2):
        assert again.trials()["trial_id"].tolist() == ["0000", "0001", "0003", "0004"]
    (line,) = _lines(caplog)
    assert line.startswith(f"{path} is damaged and left out (")
    assert line.endswith("); put back a copy of it, or train the trial again with --resume")
    assert again.reports()["trial_id"].nunique() == 5


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_report_file_is_named_and_hides_no_other(rows, caplog, damage, report):
    path = rows.local / "reports" / "trial-0002.0.parquet"
    damage(path, 0.5)
    again = Store.open(rows.uri)
    assert sorted(set(again.reports()["trial_id"])) == ["0000", "0001", "0003", "0004"]
    assert len(again.trials()) == 5
    assert again.reports_of("0002", 0) == []
    assert len(_lines(caplog)) == 1
    again.write_report(report(2, 1))  # the trial goes on
    assert again.reports_of("0002", 0)[0]["index"] == 1


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("table", ["trials", "reports"])
def test_a_damaged_schema_is_built_again_from_the_rows(rows, trial, caplog, damage, table):
    rows.write_trial(trial(5, scores={"kid": 0.5}, config=TrialConfig(architecture={"depth": 3})))
    before = [rows.trials(), rows.reports()]
    path = rows.local / table / "schema.parquet"
    damage(path, 0.4)
    again = Store.open(rows.uri)
    after = [again.trials(), again.reports()]
    for one, other in zip(before, after, strict=True):
        pd.testing.assert_frame_equal(one, other[one.columns])
    if damage is not _break_pages:
        assert _lines(caplog) == [f"{path} was damaged; it was built again from the rows"]
    assert "kid" in pd.read_parquet(rows.local / "trials")
    again.write_trial(trial(6))
    assert len(again.trials()) == 7


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_compacted_copy_is_not_used(rows, trial, caplog, damage):
    before = rows.trials()
    rows.compact()
    path = rows.local / "trials.parquet"
    damage(path, 0.5)
    again = Store.open(rows.uri)
    pd.testing.assert_frame_equal(again.trials(), before)
    assert _lines(caplog) == [f"{path} was damaged and is deleted; trials/ has its rows"]
    again.write_trial(trial(5))
    again.compact()
    assert len(pd.read_parquet(path)) == 6


@pytest.mark.parametrize("metadata", [{}, {b"gansweep.compacted": b"[]"}, {b"gansweep.compacted": b'{"a": [1, 2, 9]}'}])
def test_a_copy_whose_list_of_files_does_not_fit_is_not_used(rows, metadata):
    before = rows.trials()
    rows.compact()
    path = rows.local / "trials.parquet"
    pq.write_table(pq.read_table(path).replace_schema_metadata(metadata), path)
    pd.testing.assert_frame_equal(Store.open(rows.uri).trials(), before)


@pytest.mark.parametrize("table", ["trials", "reports"])
def test_a_file_without_rows_is_damage_too(rows, caplog, table):
    path = rows.local / table / "trial-0002.0.parquet"
    pq.write_table(pq.read_schema(path).empty_table(), path)
    again = Store.open(rows.uri)
    read = again.trials if table == "trials" else again.reports
    assert read()["trial_id"].unique().tolist() == ["0000", "0001", "0003", "0004"]
    assert f"{path} is damaged and left out (it has no rows)" in _lines(caplog)[0]


def _folder(path):
    path.unlink()
    path.mkdir()


def _link_to_nothing(path):
    path.unlink()
    path.symlink_to("nowhere")


def _link_to_itself(path):
    path.unlink()
    path.symlink_to(path.name)


def _pipe(path):
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize("replace", [_folder, _link_to_nothing, _link_to_itself, _pipe])
@pytest.mark.parametrize("table", ["trials", "reports"])
def test_what_is_no_file_is_damage_too(rows, caplog, table, replace):
    path = rows.local / table / "trial-0002.0.parquet"
    replace(path)
    again = Store.open(rows.uri)
    read = again.trials if table == "trials" else again.reports
    assert read()["trial_id"].unique().tolist() == ["0000", "0001", "0003", "0004"]
    assert f"{path} is damaged and left out (it is a folder, or a link that leads to no file)" in _lines(caplog)[0]
    looked_up = again.row if table == "trials" else again.reports_of
    assert not looked_up("0002", 0)
    with pytest.raises(StoreError, match=rf"left out 1 damaged file: {table}/trial-0002\.0\.parquet; put back"):
        again.check_whole()
    assert again.set_aside_damaged() == (f"{table}/_trial-0002.0.parquet.damaged",)


@pytest.mark.parametrize("replace", [_folder, _link_to_itself, _pipe])
def test_a_schema_that_is_no_file_is_set_aside_too(rows, caplog, replace):
    replace(rows.local / "trials" / "schema.parquet")
    again = Store.open(rows.uri)
    assert len(again.trials()) == 5
    assert "schema.parquet is damaged and left out (it is a folder" in _lines(caplog)[0]
    assert again.set_aside_damaged() == ("trials/_schema.parquet.damaged",)


@pytest.mark.parametrize("table", ["trials", "reports"])
def test_a_pipe_in_the_place_of_the_compacted_copy_keeps_nobody_waiting(rows, caplog, table):
    rows.compact()
    _pipe(rows.local / f"{table}.parquet")
    again = Store.open(rows.uri)
    assert len(again.trials() if table == "trials" else again.reports()) == (5 if table == "trials" else 10)
    assert f"{table}.parquet was damaged and is deleted; {table}/ has its rows" in _lines(caplog)[0]


@pytest.mark.parametrize("name", ["sweep.json", "confirm.json", "memorisation/0002.json"])
def test_a_pipe_or_device_is_told_as_no_regular_file(rows, name):
    path = rows.local / name
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    for _ in range(2):
        with pytest.raises(StoreError, match=rf"{name}: is no regular file; put back a copy of it, or move it away"):
            rows.read_bytes(name)
        if name == "sweep.json":
            with pytest.raises(StoreError, match="is no regular file"):
                Store.open(rows.uri)
        path.unlink()
        path.symlink_to("/dev/zero")


def test_a_schema_that_was_deleted_costs_no_column(rows):
    before = Store.open(rows.uri).trials()
    (rows.local / "trials" / "schema.parquet").unlink()
    after = Store.open(rows.uri).trials()
    assert set(after.columns) == set(before.columns)
    assert after["fid"].tolist() == before["fid"].tolist()


def test_a_bit_that_flips_in_a_value_is_damage(rows, caplog):
    """Without a checksum, it would be another score."""
    path = rows.local / "trials" / "trial-0002.0.parquet"
    score = struct.pack("<d", Store.open(rows.uri).row("0002", 0).scores["fid"])
    content = bytearray(path.read_bytes())
    content[content.index(score)] ^= 1
    path.write_bytes(content)
    assert len(Store.open(rows.uri).trials()) == 4
    assert "trial-0002.0.parquet is damaged and left out" in _lines(caplog)[0]


def test_a_compacted_copy_that_cannot_be_deleted_is_told_once(rows, caplog):
    (rows.local / "trials.parquet").mkdir()
    again = Store.open(rows.uri)
    for _ in range(2):
        assert len(again.trials()) == 5
    assert _lines(caplog) == [f"{rows.label}/trials.parquet is damaged and not used; trials/ has its rows"]


def test_exchanged_files_are_of_no_trial(rows, caplog):
    """What is looked up by a trial's name would be the other's."""
    for table in ("trials", "reports"):
        one, other = (rows.local / table / f"trial-000{number}.0.parquet" for number in (1, 2))
        content = one.read_bytes()
        one.write_bytes(other.read_bytes())
        other.write_bytes(content)
    again = Store.open(rows.uri)
    assert again.trials()["trial_id"].tolist() == ["0000", "0003", "0004"]
    assert again.reports()["trial_id"].unique().tolist() == ["0000", "0003", "0004"]
    assert again.row("0001", 0) is None
    assert again.reports_of("0002", 0) == []
    assert again.row("0003", 0).trial_id == "0003"
    told = " ".join(_lines(caplog))
    for table in ("trials", "reports"):
        assert f"{table}/trial-0001.0.parquet is damaged and left out (it is of 0002.0)" in told
        assert f"{table}/trial-0002.0.parquet is damaged and left out (it is of 0001.0)" in told


def test_a_copy_of_a_row_doubles_no_trial(rows):
    folder = rows.local / "trials"
    shutil.copy(folder / "trial-0001.0.parquet", folder / "trial-0001.0 copy.parquet")
    shutil.copy(folder / "trial-0001.0.parquet", folder / "trial-0007.0.parquet")
    again = Store.open(rows.uri)
    assert [row.trial_id for row in again.rows()] == ["0000", "0001", "0002", "0003", "0004"]


def test_whether_a_store_is_whole_is_told_after_reading(rows):
    whole = Store.open(rows.uri)
    whole.trials()
    whole.check_whole()
    _truncate(rows.local / "trials" / "trial-0002.0.parquet", 0.5)
    _truncate(rows.local / "reports" / "trial-0001.0.parquet", 0.5)
    again = Store.open(rows.uri)
    again.trials()
    again.reports()
    with pytest.raises(StoreError) as told:
        again.check_whole()
    files = "trials/trial-0002.0.parquet, reports/trial-0001.0.parquet"
    cure = "put back a copy, or continue the sweep with --resume"
    assert str(told.value) == f"{rows.label}: left out 2 damaged files: {files}; {cure}"


@pytest.mark.parametrize(
    ("column", "value", "says"),
    [
        ("status", "complete!", "unknown status 'complete!'"),
        ("trial_id", None, "no trial_id"),
        ("config_json", "{", "its configuration is not JSON"),
        ("config_json", None, "its configuration is not JSON"),
        ("config_json", '{"lr": 1}', "unknown key 'lr'"),
    ],
)
def test_a_row_that_cannot_be_used_is_damage_too(rows, caplog, column, value, says):
    path = rows.local / "trials" / "trial-0002.0.parquet"
    table = pq.read_table(path)
    place = table.schema.get_field_index(column)
    pq.write_table(table.set_column(place, table.schema.field(place), pa.array([value], pa.string())), path)
    again = Store.open(rows.uri)
    assert len(again.trials()) == 4
    again.compact()
    assert len(again.trials()) == len(Store.open(rows.uri).trials()) == 4
    assert says in _lines(caplog)[0]
    assert "trial-0002.0.parquet is damaged and left out" in _lines(caplog)[0]


@pytest.mark.parametrize(
    ("table", "column", "value", "says"),
    [
        ("trials", "iterations", None, "no iterations"),
        ("trials", "iterations", -5, "iterations = -5"),
        ("trials", "workers", 0, "workers = 0"),
        ("trials", "seconds", float("inf"), "seconds = inf"),
        ("trials", "seconds", -1e9, "seconds = -1000000000.0"),
        ("trials", "gpu_seconds", float("inf"), "gpu_seconds = inf"),
        ("trials", "accuracy", 3.0, "accuracy = 3.0"),
        ("trials", "best.accuracy", -1.0, "best.accuracy = -1.0"),
        ("reports", "accuracy", float("inf"), "accuracy = inf"),
    ],
)
def test_a_number_that_cannot_be_is_damage(rows, caplog, table, column, value, says):
    path = rows.local / table / "trial-0002.0.parquet"
    content = pq.ParquetFile(path).read()
    place = content.schema.get_field_index(column)
    changed = pa.array([value] * len(content), content.schema.field(place).type)
    pq.write_table(content.set_column(place, column, changed), path)
    again = Store.open(rows.uri)
    read = again.trials if table == "trials" else again.reports
    assert read()["trial_id"].unique().tolist() == ["0000", "0001", "0003", "0004"]
    assert f"{table}/trial-0002.0.parquet is damaged and left out ({says})" in _lines(caplog)[0]


def test_a_share_that_is_not_defined_is_no_damage(rows, trial):
    scores = {"fid": 10.0, "accuracy": float("nan"), "sensitivity": 1.0, "specificity": 0.0}
    rows.write_trial(trial(5, scores=scores, best={}))
    assert len(Store.open(rows.uri).trials()) == 6


def test_a_damaged_row_is_not_compacted_away(rows):
    path = rows.local / "trials" / "trial-0002.0.parquet"
    whole = path.read_bytes()
    _truncate(path, 0.5)
    rows.compact()
    path.write_bytes(whole)
    assert len(Store.open(rows.uri).trials()) == 5


def test_damaged_files_are_set_aside_under_a_name_that_no_reader_takes(rows):
    for table in ("trials", "reports"):
        _truncate(rows.local / table / "trial-0002.0.parquet", 0.5)
    assert rows.set_aside_damaged() == (
        "trials/_trial-0002.0.parquet.damaged",
        "reports/_trial-0002.0.parquet.damaged",
    )
    for table, count in (("trials", 4), ("reports", 8)):
        assert len(pd.read_parquet(rows.local / table)) == count
    assert rows.set_aside_damaged() == ()
    assert rows.trials_begun() == 5


def test_what_the_file_system_refuses_is_no_damage(rows, monkeypatch):
    def refuse(*_):
        raise StoreError("cannot read: network is down", where=rows.label)

    _truncate(rows.local / "trials" / "trial-0002.0.parquet", 0.5)
    monkeypatch.setattr("gansweep.store.filesystem.Files.read_bytes", refuse)
    with pytest.raises(StoreError, match="network is down"):
        rows.set_aside_damaged()
    assert len(list((rows.local / "trials").glob("*.damaged"))) == 0


def test_a_study_that_is_a_folder_is_named_and_moved_away(rows):
    (rows.local / "studies.db").mkdir()
    again = Store.open(rows.uri)
    assert again.study_damage() == "it is a folder"
    with pytest.raises(
        StoreError, match=r"studies\.db: damaged \(it is a folder\); the sweep's --resume builds it again"
    ):
        again.load_study()
    again.replace_study([optuna.create_trial(values=[1.0, 2.0])])
    assert len(Store.open(rows.uri).load_study().trials) == 1


@pytest.mark.parametrize("damage", [_truncate, _fill])
def test_a_damaged_study_is_named_with_its_cure(rows, damage):
    study = rows.create_study()
    for _ in range(40):
        study.add_trial(optuna.create_trial(values=[1.0, 2.0], user_attrs={"reason": "long" * 200}))
    damage(rows.local / "studies.db", 0.5)
    again = Store.open(rows.uri)
    assert again.study_damage()
    for use in (again.load_study, again.create_study):
        with pytest.raises(StoreError) as told:
            use()
        assert str(told.value).startswith(f"{rows.local}/studies.db: damaged (")
        assert str(told.value).endswith("; the sweep's --resume builds it again from trials/")
    again.replace_study([optuna.create_trial(values=[1.0, 2.0])])
    assert len(Store.open(rows.uri).load_study().trials) == 1
    assert (rows.local / "studies.db.before").exists()


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"format": 1}', "\udcff", "[" * 100_000])
def test_a_damaged_description_is_named_with_its_cure(store, text):
    (store.local / "sweep.json").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(StoreError) as told:
        Store.open(store.uri)
    assert str(told.value).startswith(f"{store.local}/sweep.json: ")
    assert "put back a copy of it" in str(told.value)


def test_a_description_of_a_later_version_is_named(store):
    path = store.local / "sweep.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"strategy": "new"}))
    with pytest.raises(StoreError) as told:
        Store.open(store.uri)
    assert str(told.value) == (
        f"{path}: has 'strategy', which this gansweep does not know; use the gansweep that wrote it, or a later one"
    )


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"objectives": []}, "objectives = []: tuple should have at least 1 item"),
        ({"experiment": {"reports": "many"}}, "reports = 'many' is no number above zero"),
        ({"experiment": {"reports": 0}}, "reports = 0 is no number above zero"),
        ({"experiment": {"scheduler": None}}, "scheduler = None is no dictionary"),
        ({"experiment": {"overrides": [1]}}, "overrides = [1] is no dictionary"),
        ({"experiment": {"constraints": [{"score": "fid"}]}}, "at_most or at_least"),
    ],
)
def test_a_description_that_no_reader_can_use_is_named(store, changes, says):
    path = store.local / "sweep.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(StoreError) as told:
        Store.open(store.uri)
    assert says in str(told.value)
    assert str(told.value).startswith(f"{path}: ")


def test_a_trial_without_a_row_is_named(rows):
    (rows.local / "trials" / "trial-0002.0.parquet").unlink()
    with pytest.raises(StoreError, match=r"trials/ has no row of 0002, which was trained; put back a copy, or"):
        Store.open(rows.uri).check_whole()


def test_a_trial_with_a_checkpoint_and_no_row_is_named(rows):
    rows.checkpoint("confirm-0001-10000").write({"config": {}})
    Store.open(rows.uri).check_whole()
    rows.checkpoint("0099").write({"config": {}})
    with pytest.raises(StoreError, match=r"trials/ has no row of 0099, which was trained; put back a copy, or"):
        Store.open(rows.uri).check_whole()


@pytest.mark.parametrize(("key", "value"), [("trials", -1), ("workers_per_trial", 0), ("gpus_per_worker", -0.5)])
def test_numbers_that_no_sweep_has_are_named(store, key, value):
    path = store.local / "sweep.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    with pytest.raises(StoreError, match=rf"sweep\.json: {key} = {value}: .*put back a copy of it"):
        Store.open(store.uri)


def test_a_description_without_scoring_is_named(store):
    with pytest.raises(StoreError, match=r"sweep\.json: missing key 'experiment.scoring'; put back"):
        _ = store.scoring


@pytest.mark.parametrize("damage", [_truncate, _fill, _empty])
def test_a_damaged_checkpoint_is_named_and_never_gone_on_from(store, caplog, damage):
    checkpoint = store.checkpoint("0000")
    checkpoint.write({"config": TrialConfig().as_dict(), "weights": torch.arange(1000)})
    damage(store.local / checkpoint.path, 0.7)
    with pytest.raises(
        StoreError,
        match=r"checkpoints/0000\.pt: damaged checkpoint \(torch cannot read it: BadZipFile\); put back a copy of it",
    ):
        checkpoint.read()
    assert checkpoint.state_to_continue(TrialConfig()) is None
    assert _lines(caplog)[0].startswith("0000 starts anew: ")


def test_a_weight_that_changed_on_the_disk_is_damage(store):
    checkpoint = store.checkpoint("0000")
    weights = torch.arange(1000.0)
    checkpoint.write({"config": TrialConfig().as_dict(), "weights": weights})
    path = store.local / checkpoint.path
    content = bytearray(path.read_bytes())
    content[content.index(weights.numpy().tobytes()) + 99] ^= 32
    path.write_bytes(content)
    with pytest.raises(StoreError, match=r"0000\.pt: damaged checkpoint \(the checksum of 0 differs\); put back"):
        checkpoint.read()


def test_a_checkpoint_that_lacks_what_is_needed_is_damaged(store):
    checkpoint = store.checkpoint("0000")
    checkpoint.write({"config": TrialConfig().as_dict(), "iteration": 3})
    assert checkpoint.read_for(TrialConfig(), needs=("iteration",))["iteration"] == 3
    with pytest.raises(StoreError, match=r"damaged checkpoint \(its state has no ema\)"):
        checkpoint.read_for(TrialConfig(), needs=("iteration", "ema"))


def test_a_checkpoint_belongs_to_the_configuration_inside_it(store, caplog):
    checkpoint = store.checkpoint("0000")
    mine, other = TrialConfig(lr_d=1e-3), TrialConfig(lr_d=2e-3)
    assert checkpoint.state_to_continue(mine) is None
    older = {key: value for key, value in mine.as_dict().items() if key != "sample_filter"}
    for config in (mine.as_dict(), older):  # a version that lacked a key trained with its default
        checkpoint.write({"config": config, "iteration": 7})
        assert checkpoint.read_for(mine)["iteration"] == checkpoint.state_to_continue(mine)["iteration"] == 7
    with pytest.raises(StoreError, match="checkpoint of another configuration"):
        checkpoint.read_for(other)
    assert _lines(caplog) == []
    assert checkpoint.state_to_continue(other) is None
    assert "0000 starts anew: " in _lines(caplog)[0]


def test_a_folder_with_something_in_it_becomes_no_store(store, info, tmp_path):
    storage = str(store.local.parent)
    (store.local / "sweep.json").unlink()
    before = sorted(path.name for path in store.local.rglob("*"))
    for exist_ok in (False, True):
        with pytest.raises(StoreError) as told:
            Store.create(storage, "first", info, exist_ok=exist_ok)
        assert str(told.value) == (
            f"{store.local}: the folder is no sweep's store (it has no sweep.json), and it is not empty: "
            "reports, trials; choose another --name"
        )
    other = tmp_path / "other" / "first"
    other.mkdir(parents=True)
    (other / "thesis.tex").touch()
    with pytest.raises(StoreError, match=r"not empty: thesis\.tex"):
        Store.create(str(tmp_path / "other"), "first", info)
    assert [path.name for path in other.iterdir()] == ["thesis.tex"]
    assert sorted(path.name for path in store.local.rglob("*")) == before
    shutil.rmtree(other)
    other.mkdir()
    assert Store.create(str(tmp_path / "other"), "first", info).info == info
