"""Folders, links and pipes in the place of a store's files cost themselves and no more."""

import os

import pytest

from gansweep.errors import StoreError
from gansweep.store.store import Store
from tests.store.damages import warnings_of


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
    assert f"{path} is damaged and left out (it is a folder, or a link that leads to no file)" in warnings_of(caplog)[0]
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
    assert "schema.parquet is damaged and left out (it is a folder" in warnings_of(caplog)[0]
    assert again.set_aside_damaged() == ("trials/_schema.parquet.damaged",)


@pytest.mark.parametrize("table", ["trials", "reports"])
def test_a_pipe_in_the_place_of_the_compacted_copy_keeps_nobody_waiting(rows, caplog, table):
    rows.compact()
    _pipe(rows.local / f"{table}.parquet")
    again = Store.open(rows.uri)
    assert len(again.trials() if table == "trials" else again.reports()) == (5 if table == "trials" else 10)
    assert f"{table}.parquet was damaged and is deleted; {table}/ has its rows" in warnings_of(caplog)[0]


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


def test_a_folder_whose_name_has_two_lines_is_read(rows):
    moved = rows.local.rename(rows.local.with_name("two\nlines"))
    again = Store.open(moved)
    assert len(again.trials()) == 5
    assert len(again.reports()) == 10
    again.check_whole()
