"""Columns of a table that tell how images were made, and of whom."""

from __future__ import annotations

from math import isnan, nan
from time import perf_counter
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import nibabel
import numpy as np
import pytest
from PIL import Image

from gansweep.cohort.ingest.acquisitions import acquisition_warnings
from gansweep.cohort.readers.acquisition import Acquisition
from gansweep.cohort.sources.acquisition_columns import acquisition_columns, acquisition_in
from tests.cohort.scans import CLASSES, cohort_of, write_picture, write_slice

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

GIVES_AWAY = "differs between classes, which may give them away"


def told(source: Path, word: str = GIVES_AWAY) -> list[str]:
    """The warnings about a folder that contain a word."""
    cohort = cohort_of(source, source.parent / "out")
    return [line for line in cohort.info.warnings if word in line]


def write_table(root: Path, column: str, cells: tuple[str, str], *, label: str = "label") -> Path:
    """Pictures of 20 patients of two classes, whose rows differ in a column."""
    rows = [f"path,{label},patient_id,{column}"]
    for number in range(20):
        write_picture(root / "source" / f"{number}.png", number)
        rows.append(f"{number}.png,{CLASSES[number % 2]},P{number},{cells[number % 2]}")
    (root / "source" / "labels.csv").write_text("\n".join(rows))
    return root / "source"


@pytest.mark.parametrize(
    ("column", "cells", "line"),
    [
        ("age", ("30", "60.5"), "the age of patients {} control: 30 years; fahr: 60 years"),
        ("Age (years)", ("30 y", "99"), "the age of patients {} control: 30 years; fahr: 90 years"),
        ("age_approx", ("30", "60"), "the age of patients {} control: 30 years; fahr: 60 years"),
        ("Gender", ("Male", "female"), "the share of patients of one sex {} control: 100%; fahr: 0%"),
        ("hospital", ("Anna^Doe", "B"), "the share of images of one site {} control: 0%; fahr: 100%"),
        ("dataset", ("a", "b"), "the share of images of one site {} control: 0%; fahr: 100%"),
        ("scanner_model", ("a", "b"), "the share of images of one scanner model {} control: 0%; fahr: 100%"),
        ("kVp", ("80", "120"), "tube voltage {} control: 80 kV; fahr: 120 kV"),
        ("Slice Thickness", ('"0,5"', "5"), "slice thickness {} control: 0.5 mm; fahr: 5 mm"),
        ("field_strength", ("1.5 T", "3T"), "field strength {} control: 1.5 T; fahr: 3.0 T"),
        ("camera", ("a", ""), "the share of images with a known scanner {} control: 100%; fahr: 0%"),
        ("view", ("AP", "PA"), "the share of images of one view position {} control: 0%; fahr: 100%"),
        ("laterality", ("L", "R"), "the share of images of one side of the body {} control: 0%; fahr: 100%"),
    ],
)
def test_a_column_that_gives_a_class_away_is_told(
    tmp_path: Path, column: str, cells: tuple[str, str], line: str
) -> None:
    told_lines = told(write_table(tmp_path, column, cells))
    assert len(told_lines) == 1
    assert told_lines[0].startswith(line.format(f"{GIVES_AWAY}:"))
    assert "Anna" not in told_lines[0]


@pytest.mark.parametrize(
    ("column", "cells"),
    [
        ("age", ("50", "50")),
        ("age", ("n/a", "")),
        ("age", ("-1", "0")),
        ("age", ("about 40", "inf")),
        ("age", ("999", "50")),
        ("sex", ("m", "male")),
        ("sex", ("unknown", "m")),
        ("localization", ("unknown", "back")),
        ("laterality", ("R", "Right")),
        ("eye", ("OS", "left")),
        ("dataset", ("train", "test")),
        ("remark", ("a", "b")),
        ("voyage", ("30", "60")),
    ],
)
def test_other_columns_are_not(tmp_path: Path, column: str, cells: tuple[str, str]) -> None:
    assert told(write_table(tmp_path, column, cells)) == []


def test_the_labels_own_column_gives_nothing_away(tmp_path: Path) -> None:
    source = write_table(tmp_path, "remark", ("a", "b"), label="sex")
    cohort = cohort_of(source, tmp_path / "out", label_column="sex")
    assert not any(GIVES_AWAY in line for line in cohort.info.warnings)


def test_a_patient_of_both_sexes_is_told(tmp_path: Path) -> None:
    rows = ["path,label,patient_id,sex"]
    for number in range(16):
        write_picture(tmp_path / "source" / f"{number}.png", number)
        rows.append(f"{number}.png,{CLASSES[number // 2 % 2]},P{number // 2},{'MF'[number % 2]}")
    (tmp_path / "source" / "labels.csv").write_text("\n".join(rows))
    [line] = told(tmp_path / "source", "both sexes")
    assert line.startswith("8 patients have images of both sexes")


def test_near_duplicates_of_unknown_patients_may_be_of_both_sexes(tmp_path: Path) -> None:
    rows = ["path,label,sex,age"]
    for number in range(40):
        values = np.random.default_rng(number // 2).integers(0, 250, (20, 20), np.uint8)
        values[0, 0] += number % 2
        (tmp_path / "source").mkdir(exist_ok=True)
        Image.fromarray(values).save(tmp_path / "source" / f"{number}.png")
        rows.append(f"{number}.png,{CLASSES[number // 2 % 2]},{'MF'[number % 2]},{(30, 60)[number % 2]}")
    (tmp_path / "source" / "labels.csv").write_text("\n".join(rows))
    assert told(tmp_path / "source", "near-duplicates (kept in one split)")
    assert told(tmp_path / "source", "both sexes") == []


def test_what_the_file_says_stands(tmp_path: Path) -> None:
    rows = ["path,label,patient_id,kvp,age"]
    for number in range(8):
        write_slice(tmp_path / "source" / f"{number}.dcm", number, 0, KVP=120)
        rows.append(f"{number}.dcm,{CLASSES[number % 2]},P{number},{(80, 120)[number % 2]},{(30, 60)[number % 2]}")
    (tmp_path / "source" / "labels.csv").write_text("\n".join(rows))
    [line] = told(tmp_path / "source")
    assert line.startswith("the age of patients")


def test_participants_of_bids_are_compared(tmp_path: Path) -> None:
    rows = ["participant_id\tdiagnosis\tage\tsex"]
    for number in range(8):
        folder = tmp_path / "source" / f"sub-{number:02}" / "anat"
        folder.mkdir(parents=True)
        values = np.random.default_rng(number).normal(100, 20, (20, 20, 4)).astype(np.float32)
        nibabel.Nifti1Image(values, np.eye(4)).to_filename(folder / f"sub-{number:02}_T1w.nii.gz")
        rows.append(f"sub-{number:02}\t{CLASSES[number % 2]}\tn/a\tF")  # a row for each session
        rows.append(f"sub-{number:02}\t{CLASSES[number % 2]}\t{(30, 60)[number % 2]}\tn/a")
    (tmp_path / "source" / "participants.tsv").write_text("\n".join(rows))
    [line] = told(tmp_path / "source", "the age of patients")
    assert line == f"the age of patients {GIVES_AWAY}: control: 30 years; fahr: 60 years"


@pytest.mark.parametrize(
    ("column", "attribute"),
    [
        *(("Patient's Age", "years"), ("age (years)", "years"), ("age\n[yrs]", "years"), ("age (months)", None)),
        *(("m/f", "sex"), ("gender\n(male, female)", "sex"), ("patientsex_dicom", "sex"), ("ptgender", "sex")),
        *(
            ("site_id", "site"),
            ("attribution", "site"),
            ("tube voltage (kv)", "kilovolts"),
            ("field strength (t)", "tesla"),
        ),
        *(("ap/pa", "view"), ("image view", "view"), ("left or right breast", "side"), ("(age)", None)),
    ],
)
def test_public_tables_name_columns_in_many_ways(column: str, attribute: str | None) -> None:
    assert acquisition_columns(["path", column], ["path"]) == ({attribute: column} if attribute else {})


def test_a_column_of_many_values_is_compared_quickly() -> None:
    pictures: list[Any] = [
        SimpleNamespace(
            acquisition=Acquisition(site=f"http://{number}"), label=CLASSES[number % 2], patient=f"P{number}"
        )
        for number in range(40_000)
    ]
    began = perf_counter()
    assert acquisition_warnings(pictures) == []
    assert perf_counter() - began < 5


def test_the_two_of_many_classes_that_differ_most_may_differ_by_chance() -> None:
    rng = np.random.default_rng(0)
    reported = 0
    for _ in range(100):
        sexes = rng.choice(["f", "m"], 1000)
        pictures: list[Any] = [
            SimpleNamespace(acquisition=Acquisition(sex=str(sex)), label=str(number % 10), patient=f"P{number}")
            for number, sex in enumerate(sexes)
        ]
        reported += bool(acquisition_warnings(pictures))
    assert reported <= 5


def test_the_first_name_of_a_column_is_used() -> None:
    columns = ["path", "source", "site", "Age.at.scan", "age"]
    assert acquisition_columns(columns, ["path"]) == {"years": "age", "site": "site"}
    assert acquisition_columns(columns, ["path", "age", "site"]) == {"years": "Age.at.scan", "site": "source"}


@pytest.mark.parametrize(
    ("cell", "years"),
    [
        *(("058Y", 58.0), ("45,5", 45.5), ("45 years old", 45.0), ("45 yo", 45.0)),
        *(("018M", 1.5), ("18 months", 1.5), ("73 d", 73 / 365.25)),
        *((">89", 89.0), (">= 90", 90.0), ("90+", 90.0), ("20-25", 22.5), ("65 - 70 years", 67.5)),
        *(("411Y", nan), ("999", nan), ("0", nan), ("000Y", nan), ("1987-04-03", nan), ("9" * 400, nan)),
    ],
)
def test_ages_are_read_as_public_tables_write_them(cell: str, years: float) -> None:
    assert acquisition_in({"age": cell}, {"years": "age"}).years == pytest.approx(years, nan_ok=True)


@pytest.mark.parametrize(("cell", "tesla"), [("3 Tesla", 3.0), ("15000", 1.5)])
def test_field_strengths_are_in_tesla(cell: str, tesla: float) -> None:
    assert acquisition_in({"field": cell}, {"tesla": "field"}).tesla == tesla


def test_missing_values_are_filled_from_the_table() -> None:
    row = acquisition_in({"age": "44", "sex": "n/a"}, {"years": "age", "sex": "sex"})
    assert row.years == 44.0
    filled = Acquisition(sex="m", kilovolts=120.0).filled_from(row)
    assert (filled.years, filled.sex, filled.kilovolts) == (44.0, "m", 120.0)
    assert isnan(filled.tesla)


@pytest.mark.parametrize(
    ("of_the_file", "born", "shared"),
    [
        (lambda number: f"P{number // 4}", "", 4),  # the labels give each person two identifiers
        (lambda number: f"P{number // 2}", "", 0),  # as the labels do
        (lambda number: f"P{number}", "", 0),  # a label joins what the files part: no leak
        (lambda number: f"P{number // 4}", "{:08d}", 0),  # two hospitals number their patients alike
        (lambda _: "0000", "", 0),  # what replaced every identifier
        (lambda _: "ANONYMOUS", "", 0),
        (lambda _: "", "", 0),
    ],
)
def test_a_patient_of_dicom_that_is_several_in_the_labels_is_told(
    tmp_path: Path, of_the_file: Callable[[int], str], born: str, shared: int
) -> None:
    rows = ["path,label,patient_id"]
    for number in range(16):
        own = {"PatientBirthDate": born.format(19000101 + number // 2)} if born else {}
        path = tmp_path / "source" / f"{number}.dcm"
        write_slice(path, number, 0, PatientID=of_the_file(number), **own)
        rows.append(f"{number}.dcm,{CLASSES[number // 4 % 2]},person {number // 2}")
    (tmp_path / "source" / "labels.csv").write_text("\n".join(rows))
    lines = told(tmp_path / "source", "PatientID")
    assert len(lines) == bool(shared)
    assert not lines or lines[0].startswith(f"{shared} PatientIDs of DICOM files are several patients in the labels:")


@pytest.mark.parametrize(
    ("of_the_file", "blank", "shared"),
    [
        (lambda number: f"P-{number // 4}" if number % 4 < 2 else f"p00{number // 4}", False, 4),  # spelled in two ways
        (lambda number: f"P{number // 4}", True, 4),  # the labels name half of the images of each person
        (lambda number: f"P{number // 2}", True, 0),  # or half of the people
    ],
)
def test_a_patient_of_dicom_is_told_in_any_spelling_and_if_the_labels_have_gaps(
    tmp_path: Path, of_the_file: Callable[[int], str], blank: bool, shared: int
) -> None:
    rows = ["path,label,patient_id"]
    for number in range(16):
        write_slice(tmp_path / "source" / f"{number}.dcm", number, 0, PatientID=of_the_file(number))
        person = "" if blank and number % 4 > 1 else f"person {number // 2}"
        rows.append(f"{number}.dcm,{CLASSES[number // 4 % 2]},{person}")
    (tmp_path / "source" / "labels.csv").write_text("\n".join(rows))
    lines = told(tmp_path / "source", "PatientID")
    assert [line.split()[0] for line in lines] == ([str(shared)] if shared else [])
