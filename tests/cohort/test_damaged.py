"""Files that are damaged inside, or oddly called, are named in one line, and left out where that was asked for."""

from __future__ import annotations

import os
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
from gansweep.cohort.readers.dicom_header import read_header
from gansweep.cohort.readers.nifti import read_nifti
from gansweep.errors import CohortError
from tests.cohort.scans import CLASSES, cohort_of, write_picture, write_slice, write_volume

if TYPE_CHECKING:
    from pathlib import Path


def left_out(source: Path, out: Path, name: str, said: str, **settings: Any) -> None:
    """Checks that `name` stops ingest, and that with `skip_bad` nothing else is left out."""
    with pytest.raises(CohortError, match=f"{name}: {said}"):
        ingest(source, out, IngestSettings(size=16, **settings))
    made = ingest(source, out, IngestSettings(size=16, skip_bad=True, **settings))
    rejected = pd.read_parquet(made.path / "rejected.parquet")
    assert rejected["path"].tolist() == [name]
    assert rejected["reason"].str.contains(said).all()


@pytest.mark.parametrize(
    ("keyword", "value", "said"),
    [
        ("PixelSpacing", b"2,0\\2,0 ", "an attribute cannot be read"),
        ("RescaleSlope", b"one ", "an attribute cannot be read"),
        ("ImagePositionPatient", b"a\\b\\c ", "an attribute cannot be read"),
        ("RescaleIntercept", b"nan ", "values that are not finite"),
    ],
)
def test_dicom_attributes(tmp_path: Path, keyword: str, value: bytes, said: str) -> None:
    for patient in range(8):
        write_slice(tmp_path / "source" / CLASSES[patient % 2] / f"{patient}.dcm", patient, 1)
    path = tmp_path / "source" / CLASSES[0] / "0.dcm"
    dataset, tag = pydicom.dcmread(path), Tag(tag_for_keyword(keyword) or 0)
    dataset._dict[tag] = RawDataElement(tag, dictionary_VR(tag), len(value), value, 0, False, True)
    dataset.save_as(path)
    left_out(tmp_path / "source", tmp_path / "out", "control/0.dcm", said)


def test_a_volume_of_nothing(tmp_path: Path) -> None:
    for number in range(8):
        write_volume(tmp_path / "source" / CLASSES[number % 2] / f"{number}.nii", number)
    nothing = nibabel.Nifti1Image(np.full((16, 16, 4), np.nan, np.float32), np.eye(4))
    nibabel.save(nothing, tmp_path / "source" / "fahr" / "7.nii")
    left_out(tmp_path / "source", tmp_path / "out", "fahr/7.nii", "no finite values", slices=1)


def test_voxels_that_are_not_finite_take_the_nearest_value(tmp_path: Path) -> None:
    values = np.arange(64, dtype=np.float32).reshape(4, 4, 4)
    values[0, 0, :3] = np.nan, -np.inf, np.inf
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), tmp_path / "v.nii")
    found = np.stack([part.pixels[0] for part in read_nifti(tmp_path / "v.nii")])
    assert (found.min(), found.max()) == (3.0, 63.0)
    assert (found == 3.0).sum() == 3
    assert (found == 63.0).sum() == 2


def test_axes_of_one_are_none(tmp_path: Path) -> None:
    values = np.arange(64, dtype=np.float32).reshape(4, 4, 4, 1, 1)
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), tmp_path / "v.nii")
    assert len(read_nifti(tmp_path / "v.nii")) == 4
    nibabel.save(nibabel.Nifti1Image(np.repeat(values, 3, axis=-1), np.eye(4)), tmp_path / "v.nii")
    with pytest.raises(CohortError, match="not a volume: 4x4x4x1x3 voxels"):
        read_nifti(tmp_path / "v.nii")


def test_a_pair_that_cannot_be_read(tmp_path: Path) -> None:
    rows = []
    for number in range(8):
        for kind in ("ct", "mr"):
            write_picture(tmp_path / "source" / kind / f"{number}.png", number)
        rows.append({"path": f"ct/{number}.png", "label": CLASSES[number % 2], "paired": f"mr/{number}.png"})
    pd.DataFrame(rows).to_csv(tmp_path / "source" / "labels.csv", index=False)
    (tmp_path / "source" / "mr" / "0.png").write_text("no picture")
    left_out(tmp_path / "source", tmp_path / "out", "ct/0.png", "its pair: not a readable image")


def test_names_that_are_not_utf_8(tmp_path: Path) -> None:
    for number in range(9):
        folder = tmp_path / "source" / CLASSES[number % 2]
        write_picture(folder / f"{number}.png", number)
        (folder / f"{number}.png").rename(folder / os.fsdecode(b"M\xfcller%d.png" % number))
    (tmp_path / "source" / "control" / os.fsdecode(b"M\xfcller8.png")).write_text("no picture")
    made = ingest(tmp_path / "source", tmp_path / "out", IngestSettings(size=16, skip_bad=True))
    rejected = pd.read_parquet(made.path / "rejected.parquet").iloc[0].to_dict()
    assert rejected == {
        "path": "control/[file 5 of 5].png",
        "reason": "not a readable image (cannot identify image file)",
    }


@pytest.mark.parametrize("keyword", ["PatientID", "StudyInstanceUID", "SeriesDescription"])
def test_an_identifying_attribute_of_an_unknown_kind(tmp_path: Path, keyword: str) -> None:
    write_slice(tmp_path / "a.dcm", 1, 1, SeriesDescription="head")
    data = bytearray((tmp_path / "a.dcm").read_bytes())
    tag = Tag(tag_for_keyword(keyword) or 0)
    place = data.index(tag.group.to_bytes(2, "little") + tag.element.to_bytes(2, "little"), 132)
    data[place + 4 : place + 6] = b"QI"
    (tmp_path / "a.dcm").write_bytes(data)
    with pytest.raises(CohortError, match=r"a.dcm: an attribute cannot be read"):
        read_header(tmp_path / "a.dcm")


@pytest.mark.parametrize("kind", [b"QI", b"U\xc9", b"Ui"])
def test_a_class_in_the_file_meta_of_an_unknown_kind(tmp_path: Path, kind: bytes) -> None:
    write_slice(tmp_path / "a.dcm", 1, 1)
    data = bytearray((tmp_path / "a.dcm").read_bytes())
    place = data.index(b"\x02\x00\x02\x00UI", 132)
    data[place + 4 : place + 6] = kind
    (tmp_path / "a.dcm").write_bytes(data)
    with pytest.raises(CohortError, match=r"a.dcm: not a readable DICOM file \(Unknown Value Representation"):
        read_header(tmp_path / "a.dcm")


@pytest.mark.parametrize(
    ("path", "paired", "reason"),
    [
        ("0.png", "volume.nii", "its pair is a NIfTI volume, and pairs are single slices"),
        ("0.png", "frames.dcm", "its pair has 3 slices, and pairs are single slices"),
        ("volume.nii", "0.png", "has 4 slices and one pair, and pairs are single slices"),
    ],
)
def test_pairs_are_single_slices(tmp_path: Path, path: str, paired: str, reason: str) -> None:
    write_volume(tmp_path / "volume.nii", 0)
    write_slice(tmp_path / "frames.dcm", 0, 0)
    frames = pydicom.dcmread(tmp_path / "frames.dcm")
    frames.NumberOfFrames = 3
    frames.PixelData *= 3
    frames.save_as(tmp_path / "frames.dcm")
    rows = [{"path": path, "label": CLASSES[0], "paired": paired}]
    for number in range(8):
        write_picture(tmp_path / f"{number}.png", number)
        rows.append({"path": f"{number}.png", "label": CLASSES[number % 2], "paired": f"{number}.png"})
    pd.DataFrame(rows if path != "0.png" else [rows[0], *rows[2:]]).to_csv(tmp_path / "labels.csv", index=False)
    with pytest.raises(CohortError, match=reason):
        ingest(tmp_path, tmp_path.with_name("out"), IngestSettings(size=16))


def test_one_image_may_have_several_pairs(tmp_path: Path) -> None:
    rows = []
    for number in range(16):
        write_picture(tmp_path / "mr" / f"{number}.png", number)
    for number in range(8):
        write_slice(tmp_path / f"{number}.dcm", number, 0)
        rows += [
            {"path": f"{number}.dcm", "label": CLASSES[number % 2], "paired": f"mr/{pair}.png"}
            for pair in (2 * number, 2 * number + 1)
        ]
    pd.DataFrame(rows).to_csv(tmp_path / "labels.csv", index=False)
    made = ingest(tmp_path, tmp_path.with_name("out"), IngestSettings(size=16))
    assert len(pd.read_parquet(made.path / "manifest.parquet")) == 16


@pytest.mark.parametrize(
    ("written", "name", "told"),
    [
        ("a.dcm", "x.png", "a DICOM file under another suffix; name it .dcm"),
        ("a.png", "x.dcm", "a PNG picture under another suffix; name it .png"),
        ("a.jpg", "x.nii", "a JPEG picture under another suffix; name it .jpg"),
        ("a.nii", "x.nii.gz", "an uncompressed NIfTI file under another suffix; name it .nii"),
        ("a.nii.gz", "x.nii", "a compressed file under another suffix; name it .nii.gz"),
        ("a.png", "x.jpg", ""),
    ],
)
def test_files_under_another_suffix_say_so(tmp_path: Path, written: str, name: str, told: str) -> None:
    writers = {".dcm": lambda path: write_slice(path, 1, 1), ".nii": lambda path: write_volume(path, 1)}
    writers[".gz"] = writers[".nii"]
    first = tmp_path / written
    writers.get(first.suffix, lambda path: write_picture(path, 1))(first)
    for number in range(6):
        write_picture(tmp_path / "source" / CLASSES[number % 2] / f"{number}.png", number + 10)
    first.rename(tmp_path / "source" / CLASSES[0] / name)
    if told:
        with pytest.raises(CohortError, match=told):
            cohort_of(tmp_path / "source", tmp_path / "out")
    else:
        assert len(cohort_of(tmp_path / "source", tmp_path / "out").manifest) == 7
