"""Every benchmark starts, so that one which uses what was moved or renamed is found."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from benchmarks import families
from gansweep.testing.images import shapes

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"

IMPORT_ALL = """
import runpy, sys
for script in sys.argv[1:]:
    try:
        runpy.run_path(script, run_name="imported")
    except Exception as error:
        print(script, type(error).__name__, error)
"""


def test_every_script_finds_what_it_imports() -> None:
    scripts = sorted(str(path) for path in BENCHMARKS.glob("*.py"))
    assert len(scripts) > 20
    command = [sys.executable, "-c", IMPORT_ALL, *scripts]
    ended = subprocess.run(command, check=True, capture_output=True, text=True, env={"PYTHONPATH": str(BENCHMARKS)})
    assert ended.stdout == ""


def test_the_textbook_loop_runs_on_torchs_layers() -> None:
    data, spec = shapes(16, 16)
    row = families.measured(families._config("dcgan", 4), data, spec, iterations=1, rounds=1)
    assert row["textbook_ms"] is not None
