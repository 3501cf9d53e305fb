"""Every benchmark starts, so that one which uses what was moved or renamed is found."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest
import torch

from benchmarks import families, generate_speed
from gansweep.export.loading import load_generator
from gansweep.testing.images import shapes
from trainables import TRAINABLES

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
SCRIPTS = sorted(path.name for path in BENCHMARKS.glob("*.py"))


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_finds_what_it_imports(script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(BENCHMARKS), *sys.path])
    runpy.run_path(str(BENCHMARKS / script), run_name="imported")


def test_there_are_scripts() -> None:
    assert len(SCRIPTS) > 20


def test_the_loops_beside_generate_write_no_image_that_is_not_counted(tmp_path: Path) -> None:
    export = generate_speed.write_generator(tmp_path / "export", 16)
    generator = load_generator(export, TRAINABLES, device=torch.device("cpu"))
    generate_speed.loop(generator, 5, tmp_path / "images", at_once=3)
    assert len(list((tmp_path / "images").iterdir())) == 5


def test_the_textbook_loop_runs_on_torchs_layers() -> None:
    data, spec = shapes(16, 16)
    row = families.measured(families._config("dcgan", 4), data, spec, iterations=1, rounds=1)
    assert row["textbook_ms"] is not None
