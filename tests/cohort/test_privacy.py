"""Nothing that names a patient leaves ingest: not a class, a path, a reason, an error or a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pydicom
import pytest

from gansweep.cohort.ingest.run import IngestSettings, ingest
from gansweep.cohort.readers.slices import reason_of
from gansweep.errors import CohortError
from tests.cohort.scans import CLASSES, cohort_of, write_picture, write_slice, write_volume

PEOPLE = ("DOE^JOHN_19650203", "ROE^JANE_19700101", "SMITH^ANNA_19801212", "LEE^SUE_19900909")


def refused(source: Path, out: Path, **settings: Any) -> str:
    with pytest.raises(CohortError) as caught:
        ingest(source, out, IngestSettings(size=16, **settings))
    return str(caught.value)


@pytest.mark.parametrize("settings", [{}, {"split": (1, 0, 0)}, {"label_per": "image", "split": (1, 0, 0)}])
def test_folders_of_patients_are_no_classes(tmp_path: Path, settings: dict[str, Any]) -> None:
    for patient, name in enumerate(PEOPLE):
        for number in range(3):
            write_slice(tmp_path / "source" / name / "STUDY1" / "SERIES1" / f"IM{number}", patient, number)
    write_slice(tmp_path / "source" / PEOPLE[0] / "STUDY1" / "SERIES2" / "IM9", 9, 1)  # another's, gone astray
    (tmp_path / "source" / PEOPLE[1] / "IM10.dcm").write_text("broken")
    message = refused(tmp_path / "source", tmp_path / "out", **settings)
    assert "the folders look like patients, not classes; add labels.csv" in message
    assert not any(name.split("^")[0] in message for name in PEOPLE)


@pytest.mark.parametrize("names", [["T1.nii.gz"], ["sub-{}/T1.nii.gz", "sub-{}/T2.nii.gz"]])
def test_folders_of_one_volume_or_subject_are_no_classes(tmp_path: Path, names: list[str]) -> None:
    for patient, folder in enumerate(PEOPLE):
        for name in names:
            write_volume(tmp_path / "source" / folder / name.format(patient), patient)
    message = refused(tmp_path / "source", tmp_path / "out", split=(1, 0, 0))
    assert "look like patients" in message
    assert "DOE" not in message


def test_classes_of_many_patients_are_classes(tmp_path: Path) -> None:
    for patient in range(9):
        write_slice(tmp_path / "source" / "abc"[patient % 3] / f"{patient}.dcm", patient, 1)
    assert cohort_of(tmp_path / "source", tmp_path / "out").info.classes == ("a", "b", "c")


def test_paths_of_files_left_out_name_nobody(tmp_path: Path) -> None:
    source, rows = tmp_path / "source", []
    for patient in range(8):
        write_slice(source / f"images/{patient}.dcm", patient, 1, **({"PatientID": ""} if patient > 5 else {}))
        rows.append({"path": f"images/{patient}.dcm", "label": CLASSES[patient % 2]})
    named = ["DOE_JOHN_19650203/LOC.dcm", "id4711/scout 12-3.dcm", "scouts/Doe.dcm", "a/DOE.JOHN"]
    for number, name in enumerate(named):
        write_slice(
            source / name, 9, number, ImageType=["LOCALIZER"], PatientID="4711", PatientName="Doe^John", Modality="MR"
        )
        rows.append({"path": name, "label": "control"})
    write_slice(source / "12/12 a12.dcm", 9, 1, ImageType=["LOCALIZER"], PatientID="12", PatientName="")
    rows.append({"path": "12/12 a12.dcm", "label": "control"})
    write_slice(source / "P5/other.dcm", 11, 1, ImageType=["LOCALIZER"], PatientID="", PatientName="")
    rows.append({"path": "P5/other.dcm", "label": "control"})
    pd.DataFrame(rows).to_csv(source / "labels.csv", index=False)
    out = ingest(source, tmp_path / "out", IngestSettings(size=16, skip_bad=True)).path
    paths = pd.read_parquet(out / "rejected.parquet")["path"].str.replace(r"[0-9a-f]{16}", "#", regex=True)
    assert sorted(paths) == ["#/#.dcm", "#/LOC.dcm", "#/other.dcm", "#/scout 12-3.dcm", "a/#", "scouts/#.dcm"]
    assert not any(word in file.read_bytes() for file in out.iterdir() for word in (b"DOE", b"Doe", b"4711"))


def people_in_folders(source: Path) -> pd.DataFrame:
    """Pictures of eight patients whose names are the folders, each also with one that cannot be read; their rows."""
    rows = []
    for number in range(8):
        person = f"DOE_JOHN_{number}"
        write_picture(source / person / "scan.png", number)
        (source / person / "bad.png").write_text("no picture")
        (source / person / "john.png").write_text("forgotten")
        rows += [(f"{person}/{name}.png", CLASSES[number % 2], person) for name in ("scan", "bad", "gone")]
    return pd.DataFrame(rows, columns=["path", "label", "patient_id"])


def test_identifiers_of_the_owner_are_hashed_in_paths(tmp_path: Path) -> None:
    people_in_folders(tmp_path / "source").to_csv(tmp_path / "source/labels.csv", index=False)
    out = ingest(tmp_path / "source", tmp_path / "out", IngestSettings(size=16, skip_bad=True)).path
    paths = pd.read_parquet(out / "rejected.parquet")["path"].str.split("/", expand=True)
    assert sorted(paths[1]) == ["[file 2 of 3].png"] * 8 + ["bad.png"] * 8 + ["gone.png"] * 8
    assert set(paths[0]) == set(pd.read_parquet(out / "manifest.parquet")["patient"])


def test_patients_folders_below_a_class_are_hashed_in_paths(tmp_path: Path) -> None:
    people_in_folders(tmp_path / "made")
    for number in range(8):
        (tmp_path / "source" / CLASSES[number % 2]).mkdir(parents=True, exist_ok=True)
        (tmp_path / f"made/DOE_JOHN_{number}").rename(tmp_path / f"source/{CLASSES[number % 2]}/DOE_JOHN_{number}")
    out = ingest(tmp_path / "source", tmp_path / "out", IngestSettings(size=16, skip_bad=True)).path
    rejected = pd.read_parquet(out / "rejected.parquet")["path"]
    assert len(rejected) == 16
    assert not rejected.str.contains("DOE").any()


def test_subjects_are_hashed_in_paths(tmp_path: Path) -> None:
    for number in range(9):
        write_volume(tmp_path / f"source/sub-doe{number}/anat/sub-doe{number}_T1w.nii.gz", number)
    (tmp_path / "source/sub-doe0/anat/sub-doe0_T1w.nii.gz").write_text("no volume")
    table = pd.DataFrame({"participant_id": [f"sub-doe{number}" for number in range(8)], "group": CLASSES * 4})
    table.to_csv(tmp_path / "source/participants.tsv", sep="\t", index=False)
    out = ingest(tmp_path / "source", tmp_path / "out", IngestSettings(size=16, skip_bad=True)).path
    paths = pd.read_parquet(out / "rejected.parquet")["path"].str.replace(r"[0-9a-f]{16}", "#", regex=True)
    assert paths.tolist() == ["#/anat/#.gz", "#/anat/#.gz"]


def test_a_reason_holds_no_path(tmp_path: Path) -> None:
    for number in range(6):
        write_picture(tmp_path / "source" / CLASSES[number % 2] / f"{number}.png", number)
    (tmp_path / "source" / "fahr" / "broken.png").write_text("no picture")
    (tmp_path / "source" / "fahr" / "broken.nii").write_text("no volume")
    assert str(tmp_path) not in refused(tmp_path / "source", tmp_path / "out")
    out = ingest(tmp_path / "source", tmp_path / "out", IngestSettings(size=16, skip_bad=True)).path
    reasons = pd.read_parquet(out / "rejected.parquet")["reason"]
    assert len(reasons) == 2
    assert not reasons.str.contains("/").any()


def test_a_picture_with_text_burned_in_is_left_out(tmp_path: Path) -> None:
    for patient in range(6):
        path = tmp_path / "source" / CLASSES[patient % 2] / f"{patient}.dcm"
        write_slice(path, patient, 1, BurnedInAnnotation="YES" if patient == 5 else "NO")
    kept = cohort_of(tmp_path / "source", tmp_path / "out", split=(1, 0, 0))
    assert len(kept.manifest) == 5
    assert kept.info.left_out == {"text burned into the image may name the patient": 1}


@pytest.mark.parametrize(
    ("attribute", "kind", "said"),
    [
        ("RescaleSlope", "LO", "an attribute cannot be read (could not convert string to float: (a value))"),
        ("NumberOfFrames", "LO", "an attribute cannot be read (invalid literal for int() with base 10: (a value))"),
        ("PhotometricInterpretation", "LO", "its pixels cannot be decoded"),
        ("RescaleType", "LO", "CT in units without a known name instead of Hounsfield units"),
        ("Modality", "LO", "CT (5 images) and an unknown modality (1 image) in one cohort; choose one: --modality CT"),
    ],
)
def test_values_of_attributes_are_not_shown(tmp_path: Path, attribute: str, kind: str, said: str) -> None:
    for patient in range(6):
        write_slice(tmp_path / "source" / CLASSES[patient % 2] / f"{patient}.dcm", patient, 1)
    path = tmp_path / "source" / "fahr" / "5.dcm"
    dataset = pydicom.dcmread(path)
    dataset[attribute] = pydicom.DataElement(attribute, kind, "Mustermann")
    dataset.save_as(path)
    message = refused(tmp_path / "source", tmp_path / "out", split=(0.5, 0.5, 0))
    assert said in message
    assert "mustermann" not in message.casefold()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("cannot use 'Doe' here", "cannot use (a value) here"),
        ("cannot use \"O'Hara\" or b'x'", "cannot use (a value)"),
        ("can't use it", "can't use it"),
        ("'Doe'", "ValueError"),
        ("", "ValueError"),
    ],
)
def test_a_reason_of_a_library_shows_no_quoted_value(text: str, shown: str) -> None:
    assert reason_of(ValueError(text), Path("scan.dcm")) == shown
