"""How tests are dealt to the processes that run them: `make test` uses as many as there are cores."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

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
