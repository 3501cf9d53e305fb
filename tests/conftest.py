"""How tests are dealt to the processes that run them: `make test` uses as many as there are cores."""

from __future__ import annotations

import gc
import sys
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

ROOT = Path(__file__).parents[1]
LONG = ("tests/trainables/", "tests/scoring/", "tests/examples/", "tests/export/")


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


def _shares_ray(item: pytest.Item) -> bool:
    mark = item.get_closest_marker("ray")
    return mark is not None and bool(mark.kwargs.get("shared"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts tests that start Ray first, for they run one after another, and the others beside them.

    Of these, those that share it come first. Then come the folders whose files take longest. At the end, a process
    would wait for another's long file.
    """
    items.sort(key=_turn)


def _turn(item: pytest.Item) -> tuple[bool, bool, bool]:
    path = item.nodeid.partition("::")[0]
    return not starts_ray(path), not _shares_ray(item), not path.startswith(LONG)


def pytest_collection_finish() -> None:
    """Keeps the garbage collector from looking through all imported modules again and again."""
    gc.collect()
    gc.freeze()


def pytest_unconfigure() -> None:
    """Lets the interpreter clear at its end what was frozen; some libraries complain of leaks otherwise."""
    gc.unfreeze()


_RAY = ExitStack()
"""What has been started for the tests marked `ray(shared=True)`. Their own `ray_cluster` joins it."""


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Starts Ray once for tests in a row that share it, and ends it before any other test."""
    if not _shares_ray(item):
        _RAY.close()
        return
    import ray

    from gansweep.search.cluster import ray_cluster

    if not ray.is_initialized():
        _RAY.enter_context(ray_cluster())


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item) -> None:
    """Fails a test that starts Ray and is not marked so: those after it would find it. Many calls of Ray start it."""
    ray = sys.modules.get("ray")
    if item.get_closest_marker("ray") is None and ray is not None and ray.is_initialized():
        ray.shutdown()
        pytest.fail("it has started Ray and is not marked with `ray`")


@pytest.hookimpl(trylast=True)  # after the fixtures of an interrupted test, which may need it
def pytest_sessionfinish() -> None:
    """Ends Ray."""
    _RAY.close()


@pytest.fixture
def without_program(monkeypatch: pytest.MonkeyPatch) -> None:
    """Exports without the traced program and its ONNX file, which take most of the time and are not in question."""
    monkeypatch.setattr("gansweep.export.bundle.write_program", lambda *_: None)
