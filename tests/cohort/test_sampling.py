"""Slices that are not taken, and mixed MR sequences, are told."""

from __future__ import annotations

from typing import TYPE_CHECKING

import nibabel
import numpy as np
import pandas as pd
import pydicom
import pytest

from gansweep.cohort.readers.sequences import sequence_in
from tests.cohort.scans import CLASSES, cohort_of, write_picture, write_slice, write_volume
from tests.cohort.test_series import ORIGINAL, write_enhanced

if TYPE_CHECKING:
    from pathlib import Path

    from gansweep.cohort.dataset import Cohort

TAKEN = "up to 8 from the middle half of each file are; --slices takes another number"


def told(cohort: Cohort, word: str) -> list[str]:
    return [warning for warning in cohort.info.warnings if word in warning]


def write_deep(path: Path, seed: int, slices: int = 24) -> None:
    """A volume in which the value of a slice says which it is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(seed).uniform(0, 5, (16, 16, slices)) + 10 * np.arange(slices)
    nibabel.save(nibabel.Nifti1Image(values.astype(np.float32), np.eye(4)), path)


def test_slices_not_taken_are_counted(tmp_path: Path) -> None:
    for number in range(8):
        write_deep(tmp_path / "source" / CLASSES[number % 2] / f"{number}.nii.gz", number)
    usual = cohort_of(tmp_path / "source", tmp_path / "out")
    assert len(usual.manifest) == 8 * 8
    assert told(usual, "not taken") == [f"128 of 192 slices in 8 volumes or cines are not taken: {TAKEN}"]
    more = cohort_of(tmp_path / "source", tmp_path / "more", slices=99)
    assert len(more.manifest) == 8 * 12
    assert told(more, "not taken") == [
        f"96 of 192 slices in 8 volumes or cines are not taken: {TAKEN.replace('8', '99')}"
    ]


def test_slices_without_a_lesion_are_counted(tmp_path: Path) -> None:
    for number in range(8):
        folder = tmp_path / "source" / CLASSES[number % 2]
        write_deep(folder / f"{number}.nii.gz", number, slices=10)
        mask = np.zeros((16, 16, 10), np.uint8)
        mask[4:8, 4:8, 2:5] = 1
        nibabel.save(nibabel.Nifti1Image(mask, np.eye(4)), folder / f"{number}_mask.nii.gz")
    cohort = cohort_of(tmp_path / "source", tmp_path / "out")
    assert told(cohort, "not taken") == ["56 of 80 slices in 8 volumes or cines are not taken: those with a lesion are"]
    both = cohort_of(tmp_path / "source", tmp_path / "both", label_from="mask", label_per="image")
    rule = "those with a lesion are, and as many without"
    assert told(both, "not taken") == [f"32 of 80 slices in 8 volumes or cines are not taken: {rule}"]


def test_volumes_against_series_are_told(tmp_path: Path) -> None:
    """The frames of one file come from its middle half, the files of a series from all of it."""
    for number in range(8):
        folder = tmp_path / "source" / CLASSES[number % 2] / f"P{number}"
        if number % 2:
            for place in range(12):
                write_slice(folder / f"{place}.dcm", number, place)
        else:
            write_enhanced(folder / "all.dcm", number, [ORIGINAL] * 12)
    cohort = cohort_of(tmp_path / "source", tmp_path / "out")
    assert cohort.manifest["label"].value_counts().to_dict() == {"fahr": 48, "control": 24}
    differs = "differs between classes, which may give them away: control: 100%; fahr: 0%"
    assert told(cohort, "middle half of a") == [f"the share of images from the middle half of a volume {differs}"]
    assert told(cohort, "not taken") == [f"24 of 48 slices in 4 volumes or cines are not taken: {TAKEN}"]


def test_files_of_a_series_that_slices_leaves_out_are_listed(tmp_path: Path) -> None:
    for number in range(8):
        for place in range(6):
            write_slice(tmp_path / "source" / CLASSES[number % 2] / f"P{number}" / f"{place}.dcm", number, place)
    whole = cohort_of(tmp_path / "source", tmp_path / "whole")
    assert (len(whole.manifest), whole.info.left_out, told(whole, "not taken")) == (48, {}, [])
    cohort = cohort_of(tmp_path / "source", tmp_path / "out", slices=2)
    assert len(cohort.manifest) == 16
    assert cohort.info.left_out == {"none of its slices is selected; --slices takes more": 32}
    paths = pd.read_parquet(cohort.path / "rejected.parquet")["path"]
    assert {path.rpartition("/")[2] for path in paths} == {"0.dcm", "2.dcm", "3.dcm", "5.dcm"}


@pytest.mark.parametrize(
    ("text", "sequence"),
    [
        ("BraTS20_Training_001_t1.nii.gz", "T1"),
        ("BraTS20_Training_001_t1ce.nii.gz", "T1 with contrast"),
        ("BraTS-GLI-00000-000-t1c.nii.gz", "T1 with contrast"),
        ("BraTS-GLI-00000-000-t2f.nii.gz", "FLAIR"),
        ("sub-01_T2w.nii.gz", "T2"),
        ("AX T2 FLAIR", "FLAIR"),
        ("t1_mprage_sag_KM", "T1 with contrast"),
        ("T1 +C", "T1 with contrast"),
        ("T1 pre contrast", "T1"),
        ("T1pre_reg", "T1"),
        ("T1post_reg", "T1 with contrast"),
        ("T2*_tra", "T2*"),
        ("Sag MPRAGE", "T1"),
        ("ep2d_diff_ADC", "DWI"),
        ("t2_tse_tra", "T2"),
        ("Head 5.0", ""),
        ("P12.nii", ""),
    ],
)
def test_sequences_by_name(text: str, sequence: str) -> None:
    assert sequence_in(text) == sequence


def write_mr(path: Path, patient: int, description: str) -> None:
    write_slice(
        path, patient, 0, Modality="MR", RescaleIntercept=0, SeriesDescription=description, ImageType=["ORIGINAL"]
    )


def test_a_sequence_that_gives_the_class_away(tmp_path: Path) -> None:
    for number in range(8):
        path = tmp_path / "dicom" / CLASSES[number % 2] / f"{number}.dcm"
        write_mr(path, number, ("t1_mprage", "t2_tse")[number % 2])
        write_volume(tmp_path / "nifti" / CLASSES[number % 2] / f"P{number}_{('t1', 'flair')[number % 2]}.nii", number)
    differs = "the MR sequence differs between classes, which may give them away"
    assert told(cohort_of(tmp_path / "dicom", tmp_path / "out"), "sequence") == [
        f"{differs}: control: 100% T1; fahr: 100% T2; keep one with --series or a labels.csv of its files"
    ]
    assert told(cohort_of(tmp_path / "nifti", tmp_path / "out"), "sequence") == [
        f"{differs}: control: 100% T1; fahr: 100% FLAIR; keep one with a labels.csv of its files"
    ]
    chosen = cohort_of(tmp_path / "dicom", tmp_path / "again", series="t1*")
    assert (chosen.info.classes, told(chosen, "sequence")) == (("control",), [])


def test_several_sequences_of_each_patient_are_told(tmp_path: Path) -> None:
    """The layout of BraTS."""
    for number in range(8):
        for place, name in enumerate(("t1", "t1ce", "t2", "flair")):
            folder = tmp_path / "source" / CLASSES[number % 2] / f"BraTS_{number}"
            write_volume(folder / f"BraTS_{number}_{name}.nii.gz", 10 * number + place)
    cohort = cohort_of(tmp_path / "source", tmp_path / "out")
    assert cohort.manifest["patient"].nunique() == 8
    shown = "16 x FLAIR, 16 x T1, 16 x T1 with contrast, 16 x T2"
    assert told(cohort, "sequence") == [
        f"the images are of several MR sequences ({shown}); keep one with a labels.csv of its files"
    ]


def test_one_sequence_or_none_is_not_told(tmp_path: Path) -> None:
    for number in range(8):
        write_volume(tmp_path / "source" / CLASSES[number % 2] / f"P{number}{('_t1', '')[number % 2]}.nii", number)
    assert told(cohort_of(tmp_path / "source", tmp_path / "out"), "sequence") == []


@pytest.mark.parametrize("suffix", ["png", "nii.gz"])
def test_t1_and_t2_may_be_visits(tmp_path: Path, suffix: str) -> None:
    for number in range(8):
        for visit in ("T1", "T2"):
            path = tmp_path / "source" / CLASSES[number % 2] / f"P{number}_{visit}.{suffix}"
            (write_picture if suffix == "png" else write_volume)(path, 10 * number + int(visit[1]))
    count = 8 if suffix == "png" else 16
    [line] = told(cohort_of(tmp_path / "source", tmp_path / "out"), "sequence")
    assert line.startswith(f"the images are of several MR sequences ({count} x T1, {count} x T2); keep one with")
    assert line.endswith(
        "if T1 and T2 are visits, give patient_id in a CSV, so that a patient's visits stay in one split"
    )


def test_pictures_of_a_sequence_for_each_class_are_told(tmp_path: Path) -> None:
    for number in range(8):
        write_picture(
            tmp_path / "source" / CLASSES[number % 2] / f"P{number}_{('t1', 'flair')[number % 2]}.png", number
        )
        write_picture(
            tmp_path / "few" / CLASSES[number % 2] / f"P{number}{('_t1', '_t2', *6 * [''])[number]}.png", number
        )
    differs = "the MR sequence differs between classes, which may give them away: control: 100% T1; fahr: 100% FLAIR"
    assert told(cohort_of(tmp_path / "source", tmp_path / "out"), "sequence") == [
        f"{differs}; keep one with a labels.csv of its files"
    ]
    assert told(cohort_of(tmp_path / "few", tmp_path / "out"), "sequence") == []


@pytest.mark.parametrize(
    ("changes", "shown"),
    [
        ({"SeriesDescription": "ax head", "ImageType": ["DERIVED", "PRIMARY", "DIFFUSION", "ADC"]}, "DWI"),
        ({"SeriesDescription": "", "ProtocolName": "T2 TSE"}, "T2"),
    ],
)
def test_sequences_of_image_type_and_protocol(tmp_path: Path, changes: dict[str, object], shown: str) -> None:
    for number in range(8):
        path = tmp_path / "source" / CLASSES[number % 2] / f"{number}.dcm"
        write_mr(path, number, "t1_mprage")
        if number % 2:
            dataset = pydicom.dcmread(path)
            for keyword, value in changes.items():
                setattr(dataset, keyword, value)
            dataset.save_as(path)
    [line] = told(cohort_of(tmp_path / "source", tmp_path / "out"), "sequence")
    assert f"control: 100% T1; fahr: 100% {shown};" in line


@pytest.mark.parametrize(
    ("coronal", "line"),
    [
        ({1, 3, 5, 7}, "the plane differs between classes, which may give them away: control: 100% axial; fahr: 100%"),
        ({0, 1}, "the images are in several planes (6 x axial, 2 x coronal); keep one with --series or"),
        (set(), ""),
    ],
)
def test_planes(tmp_path: Path, coronal: set[int], line: str) -> None:
    for number in range(8):
        axes = [1, 0, 0, 0, 0.1, -1] if number in coronal else [1, 0, 0, 0, 0.9, 0.2]
        path = tmp_path / "source" / CLASSES[number % 2] / f"{number}.dcm"
        write_slice(path, number, 0, ImageOrientationPatient=axes, SeriesInstanceUID=f"1.2.{number}")
    found = told(cohort_of(tmp_path / "source", tmp_path / "out"), "plane")
    assert [text.startswith(line) for text in found] == ([True] if line else [])
