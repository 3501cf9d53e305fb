"""All slices of one series go through one map, and only the odd ones are left out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import EnhancedCTImageStorage

from gansweep.cohort.readers.dicom import read_dicom
from gansweep.cohort.readers.slices import UnneededError
from tests.cohort.scans import CLASSES, cohort_of, write_slice

if TYPE_CHECKING:
    from pathlib import Path


def write_stored(path: Path, patient: int, number: int, stored: np.ndarray, photometric: str) -> None:
    """One MR slice with these stored values of 12 bits."""
    write_slice(path, patient, number, Modality="MR", RescaleIntercept=0, PhotometricInterpretation=photometric)
    dataset = pydicom.dcmread(path)
    assert (dataset.BitsStored, dataset.PixelRepresentation) == (12, 0)
    dataset.Rows, dataset.Columns = stored.shape
    dataset.PixelData = stored.astype("<u2").tobytes()
    dataset.save_as(path)


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_one_stored_value_is_one_value_in_all_slices(tmp_path: Path, photometric: str) -> None:
    """A patch that only one slice has does not change the others."""
    for patient in range(8):
        for number in range(3):
            rng = np.random.default_rng([patient, number])
            stored = rng.integers(100, 300, (16, 16))
            stored[6:10, 6:10] = 500
            if number == 1:
                stored[1:3, 1:3] = 2000
            path = tmp_path / "source" / CLASSES[patient % 2] / f"P{patient}" / f"{number}.dcm"
            write_stored(path, patient, number, stored, photometric)
    cohort = cohort_of(tmp_path / "source", tmp_path / "out")
    blocks = np.load(cohort.path / "images.npy")[:, 0, 6:10, 6:10].reshape(24, 16)
    assert (blocks == blocks[:, :1]).all()
    for patient, rows in cohort.manifest.groupby("patient"):
        assert len(rows) == 3
        assert len(set(blocks[rows.index, 0])) == 1, patient
    if photometric == "MONOCHROME1":  # the background of 100 to 300 is brighter, the patch darkest
        assert blocks.min() > 0
        assert blocks.max() < 65535


AXIAL = [1, 0, 0, 0, 1, 0]
CORONAL = [1, 0, 0, 0, 0, -1]
ORIGINAL = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
LOCALIZER = ["ORIGINAL", "PRIMARY", "LOCALIZER", "NONE"]
MAXIMUM = ["DERIVED", "PRIMARY", "VOLUME", "MAXIMUM"]
DERIVED = "a derived image, such as a reformat; --derived takes them"


def group_of(**sequences: dict[str, Any]) -> Dataset:
    """Functional groups of one item each."""
    group = Dataset()
    for name, values in sequences.items():
        item = Dataset()
        for keyword, value in values.items():
            setattr(item, keyword, value)
        setattr(group, name, Sequence([item]))
    return group


def write_enhanced(
    path: Path,
    seed: int,
    types: list[list[str]],
    planes: list[list[int]] | None = None,
    image_type: list[str] | None = None,
) -> np.ndarray:
    """An enhanced CT with one frame per frame type; returns its Hounsfield units."""
    hu = np.random.default_rng(seed).integers(-1000, 1000, (len(types), 24, 24))
    write_slice(path, seed, 1)
    dataset = pydicom.dcmread(path)
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = EnhancedCTImageStorage
    dataset.ImageType = image_type or ["MIXED", "PRIMARY", "VOLUME", "NONE"]
    dataset.NumberOfFrames = len(types)
    for keyword in ("RescaleSlope", "RescaleIntercept", "PixelSpacing", "ImagePositionPatient"):
        delattr(dataset, keyword)
    groups = []
    for number, kind in enumerate(types):
        group = group_of(
            PlanePositionSequence={"ImagePositionPatient": [0, 0, 5.0 * number]},
            PlaneOrientationSequence={"ImageOrientationPatient": planes[number] if planes else AXIAL},
        )
        if kind:
            frame_type = group_of(CTImageFrameTypeSequence={"FrameType": kind})
            group.CTImageFrameTypeSequence = frame_type.CTImageFrameTypeSequence
        groups.append(group)
    dataset.PerFrameFunctionalGroupsSequence = Sequence(groups)
    shared = group_of(
        PixelMeasuresSequence={"PixelSpacing": [1, 1]},
        PixelValueTransformationSequence={"RescaleSlope": 1, "RescaleIntercept": -1024, "RescaleType": "HU"},
    )
    dataset.SharedFunctionalGroupsSequence = Sequence([shared])
    dataset.PixelData = (hu + 1024).astype("<u2").tobytes()
    dataset.save_as(path)
    return hu


@pytest.mark.parametrize(("other", "said"), [(LOCALIZER, "a localizer image"), (MAXIMUM, DERIVED)])
def test_frames_are_left_out_by_their_own_type(tmp_path: Path, other: list[str], said: str) -> None:
    hu = write_enhanced(tmp_path / "a.dcm", 1, [other, ORIGINAL, ORIGINAL, other, ORIGINAL])
    parts = read_dicom(tmp_path / "a.dcm")
    np.testing.assert_array_equal([part.pixels[0] for part in parts], hu[[1, 2, 4]])
    assert [part.position for part in parts] == [5.0, 10.0, 20.0]
    assert [part.remark for part in parts] == [f"{said} (2 of 5 frames)", "", ""]
    write_enhanced(tmp_path / "b.dcm", 1, [other, other])
    with pytest.raises(UnneededError, match=said):
        read_dicom(tmp_path / "b.dcm")


def test_derived_frames_can_be_asked_for(tmp_path: Path) -> None:
    hu = write_enhanced(tmp_path / "a.dcm", 1, [ORIGINAL, MAXIMUM, LOCALIZER])
    parts = read_dicom(tmp_path / "a.dcm", derived=True)
    np.testing.assert_array_equal([part.pixels[0] for part in parts], hu[:2])
    assert parts[0].remark == "a localizer image (1 of 3 frames)"


def test_a_mixture_that_names_no_frame_is_derived(tmp_path: Path) -> None:
    write_enhanced(tmp_path / "a.dcm", 1, [[], []])
    write_slice(tmp_path / "b.dcm", 1, 1, ImageType=["MIXED", "PRIMARY", "VOLUME"])
    for name in ("a.dcm", "b.dcm"):
        with pytest.raises(UnneededError, match=DERIVED):
            read_dicom(tmp_path / name)
    hu = write_enhanced(tmp_path / "a.dcm", 1, [[], []], image_type=["ORIGINAL", "PRIMARY", "VOLUME", "NONE"])
    np.testing.assert_array_equal([part.pixels[0] for part in read_dicom(tmp_path / "a.dcm")], hu)


def test_frames_left_out_are_counted(tmp_path: Path) -> None:
    for patient in range(8):
        path = tmp_path / "source" / CLASSES[patient % 2] / f"{patient}.dcm"
        write_enhanced(path, patient, [LOCALIZER, *[ORIGINAL] * 4])
    cohort = cohort_of(tmp_path / "source", tmp_path / "out", slices=8)
    assert cohort.info.left_out == {"a localizer image (1 of 5 frames)": 8}


def test_a_stray_frame_leaves_the_others(tmp_path: Path) -> None:
    for patient in range(8):
        path = tmp_path / "source" / CLASSES[patient % 2] / f"{patient}.dcm"
        write_enhanced(path, patient, [ORIGINAL] * 11, planes=[AXIAL] * 4 + [CORONAL] + [AXIAL] * 6)
    cohort = cohort_of(tmp_path / "source", tmp_path / "out", slices=99)
    told = "another orientation than its series (1 of 11 frames)"
    assert cohort.info.left_out == {told: 8}
    assert sorted(pd.read_parquet(cohort.path / "rejected.parquet")["reason"]) == [told] * 8
    # The middle half of ten frames, of which none is the coronal one.
    assert len(cohort.manifest) == 8 * 6


def test_a_file_of_three_planes_is_a_survey(tmp_path: Path) -> None:
    planes = [AXIAL, CORONAL, [0, 1, 0, 0, 0, -1]]
    for patient in range(8):
        folder = tmp_path / "source" / CLASSES[patient % 2]
        write_slice(folder / f"{patient}.dcm", patient, 1)
        write_enhanced(folder / f"{patient}_scout.dcm", patient, [ORIGINAL] * 3, planes=planes)
        dataset = pydicom.dcmread(folder / f"{patient}_scout.dcm")
        dataset.SeriesInstanceUID = f"1.2.{patient}"
        dataset.save_as(folder / f"{patient}_scout.dcm")
    cohort = cohort_of(tmp_path / "source", tmp_path / "out")
    assert cohort.info.left_out == {"a survey: its series has several orientations": 8}
    assert len(cohort.manifest) == 8


@pytest.mark.parametrize("modality", ["CT", "MR"])
@pytest.mark.parametrize(
    ("series", "localizer"),
    [
        ("LOC", True),
        ("Loc SAG", True),
        ("AX_LOC", True),
        ("3-pl-loc", True),
        ("plan", True),
        ("Topo 0.6 T20s", True),
        ("Lokalisator", True),
        ("Local shim T1", False),
        ("RT plan CT", False),
        ("Planning CT", False),
        ("Topography", False),
        ("AX T1 block", False),
    ],
)
def test_localizers_by_the_name_of_their_series(tmp_path: Path, series: str, modality: str, localizer: bool) -> None:
    kinds = ["ORIGINAL", "PRIMARY", "OTHER"]
    write_slice(tmp_path / "a.dcm", 1, 1, SeriesDescription=series, Modality=modality, ImageType=kinds)
    if localizer:
        with pytest.raises(UnneededError, match="a localizer image"):
            read_dicom(tmp_path / "a.dcm")
    else:
        assert len(read_dicom(tmp_path / "a.dcm")) == 1


@pytest.mark.parametrize("series", ["Plan", "Head LOC", "AX loc CT head"])
def test_an_axial_ct_is_no_localizer_by_an_abbreviation(tmp_path: Path, series: str) -> None:
    kinds = ["ORIGINAL", "PRIMARY", "AXIAL"]
    write_slice(tmp_path / "a.dcm", 1, 1, SeriesDescription=series, ImageType=kinds)
    assert len(read_dicom(tmp_path / "a.dcm")) == 1


def test_a_localizer_by_its_image_type(tmp_path: Path) -> None:
    write_slice(tmp_path / "a.dcm", 1, 1, ImageType=["ORIGINAL", "PRIMARY", "TOPO"])
    with pytest.raises(UnneededError, match="a localizer image"):
        read_dicom(tmp_path / "a.dcm")
