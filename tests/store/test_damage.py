"""One damaged file costs itself and no more: it is named, and what is derived from others is built again."""

import shutil
import struct
from dataclasses import replace

import optuna
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gansweep.config import TrialConfig
from gansweep.errors import StoreError
from gansweep.store.store import Store
from tests.store.damages import emptied, filled, truncated, warnings_of, with_broken_pages

DAMAGES = [truncated, filled, emptied, with_broken_pages]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_row_file_is_named_and_hides_no_other(rows, caplog, damage):
    path = rows.local / "trials" / "trial-0002.0.parquet"
    damage(path, 0.5)
    again = Store.open(rows.uri)
    for _ in range(2):
        assert again.trials()["trial_id"].tolist() == ["0000", "0001", "0003", "0004"]
    (line,) = warnings_of(caplog)
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
    assert len(warnings_of(caplog)) == 1
    again.write_report(report(2, 1))  # the trial goes on
    assert again.reports_of("0002", 0)[0]["index"] == 1


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_report_after_damage_overwrites_nothing(rows, caplog, damage, report):
    path = rows.local / "reports" / "trial-0002.0.parquet"
    damage(path, 0.5)
    content = path.read_bytes()
    again = Store.open(rows.uri)
    again.write_report(report(2, 2))
    kept = path.with_name("_trial-0002.0.parquet.damaged")
    assert kept.read_bytes() == content
    assert "reports/trial-0002.0.parquet was damaged and is kept as reports/_trial-0002.0.parquet" in caplog.text
    assert [record["index"] for record in again.reports_of("0002", 0)] == [2]


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
    if damage is not with_broken_pages:
        assert warnings_of(caplog) == [f"{path} was damaged; it was built again from the rows"]
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
    assert warnings_of(caplog) == [f"{path} was damaged and is deleted; trials/ has its rows"]
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
    assert f"{path} is damaged and left out (it has no rows)" in warnings_of(caplog)[0]


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
    assert "trial-0002.0.parquet is damaged and left out" in warnings_of(caplog)[0]


def test_a_compacted_copy_that_cannot_be_deleted_is_told_once(rows, caplog):
    (rows.local / "trials.parquet").mkdir()
    again = Store.open(rows.uri)
    for _ in range(2):
        assert len(again.trials()) == 5
    assert warnings_of(caplog) == [f"{rows.label}/trials.parquet is damaged and not used; trials/ has its rows"]


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
    told = " ".join(warnings_of(caplog))
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
    truncated(rows.local / "trials" / "trial-0002.0.parquet", 0.5)
    truncated(rows.local / "reports" / "trial-0001.0.parquet", 0.5)
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
    assert says in warnings_of(caplog)[0]
    assert "trial-0002.0.parquet is damaged and left out" in warnings_of(caplog)[0]


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
        ("trials", "repeat_of", "0002", "it is a repeat of itself"),
        ("reports", "accuracy", float("inf"), "accuracy = inf"),
        ("reports", "index", -3, "index = -3"),
        ("reports", "iteration", -7, "iteration = -7"),
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
    assert f"{table}/trial-0002.0.parquet is damaged and left out ({says})" in warnings_of(caplog)[0]


def test_a_repeat_of_no_trial_is_named(rows, trial):
    rows.write_trial(replace(trial(0, repeat_of="0000"), trial_id="0000-1"))
    again = Store.open(rows.uri)
    again.trials()
    again.check_whole()
    rows.write_trial(replace(trial(0, repeat_of="9999"), trial_id="9999-1"))
    again.trials()
    with pytest.raises(StoreError, match=r"trial 9999-1 is a repeat of '9999', which has no row; put back a copy$"):
        again.check_whole()


def test_a_share_that_is_not_defined_is_no_damage(rows, trial):
    scores = {"fid": 10.0, "accuracy": float("nan"), "sensitivity": 1.0, "specificity": 0.0}
    rows.write_trial(trial(5, scores=scores, best={}))
    assert len(Store.open(rows.uri).trials()) == 6


def test_a_damaged_row_is_not_compacted_away(rows):
    path = rows.local / "trials" / "trial-0002.0.parquet"
    whole = path.read_bytes()
    truncated(path, 0.5)
    rows.compact()
    path.write_bytes(whole)
    assert len(Store.open(rows.uri).trials()) == 5


def test_what_was_set_aside_before_is_kept(rows, report):
    path = rows.local / "reports" / "trial-0002.0.parquet"
    for content in (b"first", b"second", b"third"):
        path.write_bytes(content)
        rows.write_report(report(2, 2))
    kept = [path.with_name(f"_{path.name}{number}.damaged").read_bytes() for number in ("", ".2", ".3")]
    assert kept == [b"first", b"second", b"third"]
    assert len(pd.read_parquet(path.parent)) == 9
    assert rows.trials_begun() == 5


@pytest.mark.parametrize("mended", [False, True])
def test_a_damaged_report_file_that_is_put_back_or_deleted_is_not_set_aside(rows, report, mended):
    path = rows.local / "reports" / "trial-0002.0.parquet"
    whole = path.read_bytes()
    path.write_bytes(b"damaged")
    assert len(rows.reports()) == 8
    if mended:
        path.write_bytes(whole)
    else:
        path.unlink()
    rows.write_report(report(2, 2))
    assert not list(path.parent.glob("_*"))
    assert len(rows.reports()) == (11 if mended else 9)


@pytest.mark.parametrize("index", [[None, 1], ["a", "b"], [0.0, 0.5], None])
def test_a_report_follows_a_file_with_odd_indices(rows, report, caplog, index):
    path = rows.local / "reports" / "trial-0002.0.parquet"
    table = pq.read_table(path)
    place = table.schema.get_field_index("index")
    table = table.remove_column(place) if index is None else table.set_column(place, "index", pa.array(index))
    pq.write_table(table, path)
    odd = path.read_bytes()
    assert [kept["index"] for kept in Store.open(rows.uri).reports_of("0002", 0)] in ([], [1])
    rows.write_report(report(2, 2))
    assert path.with_name(f"_{path.name}.damaged").read_bytes() == odd
    assert "reports/trial-0002.0.parquet is damaged and left out" in caplog.text


def test_a_column_given_twice_is_damage(rows):
    path = rows.local / "reports" / "trial-0002.0.parquet"
    table = pq.read_table(path)
    pq.write_table(table.append_column("index", table["index"]), path)
    assert rows.reports_of("0002", 0) == []


def test_damaged_files_are_set_aside_under_a_name_that_no_reader_takes(rows):
    for table in ("trials", "reports"):
        truncated(rows.local / table / "trial-0002.0.parquet", 0.5)
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

    truncated(rows.local / "trials" / "trial-0002.0.parquet", 0.5)
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


@pytest.mark.parametrize("damage", [truncated, filled])
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


def test_a_folder_with_something_in_it_becomes_no_store(store, info, tmp_path):
    storage = str(store.local.parent)
    for name in ("sweep.json", "sweep.copy.json"):
        (store.local / name).unlink()
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
