"""A sweep on three raylets under which processes are killed, stopped and told to end: the table of docs/reliability.md.

The tests follow one sweep through its night, in their order.
"""

from __future__ import annotations

import os
import re
import signal
from typing import TYPE_CHECKING, Any

import pytest

from tests.search.faults import (
    PATIENT,
    Driver,
    assert_accounted_for,
    assert_nothing_left,
    assert_nothing_reserved,
    processes,
    three_raylets,
    until,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.ray, pytest.mark.acceptance, pytest.mark.timeout(900)]

TRIALS = 40


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("night")


@pytest.fixture(scope="module")
def cluster(folder: Path) -> Iterator[Any]:
    with three_raylets(folder) as made:
        yield made


def _drive(folder: Path, cohort: Path, *words: str, trials: int = TRIALS) -> Driver:
    return Driver(folder, cohort, f"--trials={trials}", *PATIENT, *words)


@pytest.fixture(scope="module")
def night(cluster: Any, folder: Path, cohort_path: Path) -> Iterator[list[Driver]]:
    """The drivers of the sweep, one after the other."""
    assert cluster.address == os.environ["RAY_ADDRESS"]
    drivers: list[Driver] = [_drive(folder, cohort_path)]
    yield drivers
    for driver in drivers:
        driver.process.kill()


def _both_train(driver: Driver) -> None:
    """Waits until a worker on each node trains."""
    until(lambda: len(processes("RayTrainWorker")) == 2, 240, lambda: driver.log)
    said = len(re.findall(r"report \d/6", driver.log))
    driver.says(r"report \d/6", times=said + 4)


def test_a_killed_worker_is_replaced(night: list[Driver]) -> None:
    _both_train(night[-1])
    victim = processes("RayTrainWorker")[0]
    victim.kill()
    night[-1].says(r"trial \d+: its workers died; other workers go on from its last checkpoint")


def test_a_killed_trial_actor_is_replaced(night: list[Driver]) -> None:
    _both_train(night[-1])
    victim = processes("ResourceTrainable")[0]  # Tune's wrapper of the trial
    victim.kill()
    night[-1].says(r"trial \d+: its process died; it goes on from its last checkpoint")


def test_a_killed_train_controller_is_replaced(night: list[Driver]) -> None:
    _both_train(night[-1])
    victim = processes("TrainController")[0]
    victim.kill()
    night[-1].says(r"trial \d+: its worker group died \(.*\); another begins in its place")


def test_a_stopped_worker_is_replaced(night: list[Driver]) -> None:
    _both_train(night[-1])
    victim = processes("RayTrainWorker")[0]
    victim.suspend()
    night[-1].says(r"have said nothing for \d+ s, so they count as hung", timeout_s=400)
    until(lambda: not victim.is_running() or victim.status() == "zombie", 60)


def test_a_lost_raylet_costs_its_trial_no_result(night: list[Driver], cluster: Any) -> None:
    _both_train(night[-1])
    cluster.remove_node(cluster.workers.pop(), allow_graceful=False)
    # Whether the workers alone were there, or the trial's own process too, decides who notices.
    night[-1].says(r"waits for room on the cluster", timeout_s=300)
    cluster.workers.append(cluster.add_node(num_cpus=1, **cluster.size))
    said = len([line for line in night[-1].log.splitlines() if "report" in line or "completed" in line])
    night[-1].says(r"report|completed", times=said + 2, timeout_s=300)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
def test_a_driver_that_ends_can_be_gone_on_with(
    how: signal.Signals, night: list[Driver], folder: Path, cohort_path: Path
) -> None:
    driver = night[-1]
    if driver.process.poll() is not None:
        pytest.fail(f"the sweep had ended before:\n{driver.log}")
    driver.process.send_signal(how)
    status = driver.ends(90)
    assert status == (-signal.SIGKILL if how == signal.SIGKILL else 130), driver.log
    if how != signal.SIGKILL:
        assert "stopped; the same command with --resume goes on from here" in driver.log
        assert "running" not in set(driver.store.trials()["status"])
    assert_nothing_left()
    assert_nothing_reserved()
    more = TRIALS + 1 + [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP].index(how)
    night.append(_drive(folder, cohort_path, "--resume", trials=more))
    night[-1].says(r"report \d/6")


def test_two_drivers_do_not_share_a_sweep(night: list[Driver], folder: Path, cohort_path: Path) -> None:
    second = _drive(folder, cohort_path, "--resume")
    assert second.ends(120) == 2
    assert f"process {night[-1].process.pid} on " in second.log
    assert "is at work on this sweep" in second.log


@pytest.mark.timeout(1600)
def test_in_the_morning_everything_is_there(night: list[Driver]) -> None:
    assert night[-1].ends(1500) == 0, night[-1].log
    assert_accounted_for(night[-1].store, TRIALS + 3)
    assert_nothing_left()
    assert_nothing_reserved()
