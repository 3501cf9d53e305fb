"""The datasheet of a cohort tells what it is and nobody who is in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gansweep.cohort.dataset import Cohort
from gansweep.export.datasheet import DATASHEET, datasheet

if TYPE_CHECKING:
    from pathlib import Path


def test_it_stands_in_the_export_with_counts_and_no_patient(exported: Path, cohort: Path) -> None:
    opened = Cohort.open(cohort)
    text = (exported / DATASHEET).read_text()
    assert text == datasheet(opened)
    assert opened.content_hash in text
    # 12 patients, a slice each, half of them diseased: 8, 2 and 2 in the splits; small cells are not counted.
    train = int((opened.manifest["split"] == "train").sum())
    (row,) = (line for line in text.splitlines() if line.startswith("| train |"))
    assert row.endswith(f"| {train} | {train} |")
    (row,) = (line for line in text.splitlines() if line.startswith("| val |"))
    assert "under 5" in row
    for name in {*opened.manifest["patient"], *opened.manifest["image_id"]}:
        assert str(name) not in text
    assert "PHANTOM" not in text
    assert str(cohort) not in text
    assert DATASHEET in (exported / "SHA256SUMS").read_text()
