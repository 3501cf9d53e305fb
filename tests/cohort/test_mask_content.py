"""Masks that mark nothing, or the background, are told, and those that no name gives away stop the ingest."""

from __future__ import annotations

from typing import TYPE_CHECKING

import nibabel
import numpy as np
import pytest
from PIL import Image

from gansweep.cohort.ingest.run import IngestSettings, ingest
from gansweep.cohort.readers.masks import marks_of
from gansweep.errors import CohortError
from tests.cohort.scans import cohort_of, write_picture

if TYPE_CHECKING:
    from pathlib import Path

CLASSES = ("benign", "malignant")
LESION = np.zeros((20, 20), bool)
LESION[5:12, 0:9] = True
EDGES = "of 8 masks mark the edges of their images, as the background does: 0 has to be the background, and the lesion"


def test_what_a_mask_marks() -> None:
    assert [marks_of(mask) for mask in (None, LESION & False, LESION, ~LESION)] == ["", "nothing", "inside", "edges"]


def told(tmp_path: Path, masks: list[np.ndarray]) -> list[str]:
    for number, mask in enumerate(masks):
        path = tmp_path / "source" / CLASSES[number % 2] / f"{number}.png"
        write_picture(path, number)
        Image.fromarray(mask.astype(np.uint8)).save(path.with_name(f"{number}_mask.png"))
    return [line for line in cohort_of(tmp_path / "source", tmp_path / "out").info.warnings if "mask" in line][:-1]


@pytest.mark.parametrize("inverted", [0, 1, 2, 8])
def test_inverted_masks(tmp_path: Path, inverted: int) -> None:
    found = told(tmp_path, [~LESION if number < inverted else LESION for number in range(8)])
    assert found == ([f"{inverted} {EDGES} above"] if inverted > 1 else [])


def test_masks_without_zero(tmp_path: Path) -> None:
    assert told(tmp_path, [LESION + 1] * 8)[1:] == [f"8 {EDGES} above"]


@pytest.mark.parametrize("drawn", [0, 1])
def test_empty_masks(tmp_path: Path, drawn: int) -> None:
    found = told(tmp_path, [LESION & (number < drawn) for number in range(8)])
    assert found == ([] if drawn else ["all 8 masks are empty, so no lesion is marked"])


def test_swapped_columns_of_images_and_masks(tmp_path: Path) -> None:
    rows = ["path,label,mask,patient_id"]
    for number in range(8):
        write_picture(tmp_path / f"{number}.png", number)
        Image.fromarray(np.roll(LESION, number, 0).astype(np.uint8) * 255).save(tmp_path / f"m{number}.png")
        rows.append(f"m{number}.png,{CLASSES[number % 2]},{number}.png,{number}")
    (tmp_path / "labels.csv").write_text("\n".join(rows))
    warnings = cohort_of(tmp_path, tmp_path / "out").info.warnings
    assert "8 of 8 images have only two values, as masks do" in warnings


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("{c}/images/s{n}.png", "{c}/lung masks/s{n}.png"),
        ("images/{c}/s{n}.png", "tumor_areas/{c}/s{n}.png"),
        ("{c}/s{n}.png", "{c}/s{n}.bmp"),
    ],
)
def test_pictures_of_two_values_with_the_names_of_others_stop(tmp_path: Path, image: str, mask: str) -> None:
    for number in range(12):
        names = [text.format(c=("scanned", "covid")[number % 2], n=number) for text in (image, mask)]
        write_picture(tmp_path / "source" / names[0], number)
        path = tmp_path / "source" / names[1]
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.roll(np.tri(20, dtype=np.uint8) * 255, number, 0)).save(path)
    with pytest.raises(CohortError, match="12 of 24 images have only two values and the names of others"):
        ingest(tmp_path / "source", tmp_path / "out", IngestSettings(size=16))


def test_some_slices_of_two_values_are_slices(tmp_path: Path) -> None:
    for number in range(40):
        path = tmp_path / "source" / CLASSES[number % 2] / f"p{number // 4}" / f"{number // 2 % 2}.png"
        write_picture(path, number)
        if number % 10 == 0:
            Image.fromarray(np.roll(np.tri(20, dtype=np.uint8) * 255, number, 0)).save(path)
    cohort = cohort_of(tmp_path / "source", tmp_path / "out")
    assert len(cohort.manifest) == 40


def test_volumes_of_two_values_named_after_others_stop(tmp_path: Path) -> None:
    for number in range(12):
        values = np.random.default_rng(number).normal(100, 20, (16, 16, 4)).astype(np.float32)
        path = tmp_path / "source" / CLASSES[number % 2] / f"p{number}.nii.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), path)
        drawn = (values > 120).astype(np.uint8)
        nibabel.save(nibabel.Nifti1Image(drawn, np.eye(4)), path.with_name(f"p{number}_pred.nii.gz"))
    with pytest.raises(CohortError, match="24 of 48 images have only two values and the names of others"):
        ingest(tmp_path / "source", tmp_path / "out", IngestSettings(size=16))


def listed(tmp_path: Path, patients: int, shift: int, masks: int = 8) -> list[str]:
    rows = ["path,label,patient_id,mask"]
    for number in range(8):
        for folder, content in (("images", None), ("drawn", np.roll(LESION, number, 0).astype(np.uint8))):
            write_picture(tmp_path / folder / f"s{number}.png", number)
            if content is not None:
                Image.fromarray(content).save(tmp_path / folder / f"s{number}.png")
        mask = (number + shift) % masks
        rows.append(f"images/s{number}.png,{CLASSES[number % 2]},{number % patients},drawn/s{mask}.png")
    (tmp_path / "labels.csv").write_text("\n".join(rows))
    warnings = cohort_of(tmp_path, tmp_path / "out").info.warnings
    return [line for line in warnings if "mask" in line]


def test_masks_of_several_patients(tmp_path: Path) -> None:
    shared, _ = listed(tmp_path, 8, 0, masks=4)
    assert shared.startswith("4 mask files belong to images that count as different patients; ")


def test_masks_with_the_names_of_other_images(tmp_path: Path) -> None:
    assert listed(tmp_path, 8, 1) == ["8 of 8 masks have the name of another image: are their rows shifted?"]
    assert listed(tmp_path, 8, 0) == []


@pytest.mark.parametrize("both", [False, True])
def test_images_that_are_turned_and_masks_that_are_not(tmp_path: Path, both: bool) -> None:
    turned = Image.Exif()
    turned[274] = 6
    for number in range(8):
        path = tmp_path / "source" / CLASSES[number % 2] / f"{number}.png"
        write_picture(path, number)
        Image.open(path).save(path, exif=turned)
        mask = Image.fromarray(np.roll(LESION, number, 0).astype(np.uint8))
        mask.save(path.with_name(f"{number}_mask.png"), **({"exif": turned} if both else {}))
    warnings = cohort_of(tmp_path / "source", tmp_path / "out").info.warnings
    told = "EXIF turns the image or its mask, and not the other: the mask is used as it is shown (8 images of 8 files"
    assert any(line.startswith(told) for line in warnings) == (not both)


@pytest.mark.parametrize(("healthy", "lesions"), [("healthy", 4), ("Normal lung", 4), ("healthy", 0), ("negative", 4)])
def test_lesions_of_healthy_people(tmp_path: Path, healthy: str, lesions: int) -> None:
    for number in range(8):
        path = tmp_path / "source" / (healthy, "fahr")[number % 2] / f"{number}.png"
        write_picture(path, number)
        mask = LESION if number % 2 or lesions else LESION & False
        Image.fromarray(mask.astype(np.uint8)).save(path.with_name(f"{number}_mask.png"))
    told = f"4 images of class {healthy!r} with lesions in the masks: are these of an organ, or of another class?"
    warnings = cohort_of(tmp_path / "source", tmp_path / "out").info.warnings
    assert (told in warnings) == bool(lesions and healthy != "negative")


@pytest.mark.parametrize("top", [1, 2, 255])
def test_classes_of_a_mask_are_told(tmp_path: Path, top: int) -> None:
    """The layout of LiTS: a liver of 1 and its lesion of 2."""
    for number in range(8):
        path = tmp_path / "source" / CLASSES[number % 2] / f"{number}.png"
        write_picture(path, number)
        mask = np.zeros((20, 20), np.uint8)
        mask[2:12, 2:12] = 1 if top == 2 else top
        mask[4:8, 4:8] = top
        Image.fromarray(mask).save(path.with_name(f"{number}_mask.png"))
    cohort = cohort_of(tmp_path / "source", tmp_path / "out")
    told = (
        "the mask has several classes, or numbers its lesions: all values above 0 count as lesion (8 images of 8 files"
    )
    assert any(line.startswith(told) for line in cohort.info.warnings) == (top == 2)
