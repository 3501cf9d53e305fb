"""DICOM masks beside DICOM images are used in the stored grid; segmentation objects are refused in one line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pydicom
import pytest

from gansweep.cohort.readers.masks import looks_drawn, read_mask
from gansweep.cohort.readers.slices import ScanError
from gansweep.cohort.sources.columns import Columns
from gansweep.cohort.sources.find import find_sources
from gansweep.errors import CohortError
from tests.cohort.scans import CLASSES, cohort_of, write_slice

if TYPE_CHECKING:
    from pathlib import Path

DRAWN = np.zeros((24, 24), bool)
DRAWN[3:9, 12:20] = True


def write_mask(path: Path, stored: np.ndarray, **changes: Any) -> None:
    """A mask in the header of another slice, with other values for some attributes."""
    bits = 8 * stored.dtype.itemsize
    values = {
        "Modality": "OT",
        "SOPClassUID": pydicom.uid.SecondaryCaptureImageStorage,
        "PixelRepresentation": 0,
        "BitsAllocated": bits,
        "BitsStored": bits,
        "HighBit": bits - 1,
        "PixelData": stored.tobytes(),
        **changes,
    }
    write_slice(path, 0, 0, **values)


@pytest.mark.parametrize("top", [np.uint8(1), np.uint8(255), np.uint16(1), np.uint16(4095)])
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_stored_values_above_0_are_the_lesion(tmp_path: Path, top: np.generic, photometric: str) -> None:
    path = tmp_path / "mask.dcm"
    write_mask(path, DRAWN * top, PhotometricInterpretation=photometric)
    np.testing.assert_array_equal(read_mask(path), DRAWN)
    assert looks_drawn(path)


def test_frames(tmp_path: Path) -> None:
    frames = np.stack([DRAWN, ~DRAWN]).astype(np.uint8)
    write_mask(tmp_path / "mask.dcm", frames, NumberOfFrames=2)
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.dcm"), frames > 0)


@pytest.mark.parametrize("mask", ["{}_mask.dcm", "masks/{}.dcm", "{}_seg", "masks/{}"])
def test_masks_beside_images_are_used(tmp_path: Path, mask: str) -> None:
    root = tmp_path / "source"
    for patient in range(8):
        folder = root / CLASSES[patient % 2]
        name = f"s{patient}"
        suffix = "" if "dcm" not in mask else ".dcm"
        write_slice(folder / f"{name}{suffix}", patient, 1)
        drawn = np.zeros((24, 24), np.uint8)
        drawn[3 : 4 + patient, 12:20] = 255
        write_mask(folder / mask.format(name), drawn)
    cohort = cohort_of(root, tmp_path / "out")
    assert cohort.manifest["label"].value_counts().to_dict() == {"control": 4, "fahr": 4}
    assert cohort.manifest["has_mask"].all()
    assert cohort.info.left_out == {}
    sources, _ = find_sources(root)
    for source in sources:
        assert source.mask is not None
        assert read_mask(source.mask).sum() == 8 * (1 + int(source.path.stem[1:]))


def test_a_column_names_dicom_masks(tmp_path: Path) -> None:
    rows = ["image file path,pathology,ROI mask file path"]
    for patient in range(4):
        write_slice(tmp_path / "full" / f"{patient}.dcm", patient, 1)
        write_mask(tmp_path / "roi" / f"{patient}.dcm", DRAWN.astype(np.uint8))
        rows.append(f"full/{patient}.dcm,{CLASSES[patient % 2]},roi/{patient}.dcm")
    (tmp_path / "labels.csv").write_text("\n".join(rows))
    sources, rejected = find_sources(tmp_path, columns=Columns(path="image file path", label="pathology"))
    assert rejected == []
    assert [source.mask for source in sources] == [tmp_path / "roi" / f"{patient}.dcm" for patient in range(4)]


def test_a_segmentation_object_says_what_to_do(tmp_path: Path) -> None:
    for patient in range(4):
        folder = tmp_path / "source" / CLASSES[patient % 2]
        write_slice(folder / f"s{patient}.dcm", patient, 1)
        write_mask(folder / f"s{patient}_seg.dcm", DRAWN.astype(np.uint8), Modality="SEG")
    with pytest.raises(CohortError, match=r"its mask: a DICOM segmentation object \(SEG\), .*; save the mask of each"):
        cohort_of(tmp_path / "source", tmp_path / "out")


@pytest.mark.parametrize(
    ("axes", "fits"), [([1, 0, 0, 0, 1, 0], True), ([-1, 0, 0, 0, 1, 0], False), ([0, 1, 0, 0, 0, -1], False)]
)
def test_a_mask_of_another_orientation_is_refused(tmp_path: Path, axes: list[int], fits: bool) -> None:
    for patient in range(6):
        folder = tmp_path / "source" / CLASSES[patient % 2]
        write_slice(folder / f"s{patient}.dcm", patient, 1, ImageOrientationPatient=[1, 0, 0, 0, 1, 0])
        write_mask(folder / f"s{patient}_mask.dcm", DRAWN.astype(np.uint8), ImageOrientationPatient=axes)
    if fits:
        assert cohort_of(tmp_path / "source", tmp_path / "out").manifest["has_mask"].all()
        return
    with pytest.raises(CohortError, match="its mask: another orientation than the image"):
        cohort_of(tmp_path / "source", tmp_path / "out")


def test_an_object_without_pixels_is_no_mask(tmp_path: Path) -> None:
    write_mask(tmp_path / "mask.dcm", DRAWN.astype(np.uint8))
    dataset = pydicom.dcmread(tmp_path / "mask.dcm")
    del dataset.PixelData
    dataset.save_as(tmp_path / "mask.dcm")
    with pytest.raises(ScanError, match="a DICOM object without pixels"):
        read_mask(tmp_path / "mask.dcm")
