"""Whatever the attributes of a file: the value that comes out is the value that was written, or the file is refused."""

from __future__ import annotations

import gzip
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import nibabel
import numpy as np
import pydicom
import pydicom.data
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset

from gansweep.cohort.readers.dicom import read_dicom
from gansweep.cohort.readers.nifti import read_nifti
from gansweep.cohort.readers.raster import read_raster
from gansweep.errors import CohortError

QUICK = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
SYNTAXES = (
    uid.ImplicitVRLittleEndian,
    uid.ExplicitVRLittleEndian,
    uid.DeflatedExplicitVRLittleEndian,
    uid.RLELossless,
    uid.JPEGLSLossless,
    uid.JPEG2000Lossless,
)
SIDE = 40  # JPEG 2000 encoders need some pixels


@st.composite
def dicom_files(draw: st.DrawFn) -> dict[str, Any]:
    """The attributes of an image, and its stored values."""
    allocated = draw(st.sampled_from([8, 16, 16, 16]))
    bits = draw(st.integers(6 if allocated == 8 else 9, allocated))
    signed = draw(st.booleans()) and allocated == 16
    low = -(2 ** (bits - 1)) if signed else 0
    frames = draw(st.sampled_from([1, 1, 3]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    kind = f"{'i' if signed else 'u'}{allocated // 8}"
    stored = rng.integers(low, low + 2**bits, (frames, SIDE, SIDE)).astype(kind)
    padded = draw(st.booleans())
    if padded:
        stored[:, :5] = low
    return {
        "stored": stored,
        "allocated": allocated,
        "bits": bits,
        "signed": signed,
        "padding": low if padded else None,
        "photometric": draw(st.sampled_from(["MONOCHROME2", "MONOCHROME2", "MONOCHROME1"])),
        "modality": draw(st.sampled_from(["CT", "MR", "CR", "US"])),
        "slope": draw(st.sampled_from([None, "", 1, 2, 0.5, 0.1, -1, 0])),
        "intercept": draw(st.sampled_from([None, "", 0, -1024, 7.5])),
        "type": draw(st.sampled_from([None, "", "HU", "US"])),
        "syntax": draw(st.sampled_from(SYNTAXES)),
    }


def write_dicom(path: Path, facts: dict[str, Any]) -> None:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = uid.CTImageStorage
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = uid.generate_uid()
    dataset.Modality = facts["modality"]
    dataset.Rows = dataset.Columns = SIDE
    dataset.SamplesPerPixel = 1
    dataset.NumberOfFrames = len(facts["stored"])
    dataset.PhotometricInterpretation = facts["photometric"]
    dataset.BitsAllocated = facts["allocated"]
    dataset.BitsStored = facts["bits"]
    dataset.HighBit = facts["bits"] - 1
    dataset.PixelRepresentation = int(facts["signed"])
    for keyword, name in (("RescaleSlope", "slope"), ("RescaleIntercept", "intercept"), ("RescaleType", "type")):
        if facts[name] is not None:
            setattr(dataset, keyword, facts[name])
    if facts["padding"] is not None:
        dataset.add_new("PixelPaddingValue", "SS" if facts["signed"] else "US", facts["padding"])
    dataset.PixelData = facts["stored"].tobytes()
    dataset["PixelData"].VR = "OB" if facts["allocated"] == 8 else "OW"
    syntax = facts["syntax"]
    if syntax.is_encapsulated:
        dataset.compress(syntax)
    dataset.file_meta.TransferSyntaxUID = syntax
    pydicom.dcmwrite(path, dataset, enforce_file_format=True)


def expected_of(facts: dict[str, Any]) -> np.ndarray | None:
    """The values by the standard, computed frame by frame; None if the file has to be refused."""
    slope = 1.0 if facts["slope"] in {None, ""} else float(facts["slope"])
    intercept = 0.0 if facts["intercept"] in {None, ""} else float(facts["intercept"])
    stored = facts["stored"].astype(np.float64)
    padding = None if facts["padding"] is None else facts["stored"] == facts["padding"]
    if facts["modality"] == "CT":
        if {facts["slope"], facts["intercept"]} & {None, ""} or facts["type"] == "US" or slope == 0:
            return None
        values = stored * slope + intercept
        return values if padding is None else np.where(padding, -1000.0, values)
    picture = facts["modality"] == "US" and facts["allocated"] == 8
    if slope == 0:
        return None
    values = stored * slope + intercept
    if picture:  # a slope has no unit here, but may be negative
        shares = stored / (2 ** facts["bits"] - 1)
        values = shares if slope > 0 else 1 - shares
    frames = []
    for number, frame in enumerate(values):
        if facts["photometric"] == "MONOCHROME1":
            ends = -1 if facts["signed"] else 2 ** facts["bits"] - 1
            frame = 1 - frame if picture else ends - frame
        if padding is not None:
            frame = np.where(padding[number], frame[~padding[number]].min(), frame)
        frames.append(frame)
    return np.stack(frames)


@QUICK
@given(dicom_files())
def test_dicom(facts: dict[str, Any]) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "a.dcm"
        write_dicom(path, facts)
        expected = expected_of(facts)
        if expected is None:
            with pytest.raises(CohortError, match=r"Hounsfield|RescaleSlope is 0"):
                read_dicom(path)
            return
        found = np.stack([part.pixels[0] for part in read_dicom(path)])
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-5)


@st.composite
def pictures(draw: st.DrawFn) -> tuple[np.ndarray, str, dict[str, Any]]:
    """Values, the mode they are stored in, and how they are saved."""
    mode = draw(st.sampled_from(["L", "I;16", "1", "P", "RGB", "RGBA", "LA", "L+tRNS", "I;16+tRNS"]))
    suffixes = {
        "I;16": ["png", "tif"],
        "I;16+tRNS": ["png"],
        "L+tRNS": ["png"],
        "LA": ["png", "tif"],
        "P": ["png", "bmp"],
    }
    suffixes |= {"RGBA": ["png", "tif", "webp"], "RGB": ["png", "tif", "bmp", "webp"], "1": ["png", "tif"]}
    suffix = draw(st.sampled_from(suffixes.get(mode, ["png", "tif", "bmp"])))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    top, channels = {"1": (2, 0), "P": (4, 0), "RGB": (256, 3), "RGBA": (256, 4), "LA": (256, 2)}.get(
        mode, (65536 if mode.startswith("I;16") else 256, 0)
    )
    shape = (draw(st.integers(1, 9)), draw(st.integers(1, 9)), *([channels] if channels else []))
    return rng.integers(0, top, shape).astype(np.uint16 if top > 256 else np.uint8), mode, {"suffix": suffix}


PALETTE = np.array([[0, 0, 0], [255, 0, 0], [10, 200, 30], [255, 255, 255]], np.uint8)


@QUICK
@given(pictures(), st.integers(0, 65535))
def test_rasters(made: tuple[np.ndarray, str, dict[str, Any]], level: int) -> None:
    values, mode, how = made
    level = int(values.flat[level % values.size]) if values.ndim == 2 else level
    options: dict[str, Any] = {"lossless": True, "exact": True} if how["suffix"] == "webp" else {}
    if mode == "1":
        image = Image.fromarray(values * 255).convert("1")
        expected = values.astype(np.float64)
    elif mode == "P":
        image = Image.fromarray(values)
        image.putpalette(PALETTE.ravel().tolist())
        expected = PALETTE[values] / 255
    elif mode.endswith("+tRNS"):
        image = Image.fromarray(values)
        options["transparency"] = level
        expected = np.where(values == level, 0, values) / (65535 if values.dtype == np.uint16 else 255)
    elif mode in {"RGBA", "LA"}:
        image = Image.fromarray(values, mode) if mode == "LA" else Image.fromarray(values)
        expected = values[..., :-1] / 255 * (values[..., -1:] / 255)
        expected = expected[..., 0] if mode == "LA" else expected
    else:
        image = Image.fromarray(values)
        expected = values / (65535 if values.dtype == np.uint16 else 255)
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"a.{how['suffix']}"
        image.save(path, **options)
        found = np.moveaxis(read_raster(path)[0].pixels, 0, -1)
    expected = expected[..., None] if expected.ndim == 2 else expected
    if found.shape[-1] == 1 and expected.shape[-1] == 3:  # its channels agree: read as grey
        assert np.ptp(expected, axis=-1).mean() * 255 < 3
        expected = expected.mean(axis=-1, keepdims=True)
    if found.shape[-1] == 3 and expected.shape[-1] == 1:
        expected = np.repeat(expected, 3, axis=-1)
    np.testing.assert_allclose(found, expected, atol=1.01 / 255 if mode in {"RGBA", "LA"} else 1e-6)


@QUICK
@given(
    st.sampled_from([np.uint8, np.int16, np.uint16, np.int32, np.float32, np.float64]),
    st.sampled_from([None, (1.0, 0.0), (2.0, -1024.0), (0.5, 3.0)]),
    st.permutations([0, 1, 2]),
    st.tuples(*[st.sampled_from([1, -1])] * 3),
    st.integers(0, 2**32 - 1),
    st.booleans(),
)
def test_volumes(dtype: Any, scale: Any, order: list[int], signs: tuple[int, ...], seed: int, packed: bool) -> None:
    values = np.random.default_rng(seed).integers(0, 200, (5, 6, 7)).astype(dtype)  # right, front, top
    affine = np.eye(4)
    affine[:3, :3] = np.diag(signs)[:, order]
    flips = tuple(slice(None, None, signs[axis]) for axis in range(3))
    stored = values[flips].transpose(order)
    image = nibabel.Nifti1Image(stored, affine, dtype=dtype)
    if scale:
        image.header.set_slope_inter(*scale)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "v.nii"
        data = bytearray(image.to_bytes())
        slope, inter = scale or (1.0, 0.0)
        data[112:120] = np.array([slope, inter], "<f4").tobytes()
        path.write_bytes(data)
        if packed:
            path = path.with_suffix(".nii.gz")
            path.write_bytes(gzip.compress(bytes(data)))
        found = np.stack([part.pixels[0] for part in read_nifti(path)])
    expected = values.astype(np.float64) * slope + inter
    np.testing.assert_allclose(found, np.swapaxes(expected.transpose(2, 0, 1), 1, 2)[:, ::-1, ::-1], rtol=1e-6)


PYDICOM = 68  # files of pydicom and of nibabel that are read; all others are refused in one line
NIBABEL = 8


def outcomes(paths: list[Path], read: Any) -> tuple[int, list[str]]:
    """How many files were read, and the messages of the others; any other error fails."""
    number = 0
    messages = []
    for path in paths:
        try:
            parts = read(path)
        except CohortError as error:
            messages.append(str(error))
        else:
            assert all(part.pixels.ndim == 3 and np.isfinite(part.pixels).all() for part in parts), path.name
            number += 1
    assert not any("\n" in message for message in messages)
    return number, messages


def test_pydicoms_own_files() -> None:
    folder = Path(pydicom.data.__file__).parent / "test_files"
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    read, refused = outcomes(paths, read_dicom)
    assert (read, len(refused)) == (PYDICOM, len(paths) - PYDICOM)


def test_nibabels_own_files() -> None:
    folder = Path(nibabel.__file__).parent / "tests" / "data"
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    assert len(paths) > 20
    read, refused = outcomes(paths, read_nifti)
    assert (read, len(refused)) == (NIBABEL, len(paths) - NIBABEL)
    volumes = [path for path in paths if path.name.endswith((".nii", ".nii.gz")) and "conn" not in path.name]
    assert len(volumes) == 7
    for path in volumes:
        data = np.asarray(nibabel.load(path).dataobj)
        first = data.reshape(*data.shape[:3], -1)[..., 0].astype(np.float32)
        first = np.nan_to_num(first, nan=np.nanmin(first))
        found = np.stack([part.pixels for part in read_nifti(path)])
        np.testing.assert_array_equal(np.sort(found, axis=None), np.sort(first, axis=None), path.name)
