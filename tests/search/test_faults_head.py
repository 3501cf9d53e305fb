"""A sweep whose cluster ends under it, with the head: the table of docs/reliability.md."""

from __future__ import annotations

import contextlib
import os
import re
import signal
from typing import TYPE_CHECKING

import psutil
import pytest

from tests.search.faults import ROOT, Driver, assert_accounted_for, assert_nothing_left

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.ray, pytest.mark.acceptance, pytest.mark.timeout(900)]

OPTIONS = ("--trials=3", "--set=iterations=300", "--checkpoint-minutes=0.02", "--concurrent=1")


def test_a_lost_head_ends_the_sweep_in_one_line(
    tmp_path: Path, cohort_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT / "platform"), str(ROOT)]))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "object_store_memory": 100 * 2**20})
    try:
        driver = Driver(tmp_path, cohort_path, *OPTIONS, environment={"RAY_ADDRESS": cluster.address})
        driver.says(r"report 2/6")
        for process in psutil.Process().children(recursive=True):
            if {"gcs_server", "raylet"} & set(process.name().split()):
                process.kill()
        status = driver.ends(300)
    finally:
        cluster.shutdown()
    assert status == 2, driver.log
    said = r"error: \S+:\d+: the Ray cluster is lost \(.*\); when it is back, run the command again"
    assert re.match(said, driver.log.splitlines()[-1]), driver.log
    assert_nothing_left()
    again = Driver(tmp_path, cohort_path, *OPTIONS, "--resume")
    assert again.ends() == 0, again.log
    assert_accounted_for(again.store, 3)
    assert_nothing_left(own_ray=True)


def test_a_scheduler_that_ends_driver_and_ray_together_interrupts_the_sweep(
    tmp_path: Path, cohort_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    driver = Driver(tmp_path, cohort_path, *OPTIONS)
    driver.says(r"report 2/6")
    for process in [*psutil.Process(driver.process.pid).children(recursive=True), driver.process]:
        with contextlib.suppress(psutil.NoSuchProcess):  # it ended with its parent
            process.send_signal(signal.SIGTERM)
    status = driver.ends(20)
    assert status == 130, driver.log
    assert "Traceback" not in driver.log
    assert "the Ray cluster is lost" not in driver.log
    assert_nothing_left(own_ray=True)
    again = Driver(tmp_path, cohort_path, *OPTIONS, "--resume")
    assert again.ends() == 0, again.log
    assert_accounted_for(again.store, 3)
    assert_nothing_left(own_ray=True)
