"""What the tests of faults count as left over can be seen by them."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import psutil
import pytest

from tests.search import faults
from tests.search.faults import OURS, RAYS, assert_nothing_left, processes, until, zombies

if TYPE_CHECKING:
    from collections.abc import Iterator

SLEEP = "import time; print(1, flush=True); time.sleep(60)"


@pytest.fixture
def child(request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[bytes]]:
    """A process of the title that a test asks for."""
    process = subprocess.Popen([request.param, "-c", SLEEP], executable=sys.executable, stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.read(1)
    yield process
    process.kill()
    process.wait()


@pytest.mark.parametrize("child", ["ray::_RayTrainWorker"], indirect=True)
def test_a_zombie_is_left(child: subprocess.Popen[bytes]) -> None:
    assert [process.pid for process in processes(OURS)] == [child.pid]
    assert not zombies()
    child.kill()
    until(lambda: psutil.Process(child.pid).status() == psutil.STATUS_ZOMBIE, 10)
    assert not processes(OURS)
    assert [process.pid for process in zombies()] == [child.pid]
    with pytest.raises(AssertionError, match=str(child.pid)):
        assert_nothing_left(0.5)
    child.wait()
    assert_nothing_left(0.5)


@pytest.mark.parametrize(
    "child",
    [
        "/site-packages/ray/core/src/ray/raylet/raylet ",
        "/site-packages/ray/core/src/ray/gcs/gcs_server ",
        "/site-packages/ray/dashboard/dashboard.py ",
        "/site-packages/ray/dashboard/agent.py ",
        "/site-packages/ray/_private/runtime_env/agent/main.py ",
        "/site-packages/ray/_private/log_monitor.py ",
        "/site-packages/ray/autoscaler/_private/monitor.py ",
        "/site-packages/ray/_private/workers/default_worker.py",
        "ray::IDLE",
    ],
    indirect=True,
)
def test_a_ray_of_a_driver_is_left(child: subprocess.Popen[bytes]) -> None:
    assert_nothing_left(0.5)
    assert [process.pid for process in processes(RAYS)] == [child.pid]
    with pytest.raises(AssertionError, match="not within"):
        assert_nothing_left(0.5, own_ray=True)


@pytest.mark.parametrize("child", ["ray::_RayTrainWorker"], indirect=True)
def test_what_others_run_here_is_not_counted(child: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(faults.os.environ, faults.MARK, "another")
    assert child.poll() is None
    assert_nothing_left(0.5, own_ray=True)
