"""Masks under other spellings are used as masks, or stop the ingest with a hint; they never become images."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import nibabel
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from gansweep.cohort.ingest.run import IngestSettings, ingest
from gansweep.cohort.sources.find import find_sources
from gansweep.errors import CohortError
from tests.cohort.scans import CLASSES, cohort_of, write_picture

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def write_pairs(root: Path, image: str, mask: str) -> None:
    """Eight pictures of 20 x 20 pixels with a lesion of 2 to 9 rows and 4 columns.

    In names, `*` stands for the picture's and `@` for the class's.
    """
    for number in range(8):
        label = CLASSES[number % 2]
        write_picture(root / label / image.replace("*", f"s{number}"), number)
        drawn = np.zeros((20, 20), np.uint8)
        drawn[4 : 6 + number, 4:8] = 255
        path = root / label / mask.replace("*", f"s{number}").replace("@", label)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(drawn).save(path)


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("*.png", "*_lesion.png"),
        ("*.png", "* (mask).png"),
        ("*.png", "*[mask].png"),
        ("*.png", "*mask.png"),
        ("*_img.png", "*_mask.png"),
        ("img_*.png", "mask_*.png"),
        ("*_image.png", "*_label.png"),
        ("image/*.png", "mask_png/*.png"),
        ("images/*_0000.png", "labels/*.png"),
        ("images/*.png", "lesions/*.png"),
        ("images/*.png", "binary_masks/*.png"),
        ("*.png", "../@_mask/*.png"),
        ("*.png", "../@-masks/*_mask.png"),
        ("*/image.png", "*/mask.png"),
        ("*/photo.png", "*/segmentation.png"),
    ],
)
def test_masks_are_used(tmp_path: Path, image: str, mask: str) -> None:
    write_pairs(tmp_path / "source", image, mask)
    cohort = cohort_of(tmp_path / "source", tmp_path / "out")
    assert cohort.manifest["label"].value_counts().to_dict() == {"control": 4, "fahr": 4}
    sources, _ = find_sources(tmp_path / "source")
    for source in sources:
        assert source.mask is not None
        number = int(re.findall(r"s(\d)", str(source.path))[-1])
        assert np.count_nonzero(np.asarray(Image.open(source.mask))) == 4 * (2 + number)


@pytest.mark.parametrize(
    ("images", "mask"),
    [
        (("*_t1", "*_t1ce", "*_t2", "*_flair"), "*_seg"),  # BraTS
        (("imaging",), "segmentation"),  # KiTS
        (("ct",), "mask_1"),
        (("*_post",), "*_seg"),
        (("T1", "T2"), "lesion"),
        (("T1", "T2"), "tumor"),
        (("T1",), "tumor_seg"),
        (("T1",), "aparc+aseg"),  # FreeSurfer, whose label maps are no masks of lesions
        (("*_T1",), "*_aparc+aseg"),
    ],
)
def test_a_folder_for_each_case(tmp_path: Path, images: tuple[str, ...], mask: str) -> None:
    drawn = np.zeros((16, 16, 4), np.uint8)
    drawn[4:8, 4:8] = 3
    for number in range(8):
        case = tmp_path / CLASSES[number % 2] / f"case{number}"
        case.mkdir(parents=True)
        for name in (*images, mask):
            values = drawn if name == mask else np.full((16, 16, 4), number, np.int16)
            nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), case / f"{name.replace('*', case.name)}.nii.gz")
    sources, rejected = find_sources(tmp_path)
    assert len(sources) == 8 * len(images)
    label_map = mask.endswith("aparc+aseg")
    assert len(rejected) == 8 * label_map
    for source in sources:
        expected = source.path.parent / f"{mask.replace('*', source.path.parent.name)}.nii.gz"
        assert source.mask == (None if label_map else expected)


@pytest.mark.parametrize(
    ("image", "mask"), [("img{}", "mask{}"), ("image_0{}", "seg-{}"), ("scan {}", "lesion_mask_0{}")]
)
def test_a_number_joins_image_and_mask_in_a_folder_for_each_case(tmp_path: Path, image: str, mask: str) -> None:
    for case in range(6):
        for number in (0, 1, 12):
            folder = tmp_path / CLASSES[case % 2] / f"case{case}"
            write_picture(folder / f"{image.format(number)}.png", 100 * case + number)
            Image.fromarray(np.eye(20, dtype=np.uint8)).save(folder / f"{mask.format(number)}.png")
    sources, rejected = find_sources(tmp_path)
    assert (len(sources), rejected) == (18, [])
    stems = {image.format(number): mask.format(number) for number in (0, 1, 12)}
    for source in sources:
        assert source.mask == source.path.with_stem(stems[source.path.stem])


@pytest.mark.parametrize(("images", "masks"), [(("img1",), ("mask1", "mask2")), (("img1", "img01"), ("mask1",))])
def test_a_numbered_mask_of_no_one_image_is_left_out(
    tmp_path: Path, images: tuple[str, ...], masks: tuple[str, ...]
) -> None:
    for label in CLASSES:
        for number, name in enumerate((*images, "img5", "img6")):
            write_picture(tmp_path / label / f"{name}.png", 100 * len(label) + number)
        for name in masks:
            Image.fromarray(np.eye(20, dtype=np.uint8)).save(tmp_path / label / f"{name}.png")
    sources, rejected = find_sources(tmp_path)
    assert len(sources) == 2 * (len(images) + 2)
    assert sorted(item.name for item in rejected) == [f"{label}/{masks[-1]}.png" for label in sorted(CLASSES)]


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("img{}.png", "mask{}.png"),
        ("p7_s{:02d}.png", "p7_s{:02d}_seg.png"),
        ("images/{}.png", "masks/{}.png"),
        ("{}_t1.png", "{}_mask_1.png"),
    ],
)
def test_masks_that_are_numbered_from_another_number_are_refused(tmp_path: Path, image: str, mask: str) -> None:
    root = tmp_path / "source"
    rows = ["path,label,mask"]
    for number in range(12):
        case = f"{CLASSES[number % 2]}/case"
        shown, drawn = (f"{case}/{name.format(k)}" for name, k in ((image, number // 2 + 1), (mask, number // 2)))
        write_picture(root / shown, number)
        (root / drawn).parent.mkdir(exist_ok=True)
        Image.fromarray(np.eye(20, dtype=np.uint8)).save(root / drawn)
        rows.append(f"{shown},{CLASSES[number % 2]},{drawn}")
    with pytest.raises(CohortError, match="6 images are numbered from 1 to 6, and their masks from 0 to 5"):
        find_sources(root)
    labels = tmp_path / "labels.csv"
    labels.write_text("\n".join(rows), "utf-8")
    sources, rejected = find_sources(root, labels)
    assert (len(sources), rejected) == (12, [])
    for source, row in zip(sources, rows[1:], strict=True):
        assert source.mask == root / row.rpartition(",")[2]


@pytest.mark.parametrize(
    ("images", "masks", "told"),
    [
        (
            range(1, 9),
            range(7),
            "8 images are numbered from 1 to 8, and their masks from 0 to 6 (2 such series): images",
        ),
        (range(8), (2, 3, 8), "8 images are numbered from 0 to 7, and their masks from 2 to 8 (2 such series): images"),
        ((1, 2, 4), (0, 1, 2), ""),
        (range(9), range(9), ""),
        (range(9), (1, 4, 5), ""),
        ((*range(3), *range(4, 9)), range(4), ""),
    ],
)
def test_other_differences_of_numbers_are_no_shift(
    tmp_path: Path, images: Sequence[int], masks: Sequence[int], told: str, caplog: pytest.LogCaptureFixture
) -> None:
    for label in CLASSES:
        for number in images:
            write_picture(tmp_path / label / f"img{number}.png", 100 * len(label) + number)
        for number in masks:
            Image.fromarray(np.eye(20, dtype=np.uint8)).save(tmp_path / label / f"mask{number}.png")
    sources, rejected = find_sources(tmp_path)
    assert len(sources) == 2 * len(images)
    assert len(rejected) == 2 * len(set(masks) - set(images))
    assert told in caplog.text
    assert ("masks of their neighbours" in caplog.text) == bool(told)


def test_left_and_right_are_no_masks(tmp_path: Path) -> None:
    for number in range(6):
        for side in ("", "_L", "_R"):
            write_picture(tmp_path / "c" / f"{number}{side}.png", number)
    sources, rejected = find_sources(tmp_path)
    assert (len(sources), rejected) == (18, [])
    assert {source.mask for source in sources} == {None}


@pytest.mark.parametrize("drawn", [False, True])
def test_the_left_side_is_a_mask_only_if_it_looks_like_one(tmp_path: Path, drawn: bool) -> None:
    for number in range(6):
        write_picture(tmp_path / "c" / f"{number}.png", number)
        write_picture(tmp_path / "c" / f"{number}_L.png", 10 + number)
        if drawn:
            Image.fromarray(np.eye(20, dtype=np.uint8) * 255).save(tmp_path / "c" / f"{number}_L.png")
    sources, rejected = find_sources(tmp_path)
    assert (len(sources), rejected) == (6 if drawn else 12, [])
    masks = {source.path.name: source.mask for source in sources}
    assert masks["3.png"] == (tmp_path / "c" / "3_L.png" if drawn else None)


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("*_slice4.png", "*_mask.png"),
        ("*_slice4.png", "*_seg.jpg"),
        ("*.png", "mask.png"),
        ("*.png", "masks/x*.png"),
        ("*.png", "lesion.png"),
    ],
)
def test_masks_of_no_image_are_left_out(tmp_path: Path, image: str, mask: str) -> None:
    """Three levels, which `check_masks` would not find."""
    for number in range(8):
        folder = tmp_path / CLASSES[number % 2]
        write_picture(folder / image.replace("*", f"s{number}"), number)
        drawn = np.zeros((20, 20), np.uint8)
        drawn[4:9, 4:9], drawn[10 : 12 + number, 4:9] = 1, 2
        path = folder / mask.replace("*", f"s{number}")
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(drawn).save(path)
    sources, rejected = find_sources(tmp_path)
    assert [source.mask for source in sources] == [None] * 8
    assert {source.path.name for source in sources} == {image.replace("*", f"s{number}") for number in range(8)}
    assert {item.reason for item in rejected} == {"a mask of an organ, or without an image"}
    assert len(rejected) == (8 if "*" in mask else 2)


def test_a_folder_of_masks_with_other_names_is_no_class(tmp_path: Path) -> None:
    for number in range(12):
        write_picture(tmp_path / "images" / CLASSES[number % 2] / f"a{number}.png", number)
        path = tmp_path / "masks" / CLASSES[number % 2] / f"b{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.eye(20, dtype=np.uint8)).save(path)
    sources, rejected = find_sources(tmp_path)
    assert sorted(source.label for source in sources) == ["control"] * 6 + ["fahr"] * 6
    assert len(rejected) == 12


def test_classes_of_numbered_masks_are_classes(tmp_path: Path) -> None:
    """People with and without a face mask, say."""
    for number in range(12):
        write_picture(tmp_path / "mask" / f"mask_{number:03d}.png", number)
        write_picture(tmp_path / "none" / f"none_{number:03d}.png", number)
    sources, rejected = find_sources(tmp_path)
    assert (len(sources), rejected) == (24, [])


@pytest.mark.parametrize(
    ("image", "mask"), [("*.png", "*_drawn.png"), ("*.png", "m_*.png"), ("*.png", "*-bin.png"), ("*_t1.png", "*.png")]
)
def test_pictures_of_two_values_named_after_others_stop(tmp_path: Path, image: str, mask: str) -> None:
    write_pairs(tmp_path / "source", image, mask)
    with pytest.raises(CohortError) as told:
        ingest(tmp_path / "source", tmp_path / "out", IngestSettings(size=16))
    assert "8 of 16 images have only two values and the names of others, as masks do (control/" in str(told.value)
    assert str(told.value).endswith("or name them in a column 'mask' of a labels CSV")
    assert not (tmp_path / "out").exists()


def test_other_pictures_of_two_values_are_told(tmp_path: Path) -> None:
    for number in range(12):
        write_picture(tmp_path / "source" / CLASSES[number % 2] / f"{number}.png", number)
    for number in (2, 10, 11):
        drawn = np.random.default_rng(number).integers(0, 2, (20, 20), np.uint8) * 255
        Image.fromarray(drawn).save(tmp_path / "source" / CLASSES[number % 2] / f"{number}.png")
    warnings = ingest(tmp_path / "source", tmp_path / "out", IngestSettings(size=16)).info.warnings
    assert "3 of 12 images have only two values, as masks do" in warnings


def test_pictures_that_all_have_two_values_are_pictures(tmp_path: Path) -> None:
    write_pairs(tmp_path / "source", "*.png", "*_drawn.png")
    for path in (tmp_path / "source").glob("*/s?.png"):
        path.unlink()
    made = ingest(tmp_path / "source", tmp_path / "out", IngestSettings(size=16))
    assert sum(made.info.images.values()) == 8
    assert not [line for line in made.info.warnings if "two values" in line]


@pytest.mark.parametrize("names", [("mask", "no_mask"), ("lesion", "no_lesion"), ("gt", "other")])
def test_classes_with_such_names_are_classes(tmp_path: Path, names: tuple[str, str]) -> None:
    for number in range(8):
        write_picture(tmp_path / "source" / names[number % 2] / f"{number // 2}.png", number)
    cohort = cohort_of(tmp_path / "source", tmp_path / "out")
    assert cohort.manifest["label"].value_counts().to_dict() == dict.fromkeys(names, 4)


def test_volumes_as_nnunet_names_them(tmp_path: Path) -> None:
    for number in range(5):
        values = np.random.default_rng(number).normal(100, 20, (16, 16, 6)).astype(np.float32)
        drawn = np.zeros(values.shape, np.uint8)
        drawn[4:9, 4:9, 2:4] = 1
        for name, volume in ((f"imagesTr/c{number}_0000", values), (f"labelsTr/c{number}", drawn)):
            path = tmp_path / "source" / f"{name}.nii.gz"
            path.parent.mkdir(parents=True, exist_ok=True)
            nibabel.save(nibabel.Nifti1Image(volume, np.eye(4)), path)
    made = ingest(tmp_path / "source", tmp_path / "out", IngestSettings(size=16, label_from="mask"))
    labels = pd.read_parquet(made.path / "manifest.parquet")["label"].value_counts().to_dict()
    assert labels == {"lesion": 10, "no_lesion": 10}


@pytest.mark.parametrize("kind", ["_mask.png", "_mask.jpg", "-seg_1.png"])
def test_masks_without_an_image_among_others_are_left_out(tmp_path: Path, kind: str) -> None:
    for number in range(12):
        folder = tmp_path / "source" / CLASSES[number > 5]
        drawn = np.zeros((20, 20), np.uint8)
        drawn[4:9, 5 : 8 + number] = 255
        if number not in (2, 8):
            write_picture(folder / f"s{number}.png", number)
        Image.fromarray(drawn).save(folder / f"s{number}{kind}", quality=60)
    cohort = cohort_of(tmp_path / "source", tmp_path / "out")
    assert len(cohort.manifest) == 10
    assert cohort.manifest["has_mask"].all()
    assert cohort.info.left_out == {"a mask of an organ, or without an image": 2}


def soft(seed: int) -> np.ndarray:
    """A lesion of more levels than a mask usually has."""
    return (255 * np.exp(-(np.hypot(*np.mgrid[-10:10, -10:10]) ** 2) / (20 + seed))).astype(np.uint8)


@pytest.mark.parametrize("folders", [("*/images", "*/masks"), ("*", "*_masks"), ("images/*", "masks/*")])
@pytest.mark.parametrize("last", [0, 11])
def test_soft_masks_without_an_image_are_left_out(tmp_path: Path, folders: tuple[str, str], last: int) -> None:
    """In one class, some or all masks are named otherwise than their images."""
    for number in range(16):
        label = CLASSES[number % 2]
        name = f"s{number}.png"
        image, mask = (tmp_path / "source" / folder.replace("*", label) for folder in folders)
        write_picture(image / name, number)
        mask.mkdir(parents=True, exist_ok=True)
        Image.fromarray(soft(number)).save(mask / (f"t{number}.png" if number % 2 and number > last else name))
    cohort = cohort_of(tmp_path / "source", tmp_path / "out")
    assert cohort.manifest["label"].value_counts().to_dict() == {"control": 8, "fahr": 8}
    lost = sum(number % 2 and number > last for number in range(16))
    assert cohort.info.left_out == {"a mask of an organ, or without an image": lost}
    assert int(cohort.manifest["has_mask"].sum()) == 16 - lost


@pytest.mark.parametrize("others", [0, 1])
def test_a_class_of_images_named_like_masks(tmp_path: Path, others: int) -> None:
    for number in range(16):
        name = f"s{number}_mask.png" if number % 2 else f"s{number}.png"
        write_picture(tmp_path / "source" / CLASSES[number % 2] / name, number)
    if others:
        # One of them has a picture of the same name beside it: that one is its mask, the other seven are images.
        write_picture(tmp_path / "source" / "fahr" / "s1.png", 20)
    sources, rejected = find_sources(tmp_path / "source")
    assert (len(sources), rejected) == (16, [])
    assert sum(source.mask is not None for source in sources) == others


def test_splits_below_the_classes(tmp_path: Path) -> None:
    for number in range(12):
        name = ("train", "validation", "Test")[number // 2 % 3]
        write_picture(tmp_path / "source" / CLASSES[number % 2] / name / f"{number}.png", number)
    cohort = cohort_of(tmp_path / "source", tmp_path / "out")
    counts = cohort.manifest.groupby(["label", "split"]).size().to_dict()
    assert counts == {(label, split): 2 for label in CLASSES for split in ("train", "val", "test")}
    assert cohort.info.split == "given"
    assert cohort.manifest["patient"].nunique() == 12


def test_splits_without_classes_are_refused(tmp_path: Path) -> None:
    for number in range(12):
        write_picture(tmp_path / "source" / ("train", "val", "test")[number % 3] / f"{number}.png", number)
    with pytest.raises(CohortError, match=r"named like splits \(test, train, val\), and images lie right inside one"):
        find_sources(tmp_path / "source")


@pytest.mark.parametrize("folder", ["#recycle", "@Recycle", "_gsdata_", "@tmp", "RECYCLER"])
def test_folders_of_network_drives_are_skipped(tmp_path: Path, folder: str) -> None:
    for number in range(8):
        write_picture(tmp_path / "source" / CLASSES[number % 2] / f"{number}.png", number)
    write_picture(tmp_path / "source" / folder / "9.png", 9)
    write_picture(tmp_path / "source" / "fahr" / folder / "10.png", 10)
    sources, rejected = find_sources(tmp_path / "source")
    assert ({source.label for source in sources}, len(sources), rejected) == ({"control", "fahr"}, 8, [])
