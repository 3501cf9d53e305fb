"""Compressed DICOM that other tests have no sample of: HTJ2K, JPEG with 12 bits, cut and padded codestreams."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import imagecodecs
import numpy as np
import pytest
from pydicom import dcmread, uid
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


def jpeg_of(kind: str) -> tuple[bytes, uid.UID, Any, int, str]:
    """A codestream that libjpeg-turbo decodes, its transfer syntax, pixels, bits and colours."""
    rows, columns = np.mgrid[:32, :40]
    noise = np.random.default_rng(0).integers(0, 90, (32, 40))
    deep = (columns * 60 + rows * 40 + noise).astype(np.uint16)
    grey = (deep >> 4).astype(np.uint8)
    colour = np.stack([grey, grey[::-1], grey[:, ::-1]], -1)
    encode = imagecodecs.jpeg8_encode
    if kind == "lossy 12":
        return encode(deep, level=95, bitspersample=12), uid.JPEGExtended12Bit, deep, 12, "MONOCHROME2"
    if kind == "lossy 8":
        return encode(grey, level=95), uid.JPEGExtended12Bit, grey, 8, "MONOCHROME2"
    if kind == "lossless 16":
        code = encode(deep, lossless=True, bitspersample=16)
        return code, uid.JPEGLosslessSV1, deep, 16, "MONOCHROME2"
    if kind == "lossless 8":
        return encode(grey, lossless=True), uid.JPEGLosslessSV1, grey, 8, "MONOCHROME2"
    code = encode(colour, lossless=True, colorspace="RGB", outcolorspace="RGB")
    return code, uid.JPEGLosslessSV1, colour, 8, "RGB"


KINDS = ["lossy 12", "lossy 8", "lossless 16", "lossless 8", "lossless colour"]
END = b"\xff\xd9"


@pytest.mark.parametrize("kind", KINDS)
def test_a_jpeg_that_is_cut_off_is_refused(tmp_path: Path, kind: str) -> None:
    code, syntax, pixels, bits, photometric = jpeg_of(kind)
    scan = code.rindex(b"\xff\xda") + 16
    # Behind each FF, where a decoder that waits for a marker stops reading.
    places = [place + 1 for place in range(scan, len(code) - 2) if code[place] == 0xFF][:5]
    for place in [*places, (scan + len(code)) // 2, len(code) - 8]:
        for cut in (code[:place], code[:place] + END, code[:place] + bytes(2)):
            with pytest.raises(CohortError, match=r"a.dcm: its pixels cannot be decoded .*its codestream is cut off"):
                read_dicom(write(tmp_path / "a.dcm", cut, syntax, pixels, bits, photometric))


@pytest.mark.parametrize("kind", KINDS)
def test_a_complete_jpeg_is_read_whatever_follows_it(tmp_path: Path, kind: str) -> None:
    code, syntax, pixels, bits, photometric = jpeg_of(kind)
    expected = read_dicom(write(tmp_path / "a.dcm", code, syntax, pixels, bits, photometric))[0].pixels
    if kind == "lossless 16":
        np.testing.assert_array_equal(expected[0], pixels.astype(np.float32) - 1024)
    others = [code + bytes(2), code + b"\xff", code[:-2] + b"\xff\xff" + END]
    if pixels.ndim == 2:
        others += [code[:-2], code[:-1]]
    for other in others:
        path = write(tmp_path / "a.dcm", other, syntax, pixels, bits, photometric)
        np.testing.assert_array_equal(read_dicom(path)[0].pixels, expected)
    dataset = dcmread(path)
    dataset.PixelData = encapsulate([code], fragments_per_frame=3)
    dataset.save_as(path)
    np.testing.assert_array_equal(read_dicom(path)[0].pixels, expected)


DEEP = np.random.default_rng(0).integers(0, 4096, (32, 40)).astype(np.uint16)


@pytest.mark.parametrize(
    ("syntax", "code"),
    [
        (uid.JPEG2000Lossless, imagecodecs.jpeg2k_encode(DEEP, level=0, bitspersample=12, codecformat="j2k")),
        (uid.HTJ2KLossless, imagecodecs.htj2k_encode(DEEP, reversible=True)),
        (uid.JPEGLSLossless, imagecodecs.jpegls_encode(DEEP)),
        (uid.JPEGLosslessSV1, imagecodecs.jpeg8_encode(DEEP, lossless=True, bitspersample=12)),
        (uid.JPEGExtended12Bit, imagecodecs.jpeg8_encode(DEEP, level=95, bitspersample=12)),
    ],
    ids=["JPEG 2000", "HTJ2K", "JPEG-LS", "lossless JPEG", "lossy JPEG"],
)
def test_a_codestream_with_more_bits_than_allocated_is_refused(tmp_path: Path, syntax: uid.UID, code: bytes) -> None:
    said = r"^a.dcm: its compressed pixels have (12|16) bits, but BitsAllocated is 8$"
    with pytest.raises(CohortError, match=said):
        read_dicom(write(tmp_path / "a.dcm", code, syntax, DEEP, 8, "MONOCHROME2"))
    # Fewer bits than allocated are no contradiction.
    found = read_dicom(write(tmp_path / "a.dcm", code, syntax, DEEP, 16, "MONOCHROME2"))[0].pixels[0] + 1024
    assert np.abs(found - DEEP).max() <= (40 if syntax == uid.JPEGExtended12Bit else 0)


@pytest.mark.parametrize("bits", [12, 16])
def test_a_signed_codestream_of_an_unsigned_image(tmp_path: Path, bits: int) -> None:
    def write_signed(stored: Any) -> Path:
        code = imagecodecs.jpeg2k_encode(stored, level=0, bitspersample=bits, codecformat="j2k")
        return write(tmp_path / "a.dcm", code, uid.JPEG2000Lossless, stored, bits, "MONOCHROME2")

    stored = (DEEP >> 1).astype(np.int16)
    # Without negative values there is one way to read them.
    np.testing.assert_array_equal(read_dicom(write_signed(stored))[0].pixels[0], stored - 1024.0)
    stored[3, 4] = -1
    said = r"^a.dcm: its compressed pixels have negative values, but PixelRepresentation says unsigned$"
    with pytest.raises(CohortError, match=said):
        read_dicom(write_signed(stored))
    dataset = dcmread(tmp_path / "a.dcm")
    dataset.PixelRepresentation = 1
    dataset.save_as(tmp_path / "a.dcm")
    np.testing.assert_array_equal(read_dicom(tmp_path / "a.dcm")[0].pixels[0], stored - 1024.0)
