"""A cohort that travels through the storage."""

import logging
from pathlib import Path

import pytest

from gansweep.cohort.dataset import Cohort
from gansweep.errors import CohortError
from gansweep.search.cohorts import find_cohort, place_for_workers, put_cohort


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine's cache of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "node"))
    return tmp_path / "node" / "gansweep" / "cohorts"


def test_a_cohort_is_put_there_once_and_fetched_once(
    cohort_path: Path, tmp_path: Path, node: Path, caplog: pytest.LogCaptureFixture
) -> None:
    here = Cohort.open(cohort_path)
    storage = str(tmp_path / "storage")
    place = put_cohort(here, storage)
    assert place == f"storage:{here.content_hash}"
    copied = tmp_path / "storage" / "cohorts" / here.content_hash
    names = {*here.info.files, "cohort.json", "manifest.parquet"}
    assert {entry.name for entry in copied.iterdir()} == names, "nothing of what was left out"
    times = {entry.name: entry.stat().st_mtime_ns for entry in copied.iterdir()}
    with caplog.at_level(logging.INFO):
        assert put_cohort(here, storage) == place
    assert "is in the storage already" in caplog.text
    assert {entry.name: entry.stat().st_mtime_ns for entry in copied.iterdir()} == times

    found = find_cohort(place, storage)
    assert found.path == node / here.content_hash
    assert found.content_hash == here.content_hash
    assert (found.images == here.images).all()
    assert place_for_workers(found) == place, "another node has a copy of its own"
    assert place_for_workers(here) == str(cohort_path.resolve())
    # The copy here serves, also while the storage cannot be reached.
    before = (node / here.content_hash / "images.npy").stat().st_mtime_ns
    (tmp_path / "storage").rename(tmp_path / "away")
    assert find_cohort(place, storage).path.joinpath("images.npy").stat().st_mtime_ns == before
    assert not [entry for entry in node.iterdir() if "download" in entry.name]


def test_an_upload_that_was_cut_short_is_no_cohort_and_is_done_again(
    cohort_path: Path, tmp_path: Path, node: Path
) -> None:
    here = Cohort.open(cohort_path)
    storage = tmp_path / "storage"
    place = put_cohort(here, str(storage))
    (storage / "cohorts" / here.content_hash / "cohort.json").unlink()
    (storage / "cohorts" / here.content_hash / "images.npy").write_bytes(b"half")
    with pytest.raises(CohortError, match="the storage has no such cohort"):
        find_cohort(place, str(storage))
    assert not list(node.glob("*"))
    put_cohort(here, str(storage))
    assert find_cohort(place, str(storage)).content_hash == here.content_hash


def test_a_damaged_copy_is_fetched_again(cohort_path: Path, tmp_path: Path, node: Path) -> None:
    here = Cohort.open(cohort_path)
    storage = str(tmp_path / "storage")
    place = put_cohort(here, storage)
    copy = find_cohort(place, storage).path / "images.npy"
    assert copy.is_relative_to(node)
    copy.write_bytes(copy.read_bytes()[:1000])
    assert (find_cohort(place, storage).images == here.images).all()


def test_a_damaged_cohort_in_the_storage_is_refused_and_not_kept(cohort_path: Path, tmp_path: Path, node: Path) -> None:
    here = Cohort.open(cohort_path)
    storage = tmp_path / "storage"
    place = put_cohort(here, str(storage))
    (storage / "cohorts" / here.content_hash / "images.npy").write_bytes(b"half")
    with pytest.raises(CohortError, match=r"images\.npy has changed"):
        find_cohort(place, str(storage))
    assert not [entry for entry in node.iterdir() if entry.is_dir()]


def test_a_sweeps_cohort_that_is_not_at_its_path_is_taken_from_the_storage(
    cohort_path: Path, tmp_path: Path, node: Path
) -> None:
    here = Cohort.open(cohort_path)
    storage = str(tmp_path / "storage")
    with pytest.raises(CohortError, match="nowhere: no such folder"):
        find_cohort(tmp_path / "nowhere", storage, here.content_hash)
    put_cohort(here, storage)
    assert find_cohort(tmp_path / "nowhere", storage, here.content_hash).path == node / here.content_hash
    assert find_cohort(cohort_path, storage, here.content_hash).path == cohort_path
