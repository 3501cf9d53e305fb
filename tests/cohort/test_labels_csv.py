"""Labels CSVs as people write them: what is right is read, what was asked for and is missing is refused."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING

import pytest

from gansweep.cohort.sources.columns import Columns
from gansweep.cohort.sources.find import find_sources
from gansweep.errors import CohortError
from tests.cohort.scans import CLASSES, cohort_of, write_picture, write_slice

if TYPE_CHECKING:
    from pathlib import Path

ROWS = [("path", "label")] + [(f"images/{number}.png", CLASSES[number % 2]) for number in range(8)]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Eight pictures in images/, and no labels.csv yet."""
    for number in range(8):
        write_picture(tmp_path / "images" / f"{number}.png", number)
    return tmp_path


def write_rows(root: Path, rows: list[tuple[str, ...]], mark: str = ",") -> None:
    (root / "labels.csv").write_text("\n".join(mark.join(row) for row in rows) + "\n")


def found(root: Path, source: Path, **options: str) -> list[tuple[str, str]]:
    sources, rejected = find_sources(source, root / "labels.csv", columns=Columns(**options))
    assert not rejected
    assert all(item.path.is_file() for item in sources)
    return [(item.name, item.label) for item in sources]


def test_paths_beside_the_csv_and_not_below_the_source(root: Path) -> None:
    write_rows(root, ROWS)
    assert found(root, root / "images") == ROWS[1:]


def test_names_without_a_dot(tmp_path: Path) -> None:
    rows = [(f"IM{number:04d}", CLASSES[number % 2]) for number in range(4)]
    for number, (name, _) in enumerate(rows):
        write_slice(tmp_path / name, number, 1)
    write_rows(tmp_path, [("path", "label"), *rows])
    assert found(tmp_path, tmp_path) == rows


@pytest.mark.parametrize(("head", "mark"), [("path, label", ","), ("Path,LABEL ", ","), ("path,label", ";")])
def test_headers_and_semicolons(root: Path, head: str, mark: str) -> None:
    write_rows(root, [tuple(head.split(",")), *ROWS[1:]], mark)
    assert found(root, root) == ROWS[1:]


def test_paths_from_windows(root: Path) -> None:
    write_rows(root, [ROWS[0], *((path.replace("/", "\\"), label) for path, label in ROWS[1:])])
    assert [label for _, label in found(root, root)] == [label for _, label in ROWS[1:]]


def test_a_split_column_in_another_case_is_kept(root: Path) -> None:
    splits = ["train"] * 4 + ["test"] * 2 + ["val"] * 2
    rows = [(*row, split) for row, split in zip(ROWS[1:], splits, strict=True)]
    write_rows(root, [("path", "label", "Split"), *rows])
    cohort = cohort_of(root, root / "out")
    assert cohort.info.split == "given"
    assert cohort.manifest["split"].tolist() == splits


@pytest.mark.parametrize(
    ("option", "flag"),
    [("split", "--split-column"), ("paired", "--paired-column"), ("label", "--label-column")],
)
def test_a_column_that_was_asked_for_must_be_there(root: Path, option: str, flag: str) -> None:
    write_rows(root, ROWS)
    with pytest.raises(CohortError, match=rf"labels.csv: no column 'fold' \(columns: path, label\).*{flag}"):
        find_sources(root, columns=Columns(**{option: "Fold"}))
    (root / "labels.csv").unlink()
    with pytest.raises(CohortError, match="no CSV to take column 'Fold' from"):
        find_sources(root, columns=Columns(**{option: "Fold"}))


@pytest.mark.parametrize("name", ["x" * 300 + ".png", "a\0.png"])
@pytest.mark.parametrize("column", ["path", "mask", "paired"])
def test_a_name_that_no_file_can_have_is_not_there(root: Path, name: str, column: str) -> None:
    last = (name, CLASSES[1], "") if column == "path" else (*ROWS[8], name)
    write_rows(root, [(*ROWS[0], "mask" if column == "path" else column), *((*row, "") for row in ROWS[1:8]), last])
    if column == "path":
        (root / ROWS[8][0]).unlink()
    sources, rejected = find_sources(root)
    assert len(sources) == 7
    assert [item.reason for item in rejected] == [f"labels.csv line 9 names a file that does not exist ({column})"]
    if column == "path":
        assert len(cohort_of(root, root / "out", skip_bad=True).manifest) == 7  # and its path is written


def test_a_remark_may_hold_anything(root: Path) -> None:
    write_rows(root, [("path", "label", "remark"), *((*row, "a\0" + "y" * 5000) for row in ROWS[1:])])
    assert found(root, root) == ROWS[1:]


def test_two_columns_of_one_name(root: Path) -> None:
    write_rows(root, [("path", "label", "Label "), *((*row, "other") for row in ROWS[1:])])
    with pytest.raises(CohortError, match="two columns called 'label'"):
        find_sources(root)


def lines(mark: str = ",") -> list[str]:
    return [mark.join(row) for row in ROWS]


@pytest.mark.parametrize(
    "data",
    [
        ("\r\n".join([*lines(), ",,", " , ", ""]) + "\r\n").encode(),
        ("sep=;\r\n" + "\r\n".join(lines(";"))).encode("utf-8-sig"),
        "\r\n".join(lines("\t")).encode("utf-16"),  # Excel's "Unicode text"
        "\n".join(lines()).encode("utf-16-le"),
        "\n".join(lines()).encode("utf-16-be"),
        "\r".join(lines()).encode(),  # Excel for macOS, "CSV (Macintosh)"
        ("\n\n" + "\n".join(f"{line},," for line in lines())).encode(),
        "\n".join(line.replace(",", "\u00a0,\u200b") for line in lines()).encode(),
        "\n".join(f'"{line.replace(",", chr(34) + ";" + chr(34))}";"a, b, c"' for line in lines()).encode(),
    ],
    ids=["empty rows", "sep=;", "utf-16", "utf-16-le", "utf-16-be", "macOS", "empty columns", "blanks", "remark"],
)
def test_csvs_as_spreadsheets_write_them(root: Path, data: bytes) -> None:
    (root / "labels.csv").write_bytes(data.replace(b'"path";"label";"a, b, c"', b"path;label;remark"))
    assert found(root, root) == ROWS[1:]


def test_line_numbers_count_empty_lines(root: Path) -> None:
    (root / "labels.csv").write_text("sep=,\n\npath,label\n\nimages/0.png,control\n,,\nimages/1.png,\n")
    _, rejected = find_sources(root)
    assert [item.reason for item in rejected if item.bad] == ["labels.csv line 7 has no label"]


def test_any_column_for_the_path(root: Path) -> None:
    write_rows(root, [("Image File", "label"), *ROWS[1:]])
    assert found(root, root, path="image file") == ROWS[1:]
    with pytest.raises(CohortError, match=r"no column 'path'.*--path-column: --path-column 'image file'"):
        find_sources(root)
    with pytest.raises(CohortError, match=r"no column 'gone'.*--path-column"):
        find_sources(root, columns=Columns(path="gone"))
    (root / "labels.csv").unlink()
    with pytest.raises(CohortError, match="no CSV to take column 'gone' from"):
        find_sources(root, columns=Columns(path="gone"))


def test_names_in_another_case_or_unicode_form(root: Path) -> None:
    write_picture(root / "images" / unicodedata.normalize("NFD", "für.png"), 8)
    rows = [("IMAGES/0.PNG", "control"), (f"images/{unicodedata.normalize('NFC', 'für')}.png", "fahr")]
    write_rows(root, [ROWS[0], *rows])
    sources, rejected = find_sources(root)
    assert [source.path.stem for source in sources] == ["0", unicodedata.normalize("NFD", "für")]
    assert [item.bad for item in rejected] == [False] * 7


def test_unlisted_images_are_left_out_and_counted(root: Path) -> None:
    write_rows(root, ROWS[:7])
    write_picture(root / "more" / "deep" / "9.png", 9)
    (root / "archive.zip").write_bytes(b"PK")
    cohort = cohort_of(root, root.parent / "unlisted")
    assert len(cohort.manifest) == 6
    assert cohort.info.left_out == {
        "has no row in the labels CSV": 3,
        "an archive, which is not opened": 1,
    }
