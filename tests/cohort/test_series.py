"""All slices of one series go through one map, and only the odd ones are left out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pydicom
import pytest

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
