"""A damaged or lost `sweep.json` costs nothing: the store goes on from the copy beside it, and says so once."""

from __future__ import annotations

import json
import os
import uuid
from typing import TYPE_CHECKING

import pytest

from gansweep.errors import StoreError
from gansweep.store.filesystem import Files
from gansweep.store.store import Store
from tests.store.damages import warnings_of

if TYPE_CHECKING:
    from pathlib import Path

    from gansweep.store.sweep_info import SweepInfo

RECORD, COPY = "sweep.json", "sweep.copy.json"
TOO_LITTLE = ("", "{", "null", "{}", "\0" * 500)


def damage(path: Path, text: str | None) -> None:
    path.unlink() if text is None else path.write_text(text)


@pytest.mark.parametrize("text", [None, *TOO_LITTLE])
def test_a_lost_record_is_read_from_its_copy(
    store: Store, info: SweepInfo, text: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    assert store.local is not None
    store.update_info(trials=7)
    whole = (store.local / RECORD).read_bytes()
    damage(store.local / RECORD, text)
    storage = str(store.local.parent)
    begun = Store.begun(storage, "first", exist_ok=True)
    assert begun is not None
    for again in (Store.open(store.uri), Store.create(storage, "first", info, exist_ok=True), begun):
        assert again.info == store.info
    with pytest.raises(StoreError, match="a sweep is here already"):
        Store.create(storage, "first", info)
    assert len(warnings_of(caplog)) == 1
    assert warnings_of(caplog)[0].startswith(f"{store.local}/{RECORD}: ")
    assert warnings_of(caplog)[0].endswith(f"; going on from its copy, {COPY}")
    with Store.open(store.uri).exclusive():
        assert (store.local / RECORD).read_bytes() == whole, "the next command that works on the sweep mends it"
        assert Store.open(store.uri).update_info(trials=8).trials == 8


def test_a_truncated_record_is_read_from_its_copy(store: Store) -> None:
    assert store.local is not None
    whole = (store.local / RECORD).read_text()
    for length in range(0, len(whole) - 1, 7):
        (store.local / RECORD).write_text(whole[:length])
        assert Store.open(store.uri).info == store.info


def test_a_copy_of_another_version_says_so(store: Store) -> None:
    assert store.local is not None
    values = json.loads((store.local / COPY).read_text())
    (store.local / COPY).write_text(json.dumps(values | {"format": 99}))
    with Store.open(store.uri).exclusive():  # whoever has the record needs no copy, and makes one
        pass
    assert (store.local / COPY).read_bytes() == (store.local / RECORD).read_bytes()
    (store.local / COPY).write_text(json.dumps(values | {"format": 99}))
    (store.local / RECORD).unlink()
    with pytest.raises(StoreError, match=rf"/{COPY}: written in format 99, .*; use the gansweep that wrote it"):
        Store.open(store.uri)


@pytest.mark.parametrize("text", [None, *TOO_LITTLE])
def test_a_lost_copy_is_written_again(store: Store, text: str | None, caplog: pytest.LogCaptureFixture) -> None:
    assert store.local is not None
    damage(store.local / COPY, text)
    with Store.open(store.uri).exclusive():
        pass
    assert (store.local / COPY).read_bytes() == (store.local / RECORD).read_bytes()
    assert not warnings_of(caplog)


@pytest.mark.parametrize("text", [None, *TOO_LITTLE])
def test_without_either_it_is_told_as_before(store: Store, text: str | None, caplog: pytest.LogCaptureFixture) -> None:
    assert store.local is not None
    for name in (RECORD, COPY):
        damage(store.local / name, text)
    with pytest.raises(StoreError) as told:
        Store.open(store.uri)
    assert ("not a sweep's store" if text is None else "put back a copy of it") in str(told.value)
    if text is not None:
        (store.local / RECORD).unlink()
        with pytest.raises(StoreError, match=rf"{RECORD}: .*put back a copy of it"):
            Store.open(store.uri)
    assert not warnings_of(caplog)


@pytest.mark.parametrize("change", [{"format": 99}, {"strategy": "new"}, {"objectives": []}, {"name": "other"}])
def test_a_whole_record_is_never_replaced_by_the_copy(store: Store, change: dict[str, object]) -> None:
    assert store.local is not None
    path = store.local / RECORD
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    written = path.read_bytes()
    if "name" in change:
        assert Store.open(store.uri).info.name == "other"
        return
    with pytest.raises(StoreError, match=RECORD):
        Store.open(store.uri)
    assert path.read_bytes() == written


def test_the_copy_does_not_stand_for_another_sweep(tmp_path: Path, store: Store, info: SweepInfo) -> None:
    other = Store.create(str(tmp_path / "storage"), "other", info.model_copy(update={"name": "other"}))
    assert store.local is not None
    assert other.local is not None
    (store.local / RECORD).write_bytes((other.local / RECORD).read_bytes()[:-9])
    with pytest.raises(StoreError, match=f"{RECORD}: not valid JSON"):
        Store.open(store.uri)


def test_the_copy_is_never_older_than_the_record(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise an opening of the test patients could be lost with the record."""
    assert store.local is not None
    write = Files.write_bytes

    def killed(files: Files, rel: str, data: bytes) -> None:
        write(files, rel, data)
        raise KeyboardInterrupt

    monkeypatch.setattr(Files, "write_bytes", killed)
    with pytest.raises(KeyboardInterrupt):
        store.update_info(notes={"opened": 1})
    assert Store.open(store.uri).info.notes == {}
    (store.local / RECORD).unlink()
    assert Store.open(store.uri).info.notes == {"opened": 1}


def test_a_storage_without_renames_keeps_a_copy_too(info: SweepInfo) -> None:
    store = Store.create(f"memory://{uuid.uuid4().hex}", "first", info)
    store.delete(RECORD)
    assert Store.open(store.uri).info == info
    with Store.open(store.uri).exclusive():
        assert store.read_bytes(RECORD) == store.read_bytes(COPY)


def test_a_record_that_cannot_be_read_is_no_lost_one(store: Store) -> None:
    assert store.local is not None
    (store.local / RECORD).unlink()
    os.mkfifo(store.local / RECORD)
    with pytest.raises(StoreError, match="is no regular file"):
        Store.open(store.uri)
