"""Labels CSVs that mean one thing and say another: columns of patients, rows given twice, cells cut in two."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pandas as pd
import pytest

from gansweep.cohort.ingest.run import IngestSettings, ingest
from gansweep.cohort.sources.columns import Columns
from gansweep.cohort.sources.find import find_sources
from gansweep.cohort.sources.words import label_form, look_alikes
from gansweep.errors import CohortError
from tests.cohort.scans import CLASSES, cohort_of, write_picture

if TYPE_CHECKING:
    from pathlib import Path


def rows(*cells: str) -> list[str]:
    """`path,label` of the twelve pictures with one more cell each, repeated in turn."""
    return [f"{number}.png,{CLASSES[number % 2]},{cells[number % len(cells)]}" for number in range(12)]


def write(root: Path, head: str, lines: list[str]) -> None:
    (root / "labels.csv").write_text("\n".join([head, *lines]) + "\n")


@pytest.mark.parametrize(
    "name", ["PatientID", "Patient ID", "patient", "Patient-Nr", "subject_id", "Subject", "participant_id", "MRN"]
)
def test_the_patients_column_under_other_names(root: Path, caplog: pytest.LogCaptureFixture, name: str) -> None:
    write(root, f"path,label,{name}", [f"{n}.png,{CLASSES[n % 2]},{n // 4 * 2 + n % 2}" for n in range(12)])
    with caplog.at_level(logging.INFO):
        cohort = cohort_of(root, root.parent / "out")
    assert cohort.manifest["patient"].nunique() == 6
    assert f"labels.csv: column {name.lower()!r} names the patients; --patient-column chooses another" in caplog.text


def test_the_patients_column_may_be_named(root: Path) -> None:
    write(root, "path,label,patient_id,Lesion", [f"{row},L{n // 6}" for n, row in enumerate(rows("x"))])
    sources, _ = find_sources(root, columns=Columns(patient="lesion"))
    assert [source.patient for source in sources] == ["L0"] * 6 + ["L1"] * 6
    assert {source.patient for source in find_sources(root)[0]} == {"x"}
    with pytest.raises(CohortError, match=r"no column 'gone'.*--patient-column"):
        find_sources(root, columns=Columns(patient="gone"))


def test_a_column_that_looks_like_a_split_is_told(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(root, "path,label,Set", rows("train", "train", "validation", "Test"))
    sources, _ = find_sources(root)
    assert {source.split for source in sources} == {""}
    told = "labels.csv: column 'set' looks like a split and is not used; --split-column uses it"
    assert [record.getMessage() for record in caplog.records] == [told]
    sources, _ = find_sources(root, columns=Columns(split="set"))
    assert {source.split for source in sources} == {"train", "val", "test"}


def test_identifiers_that_a_spreadsheet_rounded_are_told(root: Path) -> None:
    write(root, "path,label,patient_id", [f"{n}.png,{CLASSES[n % 2]},1.2{n}E+11" for n in range(12)])
    warnings = ingest(root, root.parent / "out", IngestSettings(size=16)).info.warnings
    assert any(line.startswith("12 patients have identifiers like 1.2E+05") for line in warnings)


@pytest.mark.parametrize("line", ["0.png,control,left", "0.png,control, left side", '0.png,control,"a",b'])
def test_a_cell_cut_in_two_is_refused(root: Path, line: str) -> None:
    write(root, "path,label", [line, "1.png,fahr"])
    with pytest.raises(CohortError) as told:
        find_sources(root)
    assert str(told.value) == (
        "labels.csv: line 2 has more cells than there are columns; write a cell that contains the separator in quotes"
    )


def test_empty_cells_after_the_columns_are_none(root: Path) -> None:
    write(root, "path,label", [f"{row},, ," for row in rows("")])
    assert len(find_sources(root)[0]) == 12


def test_a_row_given_twice_is_one(root: Path) -> None:
    write(root, "path,label,patient_id", [*rows("", "")[:11], "11.png,fahr,7", "./11.png,fahr,007"])
    made = ingest(root, root.parent / "out", IngestSettings(size=16))
    assert sum(made.info.images.values()) == 12
    assert made.info.left_out == {"is listed more than once": 1}
    assert not [line for line in made.info.warnings if "volume or study" in line]


def test_a_file_of_two_patients_is_refused(root: Path) -> None:
    write(root, "path,label,patient_id", [*rows("a", "b"), "3.png,fahr,c"])
    with pytest.raises(CohortError) as told:
        find_sources(root)
    assert str(told.value) == (
        "labels.csv line 14: the file has another patient than on line 5; correct the rows: a file has one patient"
    )


@pytest.mark.parametrize(
    "word", ["N.A.", "not available", "#VALUE!", "#REF!", ".", "...", "\u2026", "\u2013", "Missing"]
)
def test_more_words_for_no_label(root: Path, word: str) -> None:
    write(root, "path,label", [*(row.rpartition(",")[0] for row in rows("")[:11]), f'11.png,"{word}"'])
    _, rejected = find_sources(root)
    assert [item.reason for item in rejected] == [
        f"labels.csv line 13 has no label ({word!r} stands for a missing value)"
    ]


@pytest.mark.parametrize("word", ["unknown", "UNK", "-9", "999"])
def test_words_that_may_mean_no_label_are_told(root: Path, word: str) -> None:
    write(root, "path,label", [f"{n}.png,{['control', 'fahr', word][n % 3]}" for n in range(12)])
    warnings = ingest(root, root.parent / "out", IngestSettings(size=16)).info.warnings
    assert f"class {word!r} may stand for missing labels; --classes takes only the others" in warnings


@pytest.mark.parametrize(("label", "expected"), [("Effusion|Mass", 1), ("effusion, mass", 1), ("Mass/nodule-2", 0)])
def test_labels_that_combine_others_are_told(root: Path, label: str, expected: int) -> None:
    write(root, "path,label", [f'{n}.png,"{["control", "Effusion", label][n % 3]}"' for n in range(12)])
    warnings = ingest(root, root.parent / "out", IngestSettings(size=16)).info.warnings
    told = f"class {label!r} combines other classes, and counts as a class of its own; --classes takes only the others"
    assert [line for line in warnings if "combines" in line] == expected * [told]


@pytest.mark.parametrize(
    ("written", "form"),
    [
        ("no\u00a0fahr", "no fahr"),
        ("no  fahr ", "no fahr"),
        ("nor\u200bmal", "normal"),
        ("\ufefffahr", "fahr"),
        ("fa\u00adhr", "fahr"),
        ("O\u0308dem", "\u00d6dem"),
        ("\u0645\u06cc\u200c\u0628", "\u0645\u06cc\u200c\u0628"),
    ],
)
def test_labels_that_look_equal_are_equal(root: Path, written: str, form: str) -> None:
    assert label_form(written) == form
    write(root, "path,label", [f"{n}.png,{['control', form, written][n % 3]}" for n in range(12)])
    assert {source.label for source in find_sources(root)[0]} == {"control", form}


@pytest.mark.parametrize(
    ("labels", "pairs"),
    [
        ({"0", "0.0", "1", "01"}, [("0", "0.0"), ("01", "1")]),
        ({"fahr", "farh"}, [("fahr", "farh")]),
        ({"tumor", "tumour"}, [("tumor", "tumour")]),
        ({"haemorrhage", "hemorrhage"}, [("haemorrhage", "hemorrhage")]),
        ({"typical", "atypical", "grade1", "grade2", "1", "-1", "10", "T1", "T2"}, []),
    ],
)
def test_numbers_and_misspelled_labels_look_alike(labels: set[str], pairs: list[tuple[str, str]]) -> None:
    assert look_alikes(labels) == pairs


@pytest.mark.parametrize("encoding", ["utf-32", "utf-16", "utf-8-sig"])
@pytest.mark.parametrize("mark", ["|", "\t", ";"])
def test_encodings_and_separators(root: Path, encoding: str, mark: str) -> None:
    text = "path,label,note\n" + "\n".join(rows("\u00e4"))
    (root / "labels.csv").write_bytes(text.replace(",", mark).encode(encoding))
    sources, rejected = find_sources(root)
    assert ([source.label for source in sources], rejected) == (list(CLASSES) * 6, [])


@pytest.mark.parametrize("first", ['"sep=;"', "SEP=;", '"sep=;";;', "     \n      \nsep=;"])
def test_the_line_that_names_the_separator(root: Path, first: str) -> None:
    write(root, first, ["path;label;note", *(row.replace(",", ";") for row in rows("a"))])
    sources, rejected = find_sources(root)
    assert ([source.label for source in sources], rejected) == (list(CLASSES) * 6, [])


def test_numbers_that_excel_keeps_as_text(root: Path) -> None:
    patients = [("7", "'007", '="07"')[n // 2] if n < 6 else f"'P{n}" for n in range(12)]
    write(root, "path,label,patient_id", [f'{n}.png,="{n // 6}",{patients[n]}' for n in range(12)])
    sources, _ = find_sources(root)
    assert [source.label for source in sources] == ["0"] * 6 + ["1"] * 6
    assert [source.patient for source in sources] == [
        "7",
        "7",
        "007",
        "007",
        "07",
        "07",
        *(f"P{n}" for n in range(6, 12)),
    ]


def test_a_patient_whose_zeros_excel_keeps_is_told(root: Path) -> None:
    numbers = [f"{n // 2}" if n % 2 else f'="00{n // 2}"' for n in range(12)]
    write(root, "path,label,patient_id", [f"{n}.png,{CLASSES[n // 2 % 2]},{numbers[n]}" for n in range(12)])
    cohort = cohort_of(root, root.parent / "out")
    assert cohort.manifest["patient"].nunique() == 6
    assert any(line.startswith("6 patients have identifiers that differ only in") for line in cohort.info.warnings)


def test_the_labels_file_in_another_case(root: Path) -> None:
    write(root, "path,label", [row.rpartition(",")[0] for row in rows("")])
    (root / "labels.csv").rename(root / "Labels.CSV")
    assert len(find_sources(root)[0]) == 12
    (root / "LABELS.csv").write_text("path,label\n")
    with pytest.raises(CohortError, match=r"has LABELS.csv and Labels.CSV; name one of them with --labels"):
        find_sources(root)


def test_an_empty_labels_file(root: Path) -> None:
    (root / "labels.csv").write_text("\n\n")
    with pytest.raises(CohortError, match=r"labels.csv: is empty; write the names of the columns on its first line"):
        find_sources(root)


def test_names_without_suffix_or_folder(root: Path) -> None:
    write_picture(root / "part 1" / "ISIC_01.png", 20)
    write_picture(root / "part 2" / "ISIC_02.JPG", 21)
    write_picture(root / "part 2" / "twice.png", 22)
    write_picture(root / "part 1" / "twice.png", 23)
    write(root, "path,label,patient_id", ["ISIC_01,control,1", "isic_02,fahr,2", "part 2\\ISIC_02,fahr,2"])
    sources, rejected = find_sources(root)
    assert [source.path.name for source in sources] == ["ISIC_01.png", "ISIC_02.JPG"]
    # The identifiers 1 and 2 do not list the images 1.png and 2.png.
    reasons = pd.Series([item.reason for item in rejected]).value_counts().to_dict()
    assert reasons == {"has no row in the labels CSV": 14, "is listed more than once": 1}
    write(root, "path,label", ["twice,control"])
    assert [item.reason for item in find_sources(root)[1] if item.bad] == [
        "labels.csv line 2 names several files, which differ in folder or suffix (path)"
    ]


def write_images_and_masks(root: Path, stem: str) -> None:
    """Eight images and their masks, in two folders, with the same names."""
    for number in range(8):
        for folder in ("images", "masks"):
            write_picture(root / folder / f"{stem.format(number)}.png", number)


@pytest.mark.parametrize("end", ["", ".png"])
def test_a_name_does_not_mean_the_mask(tmp_path: Path, end: str) -> None:
    write_images_and_masks(tmp_path, "ISIC_{:07d}")
    write(tmp_path, "path,label", [f"ISIC_{number:07d}{end},{'ab'[number % 2]}" for number in range(8)])
    sources, rejected = find_sources(tmp_path)
    assert rejected == []
    for source in sources:
        assert source.path.parent.name == "images"
        assert source.mask == tmp_path / "masks" / source.path.name


@pytest.mark.parametrize("cell", ["{}.png", "{}"])
def test_a_mask_cell_means_the_mask(tmp_path: Path, cell: str) -> None:
    write_images_and_masks(tmp_path, "{}")
    write(tmp_path, "path,label,mask", [f"images/{number}.png,c,{cell.format(number)}" for number in range(8)])
    sources, rejected = find_sources(tmp_path)
    assert rejected == []
    assert [source.mask for source in sources] == [tmp_path / "masks" / f"{number}.png" for number in range(8)]
    write(tmp_path, "path,label,mask", ["images/0.png,c,images/0.png"])
    bad = [item.reason for item in find_sources(tmp_path)[1] if item.bad]
    assert bad == ["labels.csv line 2 names the image as its own mask"]


@pytest.mark.parametrize("suffix", ["json", "xml", "nrrd"])
def test_a_column_of_other_files_names_no_masks(tmp_path: Path, suffix: str) -> None:
    for number in range(8):
        write_picture(tmp_path / f"{number}.png", number)
    write(tmp_path, "path,label,segmentation", [f"{number}.png,c,{number}.{suffix}" for number in range(8)])
    sources, rejected = find_sources(tmp_path)
    assert (len(sources), rejected) == (8, [])


def test_a_guessed_column_may_have_gaps(tmp_path: Path) -> None:
    for number in range(4):
        write_picture(tmp_path / f"{number}.png", number)
        write_picture(tmp_path / f"{number}_mask.png", number)
    cells = ["0_mask.png", "", "", ""]
    write(tmp_path, "path,label,segmentation", [f"{number}.png,c,{cell}" for number, cell in enumerate(cells)])
    sources, rejected = find_sources(tmp_path)
    assert rejected == []
    assert [source.mask for source in sources] == [tmp_path / f"{number}_mask.png" for number in range(4)]


def test_a_row_that_names_a_folder(root: Path) -> None:
    (root / "series").mkdir()
    write(root, "path,label", ["series,control"])
    bad = [item.reason for item in find_sources(root)[1] if item.bad]
    assert bad == ["labels.csv line 2 names a folder instead of a file (path)"]


@pytest.mark.parametrize(
    "column", ["mask_path", "segmentation", "Seg File", "lesion_mask", "label_map", "GT", "ROI mask file path"]
)
def test_other_names_of_the_masks(tmp_path: Path, column: str) -> None:
    for number in range(8):
        write_picture(tmp_path / "a" / f"{number}.png", number)
        write_picture(tmp_path / "b" / f"m{number}.png", number)
    write(tmp_path, f"path,label,{column}", [f"a/{number}.png,c,b/m{number}.png" for number in range(8)])
    sources, rejected = find_sources(tmp_path)
    assert rejected == []
    assert [source.mask for source in sources] == [tmp_path / "b" / f"m{number}.png" for number in range(8)]
    write(tmp_path, f"path,label,{column}", [f"a/{number}.png,c,yes" for number in range(8)])
    sources, rejected = find_sources(tmp_path)
    assert [source.mask for source in sources] == 8 * [None]
    assert len(rejected) == 8


def test_two_columns_of_masks_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for number in range(8):
        write_picture(tmp_path / "a" / f"{number}.png", number)
        write_picture(tmp_path / "b" / f"m{number}.png", number)
    row = "a/{0}.png,c,b/m{0}.png,b/m{0}.png"
    write(tmp_path, "path,label,mask_path,seg_path", [row.format(number) for number in range(8)])
    sources, _ = find_sources(tmp_path)
    assert [source.mask for source in sources] == 8 * [None]
    told = "labels.csv: columns mask_path and seg_path may name masks and are not used; call one mask"
    assert [record.getMessage() for record in caplog.records] == [told]


def test_files_of_an_unused_column_are_left_out(tmp_path: Path) -> None:
    for number in range(8):
        write_picture(tmp_path / f"{number}.png", number)
    write(tmp_path, "path,label,path2", [f"{number}.png,c,{number + 4}.png" for number in range(4)])
    sources, rejected = find_sources(tmp_path)
    assert len(sources) == 4
    assert [item.reason for item in rejected] == 4 * ["has no row in the labels CSV"]


@pytest.mark.parametrize(
    "text",
    ["path;label;note, long, with, commas\n0.png;fahr;x\n", 'path,label\n"0.png",fahr\n', "path\tlabel\n0.png\tfahr\n"],
)
def test_the_separator_is_what_the_rows_have(root: Path, text: str) -> None:
    (root / "labels.csv").write_text(text)
    sources, _ = find_sources(root)
    assert [(source.name, source.label) for source in sources] == [("0.png", "fahr")]


def test_dropping_leaks_needs_a_given_split(root: Path) -> None:
    write(root, "path,label,split", rows("train", "train", "val", "val", "test", "test"))
    with pytest.raises(CohortError) as told:
        ingest(root, root.parent / "out", IngestSettings(size=16, drop_leaks=True, resplit=True))
    assert str(told.value) == (
        "--drop-leaks: does nothing, because --resplit makes a new split; leave --drop-leaks out"
    )
    write(root, "path,label", [row.rpartition(",")[0] for row in rows("")])
    with pytest.raises(CohortError, match=r"does nothing, because the source gives no split"):
        ingest(root, root.parent / "out", IngestSettings(size=16, drop_leaks=True))


@pytest.mark.parametrize(
    ("head", "said"),
    [
        (
            "0.png,control,Mustermann^Erika",
            "no column 'path' (its first line has 3 cells, and no usual name of a column)",
        ),
        (
            "Liste der Patienten Dr. Meier",
            "no column 'path' (its first line has 1 cell, and no usual name of a column)",
        ),
        ("image file,meier,label", "no column 'path' (columns: image file, label, 1 other); add it"),
        ("path,meier,Meier", "has two columns of one name; is its first line a header?"),
        ("path,label,Label", "has two columns called 'label'"),
    ],
)
def test_a_line_that_is_no_header_is_not_shown(root: Path, head: str, said: str) -> None:
    write(root, head, ["0.png,control,Mustermann^Erika"] if "," in head else [])
    with pytest.raises(CohortError) as refused:
        find_sources(root)
    assert said in str(refused.value)
    assert not any(name in str(refused.value).casefold() for name in ("mustermann", "meier"))


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ("Mustermann^Erika", "split on line 3 is not one of train, val, test"),
        ("third", "split 'third' on line 3 is not"),
    ],
)
def test_a_cell_that_is_no_split_is_not_shown(root: Path, cell: str, said: str) -> None:
    write(root, "path,label,split", rows("train", cell))
    with pytest.raises(CohortError) as refused:
        cohort_of(root, root.parent / "out")
    assert str(refused.value).startswith(said)
    assert "Mustermann" not in str(refused.value)
    assert cohort_of(root, root.parent / "out", resplit=True).info.images == {"train": 8, "val": 2, "test": 2}
