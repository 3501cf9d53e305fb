"""Attributes of DICOM that change what stored values mean: padding of floats, pixels that are not square, palettes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pydicom
import pytest

from gansweep.cohort.readers.dicom import read_dicom
from tests.cohort.scans import CLASSES, cohort_of, write_slice

if TYPE_CHECKING:
    from pathlib import Path


def write_floats(path: Path, values: np.ndarray, **padding: Any) -> None:
    """An MR image of 32 or 64-bit floats."""
    write_slice(path, 1, 1, Modality="MR", RescaleIntercept=0)
    dataset = pydicom.dcmread(path)
    kind = "DoubleFloat" if values.dtype == np.float64 else "Float"
    for keyword in ("PixelData", "BitsStored", "HighBit", "PixelRepresentation"):
        delattr(dataset, keyword)
    dataset.Rows, dataset.Columns = values.shape
    dataset.BitsAllocated = 8 * values.dtype.itemsize
    setattr(dataset, f"{kind}PixelData", values.tobytes())
    for name, value in padding.items():
        setattr(dataset, f"{kind}{name}", value)
    dataset.save_as(path)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("marked", "padding"),
    [
        ([-99999.25], {"PixelPaddingValue": -99999.25}),
        ([-99999.1], {"PixelPaddingValue": -99999.1}),
        ([-99999.0, -88888.0], {"PixelPaddingValue": -99999.0, "PixelPaddingRangeLimit": -80000.0}),
        ([-99999.0, -88888.0], {"PixelPaddingValue": -80000.0, "PixelPaddingRangeLimit": -100000.0}),
        ([np.nan], {"PixelPaddingValue": float("nan")}),
    ],
)
def test_padding_of_floats_takes_the_smallest_value(
    tmp_path: Path, dtype: Any, marked: list[float], padding: dict[str, float]
) -> None:
    values = np.random.default_rng(0).uniform(10, 500, (24, 24)).astype(dtype)
    smallest = values[1:].min()
    values[0] = np.resize(marked, 24)
    write_floats(tmp_path / "a.dcm", values, **padding)
    found = read_dicom(tmp_path / "a.dcm")[0].pixels[0]
    assert (found[0] == np.float32(smallest)).all()
    np.testing.assert_array_equal(found[1:], values[1:].astype(np.float32))


def test_floats_without_padding_keep_their_values(tmp_path: Path) -> None:
    values = np.random.default_rng(0).uniform(-10, 500, (24, 24)).astype(np.float32)
    write_floats(tmp_path / "a.dcm", values)
    np.testing.assert_array_equal(read_dicom(tmp_path / "a.dcm")[0].pixels[0], values)


@pytest.mark.parametrize(
    ("ratio", "shape", "block"),
    [
        ([2, 1], (32, 64), (8, 4)),
        ([1, 2], (64, 32), (4, 8)),
        ([1, 1], (64, 64), (4, 4)),
        ([0, 1], (64, 64), (4, 4)),
        (None, (64, 64), (4, 4)),
    ],
)
def test_pixels_that_are_not_square(
    tmp_path: Path, ratio: list[int] | None, shape: tuple[int, int], block: tuple[int, int]
) -> None:
    """A block of 16 x 16 pixels has the height and width that the pixels have."""
    middle = tuple(slice(side // 2 - 8, side // 2 + 8) for side in shape)
    for number in range(8):
        path = tmp_path / "source" / CLASSES[number % 2] / f"{number}.dcm"
        write_slice(path, number, 1, Modality="US", PixelSpacing=None)
        dataset = pydicom.dcmread(path)
        stored = np.random.default_rng(number).integers(0, 100, shape).astype(np.uint8)
        stored[middle] = 255
        dataset.Rows, dataset.Columns = shape
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8, 8, 7
        dataset.PixelData = stored.tobytes()
        if ratio:
            dataset.PixelAspectRatio = ratio
        dataset.save_as(path)
    made = cohort_of(tmp_path / "source", tmp_path / "out")
    assert made.manifest["spacing_mm"].isna().all()
    bright = np.load(made.path / "images.npy")[:, 0] > 50000
    assert bright.shape == (8, 16, 16)
    assert (bright.any(axis=2).sum(axis=1) == block[0]).all()
    assert (bright.any(axis=1).sum(axis=1) == block[1]).all()


LEVELS = np.arange(256).reshape(16, 16)


def write_palette(path: Path, tables: list[np.ndarray], bits: int, segmented: bool = False) -> Path:
    """An image of every stored value, whose colours are in tables."""
    write_slice(path, 1, 1, Modality="US", PhotometricInterpretation="PALETTE COLOR")
    dataset = pydicom.dcmread(path)
    dataset.Rows = dataset.Columns = 16
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit = 7
    dataset.PixelRepresentation = 0
    dataset.PixelData = LEVELS.astype(np.uint8).tobytes()
    dataset["PixelData"].VR = "OB"
    for name, table in zip(("Red", "Green", "Blue"), tables, strict=True):
        data = np.concatenate([[0, len(table)], table]).astype(table.dtype) if segmented else table
        keyword = f"{name}PaletteColorLookupTable"
        setattr(dataset, f"{keyword}Descriptor", [len(table), 0, bits])
        setattr(dataset, f"{'Segmented' if segmented else ''}{keyword}Data", data.tobytes())
        dataset[f"{keyword}Descriptor"].VR = "US"
    dataset.save_as(path)
    return path


RAMP = np.arange(256)


@pytest.mark.parametrize(
    ("scale", "dtype", "bits", "segmented", "depth"),
    [
        (257, np.uint16, 16, False, "16-bit"),
        (1, np.uint16, 16, False, "8-bit"),
        (1, np.uint16, 8, False, "8-bit"),
        (1, np.uint8, 8, False, "8-bit"),
        (257, np.uint16, 16, True, "16-bit"),
        (1, np.uint16, 16, True, "8-bit"),
    ],
)
def test_the_colours_of_a_palette(
    tmp_path: Path, scale: int, dtype: Any, bits: int, segmented: bool, depth: str
) -> None:
    shown = [RAMP, RAMP // 2, 255 - RAMP]
    tables = [(table * scale).astype(dtype) for table in shown]
    (found,) = read_dicom(write_palette(tmp_path / "a.dcm", tables, bits, segmented))
    expected = np.stack([table[LEVELS] for table in shown]) / 255
    np.testing.assert_allclose(found.pixels, expected, atol=1e-6)
    assert (found.modality, found.depth) == ("raster", depth)


def test_a_dark_image_with_a_palette_of_16_bits_stays_dark(tmp_path: Path) -> None:
    table = np.where(RAMP < 255, 200, 65535).astype(np.uint16)
    path = write_palette(tmp_path / "a.dcm", [table] * 3, 16)
    dataset = pydicom.dcmread(path)
    dataset.PixelData = bytes(256)
    dataset.save_as(path)
    np.testing.assert_allclose(read_dicom(path)[0].pixels, 200 / 65535, rtol=1e-5)
