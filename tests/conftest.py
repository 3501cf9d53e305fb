"""How tests are dealt to the processes that run them, and the Ray cluster that tests share."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from xdist.scheduler import LoadScopeScheduling

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]


@cache
def starts_ray(path: str) -> bool:
    """Whether a test of this file, relative to the root of the repository, starts Ray."""
    return "mark.ray" in (ROOT / path).read_text("utf-8")


class ByFile(LoadScopeScheduling):
    """Keeps the tests of a file together, since they share fixtures, and all that start Ray.

    A Ray cluster takes every core. Two at once would wait for each other until a test's time is up. (`--dist loadgroup`
    does the same with marks, but pytest 9 ignores the node ids that it writes.)
    """

    def _split_scope(self, nodeid: str) -> str:
        path = nodeid.partition("::")[0]
        return "ray" if starts_ray(path) else path


@pytest.hookimpl(optionalhook=True)  # unknown without xdist
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    """Tells xdist how to deal."""
    return ByFile(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts tests that start Ray first: they run one after another, and the others beside them."""
    items.sort(key=lambda item: not starts_ray(item.nodeid.partition("::")[0]))


@pytest.fixture(scope="session")
def head() -> Iterator[str]:
    """The address of a Ray cluster of two CPUs that stands until all tests have run: to start one takes seconds.

    It keeps its files in a folder of its own, so that nothing else on this machine joins it.
    """
    # Ray's sockets lie in it, and the path of a socket has at most 107 characters.
    with tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        words = [
            "start",
            "--head",
            "--block",
            "--port=0",
            "--num-cpus=2",
            "--include-dashboard=false",
            "--node-ip-address=127.0.0.1",
        ]
        command = [sys.executable, "-m", "ray.scripts.scripts", *words, f"--temp-dir={folder}", "--disable-usage-stats"]
        # It listens on this machine alone, and whether a client was told of tokens depends on what imported Ray.
        environment = {**os.environ, "RAY_AUTH_MODE": "disabled"}
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)
        address = Path(folder, "ray_current_cluster")
        deadline = time.monotonic() + 120
        while not address.is_file():
            assert process.poll() is None, "Ray did not start"
            assert time.monotonic() < deadline, "Ray did not start within two minutes"
            time.sleep(0.2)
        yield address.read_text("utf-8").strip()
        process.terminate()
        process.wait(60)


@pytest.fixture(scope="module")
def standing_cluster(head: str) -> Iterator[str]:
    """What a file's tests start with Ray, in this process or below it, runs on the cluster at this address."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("RAY_ADDRESS", head)
        yield head
