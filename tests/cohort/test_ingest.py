"""From folders of every kind to cohorts."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pydicom
import pytest
from PIL import Image

from gansweep.cohort.dataset import Cohort
from gansweep.cohort.ingest.run import IngestSettings, ingest
from gansweep.errors import CohortError

CONTRACT = [
    "image_id",
    "patient",
    "label",
    "split",
    "has_mask",
    "source_sha256",
    "rows",
    "cols",
    "spacing_mm",
    "modality",
]


def picture(path: Path, seed: int, *, colour: bool = False, size: int = 24) -> None:
    """A smooth random picture, each seed another."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 255, (6, 6, 3), np.uint8)).resize((size, size), Image.Resampling.BICUBIC)
    (coarse if colour else coarse.convert("L")).save(path)


def class_folders(root: Path, classes: dict[str, int], *, colour: bool = False) -> Path:
    seeds = iter(range(1000))
    for name, count in classes.items():
        for number in range(count):
            picture(root / name / f"{number:02d}.png", next(seeds), colour=colour)
    return root


def test_the_manifest_is_the_contract(cohort_path: Path) -> None:
    manifest = pd.read_parquet(cohort_path / "manifest.parquet")
    assert list(manifest.columns) == CONTRACT
    assert manifest["modality"].unique().tolist() == ["CT"]
    assert manifest["spacing_mm"].tolist() == pytest.approx([215 / 64] * 24)
    assert manifest["has_mask"].all()
    assert pd.read_parquet(cohort_path / "rejected.parquet").columns.tolist() == ["path", "reason"]
    assert {path.name for path in cohort_path.iterdir()} == {
        "manifest.parquet",
        "rejected.parquet",
        "cohort.json",
        "images.npy",
        "masks.npy",
    }


@pytest.mark.parametrize("colour", [False, True])
def test_one_folder_per_class(tmp_path: Path, colour: bool) -> None:
    source = class_folders(tmp_path / "source", {"tumour": 6, "no_tumour": 5, "other": 4}, colour=colour)
    summary = ingest(source, tmp_path / "out", IngestSettings(size=16))
    assert summary.info.classes == ("no_tumour", "other", "tumour")
    assert summary.info.channels == (3 if colour else 1)
    assert (summary.info.modality, summary.info.window) == ("raster", "full")
    assert summary.info.positive_class == "tumour"
    assert Cohort.open(summary.path).spec().mask_channels == 0
    assert not summary.info.patients_known
    first = np.asarray(Image.open(source / "no_tumour" / "00.png"), np.float32) / 255
    stored = Cohort.open(summary.path).images[0] / summary.info.scale
    assert abs(float(stored.mean()) - float(first.mean())) < 0.01


def test_a_few_images_in_colour_can_be_made_grey(tmp_path: Path) -> None:
    source = class_folders(tmp_path / "source", {"a": 4, "b": 4})
    picture(source / "a" / "00.png", 99, colour=True, size=16)
    mixed = ingest(source, tmp_path / "mixed", IngestSettings(size=16)).info
    assert mixed.channels == 3
    assert "1 of 8 images are in colour: all get three channels (--grey: one)" in mixed.warnings
    summary = ingest(source, tmp_path / "grey", IngestSettings(size=16, grey=True))
    assert summary.info.channels == 1
    assert not any("colour" in warning for warning in summary.info.warnings)
    grey = np.asarray(Image.open(source / "a" / "00.png").convert("L"), np.float32) / 255  # Pillow's are BT.601 too
    np.testing.assert_allclose(Cohort.open(summary.path).images[0, 0] / summary.info.scale, grey, atol=1 / 255)


def test_the_positive_class_can_be_chosen(tmp_path: Path) -> None:
    source = class_folders(tmp_path / "source", {"a": 3, "b": 3})
    assert ingest(source, tmp_path / "out", IngestSettings(size=16, positive="a")).info.positive_class == "a"
    with pytest.raises(CohortError, match="is not one of a, b"):
        ingest(source, tmp_path / "other", IngestSettings(size=16, positive="c"))
    only = ingest(source, tmp_path / "only", IngestSettings(size=16, classes=("a",)))
    assert only.info.classes == ("a",)
    assert "only one class" in only.info.warnings[-1]


def test_an_image_under_two_labels_is_left_out_with_all_its_copies(tmp_path: Path) -> None:
    source = class_folders(tmp_path / "source", {"a": 5, "b": 5})
    (source / "b" / "copy.png").write_bytes((source / "a" / "00.png").read_bytes())
    summary = ingest(source, tmp_path / "out", IngestSettings(size=16))
    rejected = pd.read_parquet(summary.path / "rejected.parquet")
    assert rejected["path"].tolist() == ["a/00.png", "b/copy.png"]
    assert rejected["reason"].unique().tolist() == ["the same image is labelled a and b"]
    assert "2 images left out" in summary.info.warnings[0]


def test_copies_and_near_copies_of_unknown_patients_share_a_split(tmp_path: Path) -> None:
    source = class_folders(tmp_path / "source", {"a": 8, "b": 8})
    for number in range(8):
        Image.open(source / "a" / f"{number:02d}.png").resize((48, 48)).save(source / "a" / f"again{number}.jpg")
    summary = ingest(source, tmp_path / "out", IngestSettings(size=16))
    manifest = Cohort.open(summary.path).manifest
    pairs = manifest[manifest["label"] == "a"].groupby("patient")
    assert pairs.size().tolist() == [2] * 8
    assert (pairs["split"].nunique() == 1).all()
    assert any("16 images have near-duplicates" in warning for warning in summary.info.warnings)


def test_a_copy_of_nobody_stays_with_the_patient_it_shows(tmp_path: Path) -> None:
    rows = []
    for number in range(12):
        label = "ab"[number % 2]
        picture(tmp_path / "source" / f"{number}.png", number)
        Image.open(tmp_path / "source" / f"{number}.png").resize((48, 48)).save(tmp_path / "source" / f"{number}.jpg")
        rows += [
            {"path": f"{number}.png", "label": label, "patient_id": f"P{number}"},
            {"path": f"{number}.jpg", "label": label, "patient_id": ""},
        ]
    picture(tmp_path / "source" / "12.png", 0, size=48)
    rows.append({"path": "12.png", "label": "a", "patient_id": "P12"})
    write_csv(tmp_path / "source", rows)
    made = ingest(tmp_path / "source", tmp_path / "out", IngestSettings(size=16))
    manifest = Cohort.open(made.path).manifest
    assert manifest["patient"].nunique() == 13, "nobody's image is the patient's whom it shows, and known ones stay two"
    assert (manifest.groupby("patient")["split"].nunique() == 1).all()
    assert manifest.loc[[0, 1, 24], "split"].nunique() == 1, "a copy of two patients keeps them together"
    counted = "every image counts as a patient of its own, near-duplicates as one"
    assert made.info.warnings[:3] == (
        "25 images have near-duplicates (kept in one split)",
        "2 images have near-duplicates (of different patients)",
        f"patients are not known for 12 of 25 images: {counted}",
    )


def write_csv(root: Path, rows: list[dict[str, str]]) -> None:
    pd.DataFrame(rows).to_csv(root / "labels.csv", index=False)


def splits_of_patients() -> list[dict[str, str]]:
    """Rows of ten pictures of each class, of which the first three are tested on and none validated."""
    return [
        {"path": f"{label}/{n:02d}.png", "label": label, "split": "testing" if n < 3 else "Train"}
        for label in "ab"
        for n in range(10)
    ]


def test_a_given_split_is_completed_and_no_copies_are_parted(tmp_path: Path) -> None:
    source, rows = class_folders(tmp_path / "source", {"a": 10, "b": 10}), splits_of_patients()
    for row in rows[3:10] + rows[13:]:
        path = source / row["path"]
        shutil.copy(path, path.with_name(f"{path.stem} copy.png"))
        Image.open(path).resize((48, 48)).save(path.with_name(f"{path.stem} near.jpg"))
        rows += [{**row, "path": row["path"].replace(".png", end)} for end in (" copy.png", " near.jpg")]
    write_csv(source, rows)
    made = ingest(source, tmp_path / "out", IngestSettings(size=16))
    assert made.info.images == {"train": 30, "val": 12, "test": 6}
    assert not any("near-duplicate" in warning for warning in made.info.warnings), "none is in another split"
    assert (Cohort.open(made.path).manifest.groupby("source_sha256")["split"].nunique() == 1).all()


def test_a_given_split_is_kept_and_completed(tmp_path: Path) -> None:
    source = class_folders(tmp_path / "source", {"a": 10, "b": 10})
    write_csv(source, splits_of_patients())
    summary = ingest(source, tmp_path / "out", IngestSettings(size=16))
    assert summary.info.split == "given"
    assert summary.info.images == {"train": 10, "val": 4, "test": 6}
    assert any("has no val" in warning for warning in summary.info.warnings)
    (source / "a" / "09.png").write_bytes((source / "a" / "00.png").read_bytes())
    with pytest.raises(CohortError, match="1 image is in two splits"):
        ingest(source, tmp_path / "leak", IngestSettings(size=16))
    kept = ingest(source, tmp_path / "kept", IngestSettings(size=16, drop_leaks=True))
    assert kept.info.images["test"] == 6
    assert pd.read_parquet(kept.path / "rejected.parquet")["reason"].tolist() == ["the same image is in test"]


def test_pairs(tmp_path: Path) -> None:
    rows = []
    for number in range(6):
        picture(tmp_path / f"source/ct/{number}.png", number)
        picture(tmp_path / f"source/mr/{number}.png", 100 + number)
        rows.append({"path": f"ct/{number}.png", "label": "x", "paired_mr": f"mr/{number}.png"})
    write_csv(tmp_path / "source", rows)
    cohort = Cohort.open(ingest(tmp_path / "source", tmp_path / "out", IngestSettings(size=24)).path)
    train = cohort.load("train")
    assert train.paired is not None
    assert train.paired.shape == train.images.shape
    index = int(np.flatnonzero(cohort.manifest["split"] == "train")[0])
    expected = np.asarray(Image.open(tmp_path / f"source/mr/{index}.png"), np.float32) / 255 * 2 - 1
    np.testing.assert_allclose(train.paired[0, 0].numpy(), expected, atol=1e-4)


def volumes(root: Path, count: int) -> None:
    rows = []
    for number in range(count):
        rng = np.random.default_rng(number)
        volume, mask = rng.normal(100, 10, (16, 16, 12)).astype(np.float32), np.zeros((16, 16, 12), np.uint8)
        mask[4:12, 4:12, 3:5] = 1 + number % 2
        for name, data in (("image", volume), ("mask", mask)):
            nibabel.save(nibabel.Nifti1Image(data, np.eye(4)), root / f"{name}{number}.nii.gz")
        rows.append({"path": f"image{number}.nii.gz", "label": "sick", "mask": f"mask{number}.nii.gz"})
    write_csv(root, rows)


def test_volumes_give_their_lesion_slices(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    volumes(tmp_path / "source", 5)
    summary = ingest(tmp_path / "source", tmp_path / "out", IngestSettings(size=16))
    cohort = Cohort.open(summary.path)
    assert len(cohort.manifest) == 10
    assert cohort.info.window == "percentile"
    masks = cohort.load("train").masks
    assert masks is not None
    assert (masks.sum((1, 2, 3)) == 64).all()
    assert cohort.manifest.groupby("patient").size().tolist() == [2] * 5


def test_labels_from_masks(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    volumes(tmp_path / "source", 5)
    summary = ingest(tmp_path / "source", tmp_path / "out", IngestSettings(size=16, label_from="mask"))
    assert summary.info.classes == ("no_lesion", "lesion")
    assert summary.classes["lesion"] == summary.classes["no_lesion"] == {"train": 6, "val": 2, "test": 2}
    train = Cohort.open(summary.path).load("train")
    assert train.masks is not None
    assert ((train.masks.sum((1, 2, 3)) > 0).long() == train.labels).all()


def test_series_are_ordered_by_position_whatever_the_files_are_called(phantom: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    heights = []
    for number, path in enumerate(sorted((phantom / "images").iterdir(), reverse=True)):
        dataset = pydicom.dcmread(path)
        label = "a" if int(dataset.PatientID[-4:]) % 2 else "b"
        (source / label).mkdir(parents=True, exist_ok=True)
        dataset.save_as(source / label / f"{number:03d}")  # no suffix either
        heights.append((dataset.PatientID, float(dataset.ImagePositionPatient[2])))
    cohort = Cohort.open(ingest(source, tmp_path / "out", IngestSettings(size=64, window="-1024,3071")).path)
    assert cohort.info.patients_known
    found = (cohort.images[:, 0] / cohort.info.scale * 4095).round()
    for patient in cohort.manifest["patient"].unique():
        rows = np.flatnonzero(cohort.manifest["patient"] == patient)
        originals = [pydicom.dcmread(path) for path in sorted((phantom / "images").iterdir())]
        match = [
            next(o.ImagePositionPatient[2] for o in originals if np.allclose(o.pixel_array, found[row], atol=1))
            for row in rows
        ]
        assert match == sorted(match)
    assert len(heights) == 24


def test_a_patient_named_in_the_header_is_one_patient_in_all_folders(phantom: Path, tmp_path: Path) -> None:
    rows = pd.read_csv(phantom / "labels.csv")
    for number, row in enumerate(rows.to_dict("records")):
        place = tmp_path / "source" / row["label"] / f"study{number}"
        place.mkdir(parents=True)
        shutil.copy(phantom / row["path"], place / "image.dcm")
    named = Cohort.open(ingest(tmp_path / "source", tmp_path / "out", IngestSettings(size=16)).path)
    assert named.manifest.groupby("patient").size().tolist() == [2] * 12
    for path in sorted((tmp_path / "source").rglob("*.dcm")):
        dataset = pydicom.dcmread(path)
        dataset.PatientID = ""
        dataset.save_as(path)
    by_folder = Cohort.open(ingest(tmp_path / "source", tmp_path / "again", IngestSettings(size=16)).path)
    assert by_folder.manifest.groupby("patient").size().tolist() == [1] * 24


real = pytest.mark.skipif("GANSWEEP_REAL_DATA" not in os.environ, reason="GANSWEEP_REAL_DATA is not set")


@real
@pytest.mark.real_data
def test_real_ct_and_mr_in_one_folder(tmp_path: Path) -> None:
    source = Path(os.environ["GANSWEEP_REAL_DATA"]) / "dicom_head_samples"
    with pytest.raises(CohortError, match=r"MR \(156 images\) and CT \(28 images\)"):
        ingest(source, tmp_path / "out", IngestSettings(size=16))
    summary = ingest(source, tmp_path / "out", IngestSettings(size=64, modality="CT", split=(1, 0, 0)))
    assert summary.info.images["train"] == 28
    images = Cohort.open(summary.path).load("train").images
    assert 0.3 < float((images > -0.9).float().mean()) < 0.8


@real
@pytest.mark.real_data
def test_real_collections_with_known_defects(tmp_path: Path) -> None:
    root = Path(os.environ["GANSWEEP_REAL_DATA"])
    summary = ingest(root / "head_ct_hemorrhage200", tmp_path / "ct", IngestSettings(size=32))
    assert summary.info.classes == ("normal", "hemorrhage")
    assert "near-duplicates" in summary.info.warnings[0]
    with pytest.raises(CohortError, match="10 such patients"):
        ingest(root / "harvard_ct_mr_pairs", tmp_path / "pairs", IngestSettings(size=32))
    paired = ingest(
        root / "harvard_ct_mr_pairs", tmp_path / "pairs", IngestSettings(size=32, split_column="patient_split")
    )
    assert Cohort.open(paired.path).load("train").paired is not None
