"""One image counts once, and what only a poor anonymisation gave one name is not one."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from gansweep.cohort.ingest.run import IngestSettings, ingest
from gansweep.errors import CohortError
from tests.cohort.scans import CLASSES, cohort_of, write_picture, write_slice

if TYPE_CHECKING:
    from pathlib import Path

MR = {"Modality": "MR", "SOPClassUID": "1.2.840.10008.5.1.4.1.1.4", "RescaleIntercept": 0}


@pytest.mark.parametrize("uid", ["1.2.3", ""])
def test_patients_under_one_series_uid_keep_their_own_windows(tmp_path: Path, uid: str) -> None:
    for patient in range(6):
        path = tmp_path / "source" / CLASSES[patient % 2] / f"{patient}.dcm"
        write_slice(path, patient, 1, SeriesInstanceUID=uid, RescaleSlope=1 if patient < 3 else 10, **MR)
    cohort = cohort_of(tmp_path / "source", tmp_path / "out", slices=2)
    brightness = cohort.images.astype(np.float64).mean((1, 2, 3)) / cohort.info.scale
    assert len(brightness) == 6
    assert brightness.max() < 1.2 * brightness.min()


def test_a_series_of_one_patient_has_one_window(tmp_path: Path) -> None:
    for patient in range(6):
        for number in (1, 2):
            path = tmp_path / "source" / CLASSES[patient % 2] / f"{patient}_{number}.dcm"
            write_slice(path, patient, number, RescaleSlope=10 ** (number - 1), **MR)
    images = cohort_of(tmp_path / "source", tmp_path / "out").images.astype(np.float64).mean((1, 2, 3))
    assert (images[1::2] > 10 * images[::2]).all()


def left_out(source: Path, out: Path, **settings: Any) -> list[str]:
    made = ingest(source, out, IngestSettings(size=16, **settings))
    rejected = pd.read_parquet(made.path / "rejected.parquet")
    assert set(rejected["reason"]) <= {"a copy of an image that is already in the cohort"}
    told = f"{len(rejected)} images left out: copies of other images of the same patient"
    assert (told in made.info.warnings) == bool(len(rejected))
    return rejected["path"].tolist()


def test_a_copied_dicom_file(tmp_path: Path) -> None:
    for patient in range(6):
        path = tmp_path / "source" / CLASSES[patient % 2] / f"{patient}.dcm"
        write_slice(path, patient, 1)
        shutil.copy(path, path.with_name(f"{patient} again.dcm"))
    assert len(left_out(tmp_path / "source", tmp_path / "out")) == 6


@pytest.fixture
def rows(tmp_path: Path) -> pd.DataFrame:
    """Eight pictures of unknown patients and their rows."""
    for number in range(8):
        write_picture(tmp_path / f"{number}.png", number)
    return pd.DataFrame([{"path": f"{number}.png", "label": CLASSES[number % 2]} for number in range(8)])


def test_a_row_given_twice(tmp_path: Path, rows: pd.DataFrame) -> None:
    pd.concat([rows, rows[:2]]).to_csv(tmp_path / "labels.csv", index=False)
    made = ingest(tmp_path, tmp_path / "out", IngestSettings(size=16))
    assert made.info.left_out == {"is listed more than once": 2}
    assert pd.read_parquet(made.path / "rejected.parquet")["path"].tolist() == ["0.png", "1.png"]


def test_equal_files_of_unknown_patients_stay_in_one_split(tmp_path: Path, rows: pd.DataFrame) -> None:
    shutil.copy(tmp_path / "0.png", tmp_path / "copy.png")
    pd.concat([rows, rows[:1].assign(path="copy.png")]).to_csv(tmp_path / "labels.csv", index=False)
    assert left_out(tmp_path, tmp_path / "out") == []


def test_another_mask_is_no_copy(tmp_path: Path, rows: pd.DataFrame) -> None:
    for name, place in (("first", 2), ("second", 12)):
        mask = np.zeros((20, 20), np.uint8)
        mask[place : place + 6, place : place + 6] = 255
        Image.fromarray(mask).save(tmp_path / f"mask_{name}.png")
    twice = [rows.assign(mask=f"mask_{name}.png") for name in ("first", "second")]
    pd.concat(twice).to_csv(tmp_path / "labels.csv", index=False)
    assert left_out(tmp_path, tmp_path / "out") == []


def test_a_class_that_other_labels_take_is_named(tmp_path: Path) -> None:
    """The layout of VinDr: a row for each reader and finding."""
    rows = ["path,label"]
    for number in range(12):
        write_picture(tmp_path / f"{number}.png", number)
        labels = ["normal"] if number < 4 else ["nodule"] if number < 8 else ["nodule", "mass"]
        rows += [f"{number}.png,{label}" for label in labels]
    (tmp_path / "labels.csv").write_text("\n".join(rows))
    cohort = cohort_of(tmp_path, tmp_path / "out")
    assert cohort.manifest["label"].value_counts().to_dict() == {"normal": 4, "nodule": 4}
    told = "4 images left out: the same image has two labels, so no image of 'mass' is left"
    assert told in cohort.info.warnings


@pytest.mark.parametrize("kept", [8, 0])
def test_pairs_of_two_labels_are_listed(tmp_path: Path, kept: int) -> None:
    for number in range(12):
        for label in ("ab"[number % 2],) if number < kept else "ab":
            write_picture(tmp_path / "source" / label / f"{number}.png", number)
    if kept:
        listed = cohort_of(tmp_path / "source", tmp_path / "out").path / "duplicates.csv"
    else:
        listed = tmp_path / "out-duplicates.csv"
        with pytest.raises(
            CohortError, match=r"labelled a and b \(all pairs: out-duplicates\.csv\); correct the labels"
        ):
            cohort_of(tmp_path / "source", tmp_path / "out")
    pairs = pd.read_csv(listed, keep_default_na=False)
    assert set(pairs["kind"]) == {"pixels"}
    assert set(pairs["first_label"] + pairs["second_label"]) == {"ab"}
    assert sorted(pairs["first"]) == sorted(f"a/{number}.png" for number in range(kept, 12))
    assert (pairs["first"].str[2:] == pairs["second"].str[2:]).all()


@pytest.mark.parametrize("other", [True, False])
def test_near_duplicates_of_another_class_are_told(tmp_path: Path, other: bool) -> None:
    for number in range(12):
        write_picture(tmp_path / "source" / CLASSES[number % 2] / f"{number}.png", number)
    first = Image.open(tmp_path / "source" / CLASSES[0] / "0.png")
    first.save(tmp_path / "source" / CLASSES[other] / "again.jpg", quality=90)
    warnings = cohort_of(tmp_path / "source", tmp_path / "out").info.warnings
    told = "2 images have near-duplicates of another class (duplicates.csv): a label may be wrong"
    assert (told in warnings) == other
