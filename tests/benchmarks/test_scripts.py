"""Every benchmark starts, so that one which uses what was moved or renamed is found."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest

from benchmarks import families
from gansweep.testing.images import shapes

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
SCRIPTS = sorted(path.name for path in BENCHMARKS.glob("*.py"))


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_finds_what_it_imports(script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(BENCHMARKS), *sys.path])
    runpy.run_path(str(BENCHMARKS / script), run_name="imported")


def test_there_are_scripts() -> None:
    assert len(SCRIPTS) > 20


def test_the_textbook_loop_runs_on_torchs_layers() -> None:
    data, spec = shapes(16, 16)
    row = families.measured(families._config("dcgan", 4), data, spec, iterations=1, rounds=1)
    assert row["textbook_ms"] is not None
