"""Who an image is of, where nobody, one file of several, or only a name says so: no patient crosses a split."""

from __future__ import annotations

from typing import TYPE_CHECKING

import nibabel
import numpy as np
import pandas as pd
import pytest

from gansweep.errors import CohortError
from tests.cohort.scans import CLASSES, cohort_of, write_picture, write_slice, write_volume

if TYPE_CHECKING:
    from pathlib import Path

    from gansweep.cohort.dataset import Cohort


def sizes(cohort: Cohort) -> list[int]:
    assert (cohort.manifest.groupby("patient")["split"].nunique() == 1).all()
    return cohort.manifest.groupby("patient").size().tolist()


def test_a_series_of_nobody_stays_together_and_is_nobodys(tmp_path: Path) -> None:
    for patient in range(6):
        for number in range(4):
            path = tmp_path / "source" / CLASSES[patient % 2] / f"{patient}_{number}.dcm"
            write_slice(path, patient, number, PatientID="", StudyInstanceUID="")
    cohort = cohort_of(tmp_path / "source", tmp_path / "out")
    assert sizes(cohort) == [4] * 6
    assert not cohort.info.patients_known
    assert any("patients are not known" in warning for warning in cohort.info.warnings)


def test_an_issuer_in_one_of_two_studies_makes_no_second_patient(tmp_path: Path) -> None:
    for patient in range(6):
        for number, issuer in enumerate(("", "HOSPITAL")):
            path = tmp_path / "source" / CLASSES[patient % 2] / f"{patient}_{number}.dcm"
            write_slice(path, patient, number, IssuerOfPatientID=issuer, StudyInstanceUID=f"1.{patient}.{number}")
    cohort = cohort_of(tmp_path / "source", tmp_path / "out")
    assert sizes(cohort) == [2] * 6
    assert cohort.info.patients_known


def test_two_issuers_have_two_patients_of_one_number(tmp_path: Path) -> None:
    for patient in range(6):
        for number, issuer in enumerate(("CLINIC", "HOSPITAL")):
            path = tmp_path / "source" / CLASSES[patient % 2] / f"{patient}_{number}.dcm"
            write_slice(path, patient, number, IssuerOfPatientID=issuer)
    assert sizes(cohort_of(tmp_path / "source", tmp_path / "out")) == [1] * 12


@pytest.mark.parametrize("name", ["sub-{:02d}_ses-{}_T1w.nii.gz", "ses-{1}/sub-{0:02d}_T1w.nii", "sub-{}/s{}/T1.nii"])
def test_sessions_of_a_subject_in_the_name_are_one_patients(tmp_path: Path, name: str) -> None:
    for number in range(12):
        subject, session = number // 2, 1 + number % 2
        write_volume(tmp_path / "source" / CLASSES[subject % 2] / name.format(subject, session), number)
    cohort = cohort_of(tmp_path / "source", tmp_path / "out", slices=1)
    assert sizes(cohort) == [2] * 6
    assert cohort.info.patients_known
    usual = ("few patients", "36 of 48 slices")
    others = [warning for warning in cohort.info.warnings if not warning.startswith(usual)]
    guess = "NIfTI does not record the modality: taken for MR by the file's name"
    assert [warning.split(" (")[0] for warning in others] == ([guess] if name.endswith("/T1.nii") else [])


def test_volumes_of_nobody_are_nobodys_and_look_alikes_perhaps_of_one_patient(tmp_path: Path) -> None:
    for number in range(6):
        write_volume(tmp_path / "source" / CLASSES[number % 2] / f"v{number}.nii", number)
    image = nibabel.load(tmp_path / "source" / CLASSES[0] / "v0.nii")
    again = nibabel.Nifti1Image(np.asarray(image.dataobj) + np.float32(1.0) * np.eye(16)[..., None], np.eye(4))
    nibabel.save(again, tmp_path / "source" / CLASSES[0] / "v9.nii")
    cohort = cohort_of(tmp_path / "source", tmp_path / "out", slices=1)
    assert "2 images have near-duplicates (perhaps of different patients)" in cohort.info.warnings
    assert any("patients are not known" in warning for warning in cohort.info.warnings)
    assert not cohort.info.patients_known


@pytest.mark.parametrize("name", ["pat{}/{}.png", "sub-{}_{}.png"])
def test_one_patients_folders_under_two_classes(tmp_path: Path, name: str) -> None:
    for patient in range(8):
        for number in range(4):
            write_picture(
                tmp_path / "source" / CLASSES[number % 2] / name.format(patient, number), 4 * patient + number
            )
    by_image = cohort_of(tmp_path / "source", tmp_path / "image", label_per="image")
    assert sizes(by_image) == [4] * 8
    assert all(warning.startswith("few patients") for warning in by_image.info.warnings)
    by_patient = cohort_of(tmp_path / "source", tmp_path / "patient")
    assert sizes(by_patient) == [2] * 16
    assert "8 folder names occur under several classes" in by_patient.info.warnings[0]


def test_a_csv_that_gives_a_subject_two_labels_is_refused(tmp_path: Path) -> None:
    rows = []
    for number in range(8):
        write_picture(tmp_path / "images" / f"sub-{number // 2}_{number % 2}.png", number)
        rows.append({"path": f"images/sub-{number // 2}_{number % 2}.png", "label": CLASSES[number % 2]})
    pd.DataFrame(rows).to_csv(tmp_path / "labels.csv", index=False)
    with pytest.raises(CohortError, match="has two labels: control and fahr"):
        cohort_of(tmp_path, tmp_path / "out")
    assert sizes(cohort_of(tmp_path, tmp_path / "out", label_per="image")) == [2] * 4
