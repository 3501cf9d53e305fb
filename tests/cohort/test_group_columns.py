"""Columns of a labels CSV that may hold the patients are told, and others are not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gansweep.cohort.sources.find import find_sources
from tests.cohort.scans import write_picture
from tests.cohort.test_label_tables import rows, write

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("name", ["case_id", "Lesion ID", "StudyInstanceUID", "study", "accession_no"])
def test_columns_that_may_group_images_are_told(root: Path, caplog: pytest.LogCaptureFixture, name: str) -> None:
    write(root, f"path,label,{name}", [f"{row}" for row in rows("a", "b", "c")])
    assert {source.patient for source in find_sources(root)[0]} == {""}
    told = (
        f"labels.csv: column {name.lower()!r} may group images of one patient and is not used; --patient-column uses it"
    )
    assert [record.getMessage() for record in caplog.records] == [told]


def test_columns_of_classes_and_readers_are_no_patients(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for number in range(12):
        write_picture(tmp_path / f"{number}.png", number)
    words = ("nodule,8", "none,14")
    lines = [
        f"{number}.png,{number},{words[number % 2]},R{(number + reader) % 5},e{number // 3},s{number // 2}"
        for number in range(12)
        for reader in range(2)
    ]
    write(tmp_path, "path,image_id,label,class_id,rad_id,exam_id,study", lines)
    find_sources(tmp_path)
    told = (
        "labels.csv: columns 'exam_id' and 'study' may group images of one patient and are not used; "
        "--patient-column uses one of them"
    )
    assert [record.getMessage() for record in caplog.records] == [told]


@pytest.mark.parametrize("cells", [("a",), tuple("abcdefghijkl")])
def test_columns_that_group_nothing_are_not_told(
    root: Path, caplog: pytest.LogCaptureFixture, cells: tuple[str, ...]
) -> None:
    write(root, "path,label,image_id,remark", [f"{row},{row[-1]}" for row in rows(*cells)])
    find_sources(root)
    assert not caplog.records
