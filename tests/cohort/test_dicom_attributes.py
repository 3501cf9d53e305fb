"""Attributes of DICOM that change what stored values mean: padding of floats, pixels that are not square, palettes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ComputedRadiographyImageStorage, SecondaryCaptureImageStorage

from gansweep.cohort.readers.dicom import read_dicom
from gansweep.cohort.readers.slices import ScanError
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


def write_grey(path: Path, stored: np.ndarray, bits: int, modality: str, **changes: Any) -> Path:
    """A radiograph, or an image of another modality, without a slope unless `changes` has one."""
    plain = {"RescaleSlope": None, "RescaleIntercept": None, "SOPClassUID": ComputedRadiographyImageStorage}
    write_slice(path, 1, 1, Modality=modality, **(plain | changes))
    dataset = pydicom.dcmread(path)
    dataset.Rows, dataset.Columns = stored.shape
    dataset.BitsAllocated = 8 if bits == 8 else 16
    dataset.BitsStored = bits
    dataset.HighBit = bits - 1
    dataset.PixelRepresentation = 0
    dataset.PixelData = stored.astype(np.uint8 if bits == 8 else np.uint16).tobytes()
    dataset["PixelData"].VR = "OB" if bits == 8 else "OW"
    dataset.save_as(path)
    return path


def inverting(bits: int, how: str, entries: int = 0) -> dict[str, Any]:
    """The Modality LUT module that turns black into white, as a slope or as a table."""
    full = 2**bits - 1
    if how == "slope":
        return {"RescaleSlope": -1, "RescaleIntercept": full, "RescaleType": "US"}
    table = (full - np.arange(entries or full + 1)).clip(0).astype("<u2")
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [len(table), 0, 16])
    item.ModalityLUTType = "US"
    item.add_new("LUTData", "OW", table.tobytes())
    return {"ModalityLUTSequence": [item]}


@pytest.mark.parametrize("modality", ["CR", "DX", "MG", "XA", "NM"])
@pytest.mark.parametrize("how", ["slope", "table"])
@pytest.mark.parametrize("bits", [8, 12])
def test_the_modality_lut_applies_to_every_depth(tmp_path: Path, modality: str, how: str, bits: int) -> None:
    stored = LEVELS * (2**bits // 256)
    (found,) = read_dicom(write_grey(tmp_path / "a.dcm", stored, bits, modality, **inverting(bits, how)))
    assert (found.modality, found.depth) == (modality, f"{bits}-bit")
    np.testing.assert_array_equal(found.pixels[0], 2**bits - 1 - stored)


def test_a_table_with_more_entries_than_levels(tmp_path: Path) -> None:
    path = write_grey(tmp_path / "a.dcm", LEVELS, 8, "CR", **inverting(8, "table", 4096))
    np.testing.assert_array_equal(read_dicom(path)[0].pixels[0], 255 - LEVELS)


@pytest.mark.parametrize("kind", ["ultrasound", "capture", "other"])
@pytest.mark.parametrize("how", ["", "slope", "table"])
def test_pictures_are_shares_of_their_range(tmp_path: Path, kind: str, how: str) -> None:
    modality = {"ultrasound": "US", "capture": "CR", "other": "OT"}[kind]
    changes = inverting(8, how) if how else {}
    if kind == "capture":
        changes["SOPClassUID"] = SecondaryCaptureImageStorage
    (found,) = read_dicom(write_grey(tmp_path / "a.dcm", LEVELS, 8, modality, **changes))
    assert (found.modality, found.depth) == ("raster", "8-bit")
    np.testing.assert_allclose(found.pixels[0], (255 - LEVELS if how else LEVELS) / 255, atol=1e-6)


def test_a_table_of_one_value_is_refused(tmp_path: Path) -> None:
    changes = inverting(8, "table")
    changes["ModalityLUTSequence"][0].LUTData = bytes(512)
    with pytest.raises(ScanError, match="its Modality LUT makes all values equal"):
        read_dicom(write_grey(tmp_path / "a.dcm", LEVELS, 8, "US", **changes))


def write_radiographs(root: Path, depths: tuple[int, int], *, lifted: bool = False) -> Any:
    """A cohort of 16 radiographs that are alike, but for the depth of every other patient."""
    rng = np.random.default_rng(0)
    for number in range(16):
        bits = depths[number // 2 % 2]
        shown = rng.integers(0, 200, (24, 24))
        shown[0, 0], shown[9:15, 9:15] = 0, 200
        if lifted and number % 2:
            shown[:, :2] = shown[:, -2:] = shown[:2] = shown[-2:] = 199
            shown[0, 0] = 0
        path = root / "source" / CLASSES[number % 2] / f"{number}.dcm"
        changes = {"PatientID": f"P{number}", "SeriesInstanceUID": f"1.2.{number}"}
        path.parent.mkdir(parents=True, exist_ok=True)
        write_grey(path, shown * 2**bits // 256, bits, "CR", **changes)
    return cohort_of(root / "source", root / "out")


def test_radiographs_of_two_depths_are_one_modality(tmp_path: Path) -> None:
    mixed = write_radiographs(tmp_path / "mixed", (8, 12))
    assert mixed.info.modality == "CR"
    assert mixed.info.ranges["fahr"]["depths"] == {"8-bit": 4, "12-bit": 4}
    deep = write_radiographs(tmp_path / "deep", (12, 12))
    assert len(mixed.manifest) == len(deep.manifest) == 16

    def images(cohort: Any) -> np.ndarray:
        return np.sort(np.load(cohort.path / "images.npy").reshape(16, -1).mean(1))

    np.testing.assert_allclose(images(mixed), images(deep), rtol=0.01)


def test_bright_edges_of_one_class_of_radiographs_are_told(tmp_path: Path) -> None:
    told = "brightness at the edges (is one inverted?) differs between classes"
    for lifted in (False, True):
        warnings = write_radiographs(tmp_path / str(lifted), (8, 12), lifted=lifted).info.warnings
        assert any(line.startswith(told) for line in warnings) == lifted
