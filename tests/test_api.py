"""The library's functions, called with arguments of a wrong type."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import gansweep
from gansweep.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.mark.parametrize(
    ("function", "arguments", "options"),
    [
        (gansweep.ingest, (5, "out"), {}),
        (gansweep.ingest, ("scans", None), {}),
        (gansweep.sweep, (None,), {"cohort": "cohort", "storage": "runs", "name": "fahr", "trials": 1}),
        (gansweep.sweep, ("smoke",), {"cohort": 5, "storage": "runs", "name": "fahr", "trials": 1}),
        (gansweep.confirm, (None,), {}),
        (gansweep.repeat, (5,), {}),
        (gansweep.replay, (["a", "b"],), {}),
        (gansweep.ablate, ({},), {}),
        (gansweep.answer, (None,), {"time_budget": "1h"}),
        (gansweep.export_best, (None, "best"), {}),
        (gansweep.train, ({"family": "dcgan"}, "out"), {"cohort": "cohort"}),
        (gansweep.generate, (None, 4, "images"), {}),
        (gansweep.generate, ("best", 4, "images"), {"space": 5}),
        (gansweep.score, ("real", 5), {}),
    ],
)
def test_an_argument_that_is_no_path_is_refused_in_one_line(
    function: Callable[..., Any],
    arguments: tuple[Any, ...],
    options: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="a path is needed, not ") as refused:
        function(*arguments, **options)
    assert "\n" not in str(refused.value)
    assert list(tmp_path.iterdir()) == []


def test_a_space_may_be_a_path(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.yaml: No such file"):
        gansweep.sweep(tmp_path / "none.yaml", cohort="cohort")
