"""A window in other units than those of the images is refused, and images that it makes flat are told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import nibabel
import numpy as np
import pytest

from gansweep.errors import CohortError
from tests.cohort.scans import CLASSES, cohort_of, write_slice

if TYPE_CHECKING:
    from pathlib import Path

RADIOGRAPH = "1.2.840.10008.5.1.4.1.1.1"


def write_radiographs(root: Path, dtype: Any = np.uint8) -> None:
    """Eight radiographs of which rows rise from 0 to 230 in steps of 10, each one more than the one before."""
    for patient in range(8):
        stored = np.arange(24)[:, None] * np.full((1, 24), 10) + patient
        bits = 8 * np.dtype(dtype).itemsize
        write_slice(
            root / CLASSES[patient % 2] / f"{patient}.dcm",
            patient,
            1,
            Modality="CR",
            SOPClassUID=RADIOGRAPH,
            RescaleSlope=None,
            RescaleIntercept=None,
            BitsAllocated=bits,
            BitsStored=bits,
            HighBit=bits - 1,
            PixelRepresentation=0,
            PixelData=stored.astype(dtype).tobytes(),
        )


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("window", ["0,1", "0.2,0.8"])
def test_a_window_of_shares_is_refused_for_scanner_units(tmp_path: Path, window: str, dtype: type) -> None:
    write_radiographs(tmp_path / "source", dtype)
    told = rf"window '{window}' is for values in \[0, 1\], but those of this CR image reach 230; leave --window out"
    with pytest.raises(CohortError, match=told):
        cohort_of(tmp_path / "source", tmp_path / "out", window=window)


def test_a_window_of_stored_values_is_used(tmp_path: Path) -> None:
    write_radiographs(tmp_path / "source")
    cohort = cohort_of(tmp_path / "source", tmp_path / "out", window="0,255")
    assert cohort.images.max() / 65535 == pytest.approx(232 / 255, abs=0.02)  # the mean of the two brightest rows
    assert not any("look alike" in line for line in cohort.info.warnings)


def test_a_window_of_shares_suits_volumes_of_shares(tmp_path: Path) -> None:
    for number in range(8):
        folder = tmp_path / "source" / CLASSES[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        values = np.random.default_rng(number).uniform(0, 1, (16, 16, 4)).astype(np.float32)
        nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), folder / f"{number}.nii")
    cohort = cohort_of(tmp_path / "source", tmp_path / "out", window="0,1", modality="MR", slices=1)
    assert len(cohort.manifest) == 8


def test_images_without_contrast_in_the_window_are_told(tmp_path: Path) -> None:
    write_radiographs(tmp_path / "source")
    cohort = cohort_of(tmp_path / "source", tmp_path / "out", window="1000,2000")
    assert not cohort.images.any()
    told = "all pixels look alike in this window, although their values differ; --window chooses another (8 images of"
    assert any(line.startswith(told) for line in cohort.info.warnings)
