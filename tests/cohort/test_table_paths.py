"""Paths in a CSV that begin with a folder of somebody else, and tables that are not used."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gansweep.cohort.sources.find import find_sources
from tests.cohort.scans import CLASSES, write_picture
from tests.cohort.test_label_tables import rows, write

if TYPE_CHECKING:
    from pathlib import Path


def test_paths_that_begin_with_the_name_of_the_folder(root: Path) -> None:
    lines = rows("x")
    write(root, "path,label,note", [f"source/{line}" for line in lines[:6]] + [f"source\\{line}" for line in lines[6:]])
    sources, rejected = find_sources(root)
    assert [source.path.name for source in sources] == [f"{number}.png" for number in range(12)]
    assert rejected == []


@pytest.mark.parametrize("start", ["set-v1/", "/kaggle/input/a/b/c/d/e/f/", "C:\\Users\\Meier\\", "/Meier/source/"])
def test_paths_below_a_folder_that_is_not_here(root: Path, caplog: pytest.LogCaptureFixture, start: str) -> None:
    for path in list(root.iterdir()):
        (root / "images").mkdir(exist_ok=True)
        path.rename(root / "images" / path.name)
    lines = [f"{start}images/{line}" for line in rows("x")]
    write(root, "path,label,note", [line.replace("/", "\\") if "\\" in start else line for line in lines])
    sources, rejected = find_sources(root)
    assert [source.path for source in sources] == [root / "images" / f"{number}.png" for number in range(12)]
    assert [source.name for source in sources] == [f"images/{number}.png" for number in range(12)]
    assert rejected == []
    assert "labels.csv: all paths begin with a folder that is not here" in caplog.text
    assert "Meier" not in caplog.text


def test_paths_of_several_folders_are_no_prefix(root: Path) -> None:
    write(root, "path,label,note", [f"{'ab'[number % 2]}/{line}" for number, line in enumerate(rows("x"))])
    sources, rejected = find_sources(root)
    assert (len(sources), len([item for item in rejected if item.bad])) == (0, 12)


def test_a_table_that_dos_ended(root: Path) -> None:
    write(root, "path,label,note", rows("x"))
    (root / "labels.csv").write_bytes((root / "labels.csv").read_bytes() + b"\x1a")
    assert len(find_sources(root)[0]) == 12


@pytest.mark.parametrize("name", ["metadata.csv", "Labels.xlsx"])
def test_a_table_that_is_not_used_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str) -> None:
    for number in range(8):
        write_picture(tmp_path / CLASSES[number % 2] / f"{number}.png", number)
    find_sources(tmp_path)
    assert not caplog.text
    (tmp_path / name).write_text("path,label\n")
    (tmp_path / ".~lock.labels.csv").write_text("")
    find_sources(tmp_path)
    suffix = name.partition(".")[2]
    assert (
        f"labels come from the folders, not from 1 table beside them (.{suffix}): --labels names a CSV" in caplog.text
    )
