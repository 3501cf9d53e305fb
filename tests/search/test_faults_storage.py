"""A sweep whose storage fails under it: the table of docs/reliability.md."""

from __future__ import annotations

import os
import re
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.search.faults import Driver, assert_accounted_for, assert_nothing_left, until
from tests.store.failing import SILENT, BreakingDisk, FlakyS3, breaking_disk, fill, flaky_s3, small_disk

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.ray, pytest.mark.acceptance, pytest.mark.timeout(900)]

SHORT = ("--set=iterations=300", "--checkpoint-minutes=0.02", "--concurrent=1")


@pytest.fixture(autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk") as place:
        yield place


@pytest.fixture
def broken(tmp_path: Path) -> Iterator[BreakingDisk]:
    with breaking_disk(tmp_path / "disk") as made:
        yield made


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[FlakyS3, str]]:
    with flaky_s3(monkeypatch) as made:
        yield made


def test_a_full_disk_loses_nothing(disk: Path, tmp_path: Path, cohort_path: Path) -> None:
    driver = Driver(tmp_path, cohort_path, *SHORT, "--trials=3", "--wait-for-storage=3", storage=str(disk / "runs"))
    driver.says(r"report 2/6")
    ballast = fill(disk)
    status = driver.ends(300)
    assert status == 2, driver.log
    assert "No space left on device" in driver.log.splitlines()[-1]
    assert "internal error" not in driver.log
    assert_nothing_left(own_ray=True)
    ballast.unlink()
    again = Driver(tmp_path, cohort_path, *SHORT, "--trials=3", "--resume", storage=str(disk / "runs"))
    assert again.ends() == 0, again.log
    assert_accounted_for(again.store, 3)


def test_a_disk_that_is_full_for_a_while_is_waited_for(disk: Path, tmp_path: Path, cohort_path: Path) -> None:
    driver = Driver(tmp_path, cohort_path, *SHORT, "--trials=3", storage=str(disk / "runs"))
    driver.says(r"report 2/6")
    ballast = fill(disk)
    driver.says(r"No space left on device.*waiting")
    ballast.unlink()
    assert driver.ends() == 0, driver.log
    assert_accounted_for(driver.store, 3)
    assert_nothing_left(own_ray=True)


def test_a_disk_that_becomes_read_only_loses_nothing(broken: BreakingDisk, tmp_path: Path, cohort_path: Path) -> None:
    driver = Driver(tmp_path, cohort_path, *SHORT, "--trials=3", storage=str(broken.place / "runs"))
    driver.says(r"report 2/6")
    broken.breaks()
    status = driver.ends(300)
    assert status == 2, driver.log
    assert "Read-only file system" in driver.log.splitlines()[-1]
    assert_nothing_left(own_ray=True)
    broken.is_mended()
    again = Driver(tmp_path, cohort_path, *SHORT, "--trials=3", "--resume", storage=str(broken.place / "runs"))
    assert again.ends() == 0, again.log
    assert_accounted_for(again.store, 3)


def test_files_that_were_cut_short_cost_themselves(tmp_path: Path, cohort_path: Path) -> None:
    driver = Driver(tmp_path, cohort_path, *SHORT, "--trials=3")
    driver.says(r"trial 0001 report 2/6")
    driver.process.kill()
    driver.ends()
    assert_nothing_left(own_ray=True)
    store = Path(driver.storage, "s")
    damaged = [store / "checkpoints" / "0001.pt", store / "studies.db"]
    damaged += [store / "trials" / "trial-0000.0.parquet", *store.glob("reports/*0001.0.parquet")]
    for path in damaged:
        os.truncate(path, path.stat().st_size // 2)
    again = Driver(tmp_path, cohort_path, *SHORT, "--trials=3", "--resume")
    assert again.ends() == 0, again.log
    assert "internal error" not in again.log
    assert re.search(r"0001 starts anew: \S+/checkpoints/0001\.pt: damaged checkpoint", again.log), again.log
    for path in damaged[1:]:
        assert path.name in again.log, f"{path.name} is told"
    # The parameters of trial 0000 were in its row and in the study, and both were damaged.
    assert_accounted_for(again.store, 3, lost=[0])
    assert_nothing_left(own_ray=True)


def test_a_space_that_mostly_diverges_ends_with_every_trial_told(tmp_path: Path, cohort_path: Path) -> None:
    driver = Driver(tmp_path, cohort_path, "--trials=4", space="diverging")
    assert driver.ends() == 1, driver.log
    assert "no trial ended with a generator; most often diverged: " in driver.log
    assert_accounted_for(driver.store, 4, {"diverged"})
    assert_nothing_left(own_ray=True)


def test_a_space_that_needs_too_much_memory_ends_with_every_trial_told(tmp_path: Path, cohort_path: Path) -> None:
    driver = Driver(tmp_path, cohort_path, "--trials=3", space="hungry")
    assert driver.ends() == 1, driver.log
    assert "no trial ended with a generator; most often failed: out of device memory" in driver.log
    assert_accounted_for(driver.store, 3, {"failed"})
    assert_nothing_left(own_ray=True)


@pytest.mark.parametrize("status", [500, 503, SILENT])
def test_an_object_store_that_fails_for_a_while_is_waited_for(
    status: int, s3: tuple[FlakyS3, str], tmp_path: Path, cohort_path: Path
) -> None:
    flaky, storage = s3
    storage = storage.replace("/runs?", f"/runs-{status}?")
    driver = Driver(tmp_path, cohort_path, *SHORT, "--trials=2", storage=storage)
    driver.says(r"report 2/6")
    flaky.answer = status
    over = threading.Timer(60.0, setattr, (flaky, "answer", 0))
    over.start()
    until(lambda: flaky.refused > 3, 60, lambda: driver.log)
    over.join()
    assert driver.ends() == 0, driver.log
    assert_accounted_for(driver.store, 2)
    assert_nothing_left(own_ray=True)
    assert "waiting" in driver.log


def test_two_drivers_do_not_share_a_sweep_on_an_object_store(
    s3: tuple[FlakyS3, str], tmp_path: Path, cohort_path: Path
) -> None:
    storage = s3[1].replace("/runs?", "/runs-shared?")
    driver = Driver(tmp_path, cohort_path, *SHORT, "--trials=3", storage=storage)
    driver.says(r"report 1/6")
    second = Driver(tmp_path, cohort_path, *SHORT, "--trials=3", "--resume", storage=storage)
    assert second.ends(120) == 2
    assert f"process {driver.process.pid} on " in second.log
    assert "is at work on this sweep" in second.log
    driver.process.kill()
    driver.ends()
    assert_nothing_left(own_ray=True)
    third = Driver(tmp_path, cohort_path, *SHORT, "--trials=3", "--resume", storage=storage)
    assert third.ends() == 0, third.log
    assert_accounted_for(third.store, 3)
    assert_nothing_left(own_ray=True)
