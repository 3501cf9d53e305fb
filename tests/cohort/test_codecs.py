"""Compressed DICOM that other tests have no sample of: HTJ2K, and lossy JPEG with 12 bits in colour."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import imagecodecs
import numpy as np
import pytest
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate

from gansweep.cohort.readers.dicom import read_dicom
from gansweep.errors import CohortError

if TYPE_CHECKING:
    from pathlib import Path


def write(path: Path, code: bytes, syntax: uid.UID, pixels: Any, bits: int, photometric: str) -> Path:
    colour = pixels.ndim == 3
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = uid.CTImageStorage
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = "1.2"
    dataset.Modality = "OT" if colour else "CT"
    dataset.Rows = pixels.shape[0]
    dataset.Columns = pixels.shape[1]
    dataset.BitsAllocated = 16 if bits > 8 else 8
    dataset.BitsStored = bits
    dataset.HighBit = bits - 1
    dataset.PixelRepresentation = 0
    dataset.SamplesPerPixel = 3 if colour else 1
    dataset.PhotometricInterpretation = photometric
    if colour:
        dataset.PlanarConfiguration = 0
    else:
        dataset.RescaleSlope = 1
        dataset.RescaleIntercept = -1024
    dataset.PixelData = encapsulate([code])
    dataset.save_as(path, enforce_file_format=True)
    return path


@pytest.mark.parametrize("syntax", [uid.HTJ2KLossless, uid.HTJ2KLosslessRPCL, uid.HTJ2K])
def test_htj2k_is_exact(tmp_path: Path, syntax: uid.UID) -> None:
    stored = np.random.default_rng(0).integers(0, 4096, (32, 40)).astype(np.uint16)
    code = imagecodecs.htj2k_encode(stored, reversible=True)
    (found,) = read_dicom(write(tmp_path / "a.dcm", code, syntax, stored, 12, "MONOCHROME2"))
    np.testing.assert_array_equal(found.pixels[0], stored.astype(np.float32) - 1024)


def test_htj2k_in_colour_is_exact(tmp_path: Path) -> None:
    stored = np.random.default_rng(0).integers(0, 256, (32, 40, 3)).astype(np.uint8)
    code = imagecodecs.htj2k_encode(stored, reversible=True)
    (found,) = read_dicom(write(tmp_path / "a.dcm", code, uid.HTJ2KLossless, stored, 8, "YBR_RCT"))
    np.testing.assert_allclose(found.pixels, np.moveaxis(stored, -1, 0) / 255, atol=1e-6)


@pytest.mark.parametrize("kept_as", ["RGB", "YCBCR"])
def test_jpeg_with_12_bits_in_colour(tmp_path: Path, kept_as: str) -> None:
    rows, columns = np.mgrid[:32, :40]
    stored = np.stack([columns * 100, rows * 120, (columns + rows) * 50], -1).astype(np.uint16)
    if kept_as == "RGB":
        code = imagecodecs.jpeg8_encode(stored, level=95, bitspersample=12, colorspace="RGB", outcolorspace="RGB")
        (found,) = read_dicom(write(tmp_path / "a.dcm", code, uid.JPEGExtended12Bit, stored, 12, "RGB"))
        assert np.abs(found.pixels * 4095 - np.moveaxis(stored, -1, 0)).max() <= 1
        return
    code = imagecodecs.jpeg8_encode(stored, level=95, bitspersample=12, colorspace="RGB", outcolorspace="YCBCR")
    path = write(tmp_path / "a.dcm", code, uid.JPEGExtended12Bit, stored, 12, "YBR_FULL_422")
    with pytest.raises(CohortError, match=r"a.dcm: its pixels cannot be decoded"):
        read_dicom(path)
