"""How tests are dealt to the processes that run them (`pytest -n`, which `make test` uses)."""

from __future__ import annotations

import pytest


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A file's tests share its fixtures, so they stay in one process; so do all that start Ray, which take every core.

    Several clusters at once on a few cores would wait for each other until a test's time is up.
    """
    for item in items:
        group = "ray" if item.get_closest_marker("ray") else str(item.path)
        item.add_marker(pytest.mark.xdist_group(group))
