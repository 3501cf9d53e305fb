"""What is odd in a file that is used all the same is told, with the number of images and values."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import nibabel
import numpy as np
import pandas as pd
import pydicom
import pytest
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag

from gansweep.cohort.ingest.run import IngestSettings, ingest
from gansweep.cohort.readers.dicom import read_dicom
from gansweep.cohort.readers.nifti import NO_ORIENTATION, read_nifti
from gansweep.cohort.sources.hiding import shown_name
from gansweep.cohort.sources.words import look_alikes, patient_spelling
from gansweep.errors import CohortError
from tests.cohort.scans import CLASSES, write_picture, write_slice, write_volume

if TYPE_CHECKING:
    from pathlib import Path

SQUARE = "PixelSpacing is not two positive numbers: pixels are taken for square"
CUBES = "the voxel size is not three positive numbers: voxels are taken for cubes"


@pytest.mark.parametrize("value", [b"0\\0 ", b"-1\\1", b"nan\\1 ", b"1e999\\1 ", b"0.5 "])
def test_a_pixel_spacing_that_is_none(tmp_path: Path, value: bytes) -> None:
    for patient in range(8):
        write_slice(tmp_path / "source" / CLASSES[patient % 2] / f"{patient}.dcm", patient, 1)
    path = tmp_path / "source" / "control" / "0.dcm"
    dataset = pydicom.dcmread(path)
    tag = Tag(tag_for_keyword("PixelSpacing") or 0)
    dataset._dict[tag] = RawDataElement(tag, dictionary_VR(tag), len(value), value, 0, False, True)
    dataset.save_as(path)
    made = ingest(tmp_path / "source", tmp_path / "out", IngestSettings(size=16))
    assert f"{SQUARE} (1 image of 1 file; column flaws of manifest.parquet)" in made.info.warnings
    manifest = pd.read_parquet(made.path / "manifest.parquet")
    assert manifest["flaws"].tolist() == [SQUARE] + 7 * [""]
    assert manifest["spacing_mm"].isna().tolist() == [True] + 7 * [False]


def test_the_spacing_at_the_detector_stands_in(tmp_path: Path) -> None:
    write_slice(tmp_path / "a.dcm", 1, 1, PixelSpacing=[0, 0], ImagerPixelSpacing=[0.2, 0.4])
    (found,) = read_dicom(tmp_path / "a.dcm")
    assert (found.spacing_mm, found.flaws) == ((0.2, 0.4), ())


def test_voxels_that_are_no_numbers(tmp_path: Path) -> None:
    for number in range(8):
        write_volume(tmp_path / "source" / CLASSES[number % 2] / f"{number}.nii", number)
    values = np.random.default_rng(0).normal(100, 20, (16, 16, 4)).astype(np.float32)
    values[:2, 0, 0] = np.nan
    values[0, 0, 1] = np.inf
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), tmp_path / "source" / "control" / "0.nii")
    made = ingest(tmp_path / "source", tmp_path / "out", IngestSettings(size=16))
    what = "voxels that are not finite numbers take the nearest finite value"
    assert f"{what} (2 images of 1 file, 3 values; column flaws of manifest.parquet)" in made.info.warnings
    flaws = pd.read_parquet(made.path / "manifest.parquet")["flaws"]
    assert flaws[flaws != ""].tolist() == 2 * [f"{what} (3 in the file)"]


def written(path: Path, image: Any, *, pixdim: tuple[float, ...] = (), affine: bool = True) -> Path:
    """The image with other sizes in its header, and without its affine if `affine` is False."""
    nibabel.save(image, path)
    data = bytearray(path.read_bytes())
    if pixdim:
        data[80:92] = struct.pack("<3f", *pixdim)
    if not affine:
        data[252:256] = bytes(4)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("pixdim", "affine", "spacing"),
    [
        ((), True, (3.0, 2.0)),
        ((0.0, 3.0, 4.0), True, (3.0, 2.0)),  # the affine has the right sizes
        ((np.nan, 3.0, 4.0), True, (3.0, 2.0)),
        ((1.0, 1.0, 1.0), True, (3.0, 2.0)),
        ((2.0, 3.0, 4.0), False, (3.0, 2.0)),
        ((0.0, 3.0, 4.0), False, None),
        ((-2.0, 3.0, 4.0), False, None),
    ],
)
def test_the_voxel_size(
    tmp_path: Path, pixdim: tuple[float, ...], affine: bool, spacing: tuple[float, float] | None
) -> None:
    image = nibabel.Nifti1Image(np.arange(120, dtype=np.float32).reshape(4, 5, 6), np.diag([2.0, 3.0, 4.0, 1.0]))
    found = read_nifti(written(tmp_path / "v.nii", image, pixdim=pixdim, affine=affine))
    assert found[0].spacing_mm == spacing
    expected = ([] if spacing else [CUBES]) + ([] if affine else [NO_ORIENTATION])
    assert [flaw.what for flaw in found[0].flaws] == expected


@pytest.mark.parametrize(("unit", "scale"), [("mm", 1.0), ("meter", 1000.0), ("micron", 0.001)])
def test_the_unit_of_the_voxel_size(tmp_path: Path, unit: str, scale: float) -> None:
    image = nibabel.Nifti1Image(np.arange(120, dtype=np.float32).reshape(4, 5, 6), np.diag([2.0, 3.0, 4.0, 1.0]))
    image.header.set_xyzt_units(unit)
    nibabel.save(image, tmp_path / "v.nii")
    assert read_nifti(tmp_path / "v.nii")[0].spacing_mm == pytest.approx((3.0 * scale, 2.0 * scale))


@pytest.mark.parametrize(
    ("size", "unit", "told"),
    [(1.0, 0, False), (0.3, 0, False), (0.001, 0, True), (1000.0, 0, True), (0.001, 1, False), (30.0, 2, False)],
)
def test_an_unknown_unit_of_an_unusual_size_is_told(tmp_path: Path, size: float, unit: int, told: bool) -> None:
    image = nibabel.Nifti1Image(np.arange(120, dtype=np.float32).reshape(4, 5, 6), np.diag([size, size, size, 1.0]))
    image.header["xyzt_units"] = unit
    nibabel.save(image, tmp_path / "v.nii")
    found = read_nifti(tmp_path / "v.nii")[0]
    what = "the header names no unit of the voxel size, which is unusual: taken for millimetres"
    assert [flaw.what for flaw in found.flaws] == ([what] if told else [])
    assert found.spacing_mm == pytest.approx((size * (1000 if unit == 1 else 1),) * 2)


@pytest.mark.parametrize(
    ("qform", "told"),
    [
        (np.diag([2.0, 0.5, 5.0, 1.0]), True),
        (np.diag([-1.0, -1.0, 1.0, 1.0]), True),
        (np.diag([1.0, 1.0, 1.02, 1.0]), False),
        (np.array([[0.98, -0.2, 0, 9], [0.2, 0.98, 0, -4], [0, 0, 1, 7], [0, 0, 0, 1.0]]), False),  # registered
    ],
)
def test_two_affines_that_differ_are_told(tmp_path: Path, qform: np.ndarray, told: bool) -> None:
    image = nibabel.Nifti1Image(np.arange(120, dtype=np.float32).reshape(4, 5, 6), None)
    image.set_sform(np.eye(4), 1)
    image.set_qform(qform, 1)
    nibabel.save(image, tmp_path / "v.nii")
    found = read_nifti(tmp_path / "v.nii")[0]
    what = "qform and sform differ in voxel size or orientation: the sform is used"
    assert [flaw.what for flaw in found.flaws] == ([what] if told else [])
    assert found.spacing_mm == (1.0, 1.0)


@pytest.mark.parametrize("code", [2 | 0x58, 5, 4 | 0x08])
def test_codes_of_units_that_the_format_does_not_define(tmp_path: Path, code: int) -> None:
    """An unknown unit of time says nothing about the voxels; an unknown one of space is as good as none."""
    image = nibabel.Nifti1Image(np.arange(120, dtype=np.float32).reshape(4, 5, 6), np.diag([2.0, 3.0, 4.0, 1.0]))
    image.header["xyzt_units"] = code
    nibabel.save(image, tmp_path / "v.nii")
    assert read_nifti(tmp_path / "v.nii")[0].spacing_mm == (3.0, 2.0)


@pytest.mark.parametrize(
    ("label", "said"),
    [
        ("fa\x1b[31mhr", "cannot be shown"),
        ("fa\x07hr", "cannot be shown"),
        ("fa\u2028hr", "cannot be shown"),
        ("../fahr", "looks like a path"),
        ("a\\..\\fahr", "looks like a path"),
    ],
)
def test_labels_that_cannot_be_used(tmp_path: Path, label: str, said: str) -> None:
    for number in range(8):
        write_picture(tmp_path / "source" / f"{number}.png", number)
    rows = [{"path": f"{number}.png", "label": ("control", label)[number % 2]} for number in range(8)]
    pd.DataFrame(rows).to_csv(tmp_path / "source" / "labels.csv", index=False)
    with pytest.raises(CohortError, match=said) as refused:
        ingest(tmp_path / "source", tmp_path / "out", IngestSettings(size=16))
    assert str(refused.value).isprintable()
    assert not (tmp_path / "out").exists()
    made = ingest(tmp_path / "source", tmp_path / "out", IngestSettings(size=16, map={label: "fahr"}))
    assert made.info.classes == ("control", "fahr")


def test_nul_fills_up_a_text(tmp_path: Path) -> None:
    for number in range(8):
        write_picture(tmp_path / "source" / f"{number}.png", number)
    rows = [f"{number}.png,{CLASSES[number % 2]}\0\0,P{number // 2 * 2 % 8}\0" for number in range(8)]
    (tmp_path / "source" / "labels.csv").write_text("path,label,patient_id\n" + "\n".join(rows) + "\n")
    made = ingest(tmp_path / "source", tmp_path / "out", IngestSettings(size=16, label_per="image"))
    assert made.info.classes == CLASSES
    assert sum(made.info.patients.values()) == 4


def test_names_do_not_act_on_the_terminal() -> None:
    assert shown_name("scan\x1b[2J\n1.png", None) == "scan\N{REPLACEMENT CHARACTER}[2J\N{REPLACEMENT CHARACTER}1.png"
    assert patient_spelling("P\u200b007\0") == patient_spelling("p7")


def test_look_alikes_are_found_among_many_labels() -> None:
    labels = [f"kind {number:05d}" for number in range(20_000)] + ["kind 00007_left", "Kind 00009", "kind 00011s"]
    assert look_alikes(labels) == [
        ("Kind 00009", "kind 00009"),
        ("kind 00007", "kind 00007_left"),
        ("kind 00011", "kind 00011s"),
    ]


@pytest.mark.parametrize("value", [float("nan"), 0.0])
def test_an_affine_without_orientation_is_named(tmp_path: Path, value: float) -> None:
    path = tmp_path / "a.nii"
    write_volume(path, 1)
    data = bytearray(path.read_bytes())
    data[280:296] = struct.pack("<4f", *4 * [value])
    path.write_bytes(data)
    with pytest.raises(CohortError, match=r"a.nii: its affine gives no orientation: it has zeros or NaN for an axis"):
        read_nifti(path)
