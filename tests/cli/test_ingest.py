"""`gansweep ingest` as it is typed: what is printed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gansweep.cli import main
from tests.cohort.scans import write_picture

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def pictures(root: Path, classes: tuple[str, str] = ("a", "b")) -> Path:
    for number in range(8):
        write_picture(root / classes[number % 2] / f"{number}.png", number)
    return root


def test_the_positive_class_is_named(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    source = pictures(tmp_path / "source", ("ill", "healthy"))
    assert main(["ingest", str(source), str(tmp_path / "out"), "--size=16"]) == 0
    assert "\npositive: ill (what sensitivity counts)\n" in capfd.readouterr().out
