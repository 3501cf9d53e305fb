"""Several masks of one image are joined, and one mask of several images goes to those that it fits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import nibabel
import numpy as np
import pytest
from PIL import Image

from gansweep.cohort.sources.find import find_sources
from gansweep.errors import CohortError
from tests.cohort.scans import CLASSES, cohort_of

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("image", "masks"),
    [
        ("image_1.png", ("mask_01.png", "mask_1.png")),
        ("s.png", ("s_mask.png", "s_mask_1.png")),
        ("s.png", ("s_mask_1.png", "s_mask_01.png")),
    ],
)
def test_several_masks_of_an_image_are_joined_and_told(tmp_path: Path, image: str, masks: tuple[str, str]) -> None:
    for case in range(6):
        folder = tmp_path / "source" / CLASSES[case % 2] / f"case{case}"
        folder.mkdir(parents=True)
        Image.fromarray(np.random.default_rng(case).integers(0, 256, (16, 16), np.uint8)).save(folder / image)
        for number, name in enumerate(masks[: 1 if case == 5 else 2]):
            drawn = np.zeros((16, 16), np.uint8)
            drawn[2 : 5 + number, 8 * number : 8 * number + 4] = 255
            Image.fromarray(drawn).save(folder / name)
    cohort = cohort_of(tmp_path / "source", tmp_path / "out")
    counts = np.load(cohort.path / "masks.npy").reshape(6, -1).sum(axis=1)
    assert sorted(counts.tolist()) == [12, 28, 28, 28, 28, 28]
    told = "5 of them have several masks, of which the union is used"
    assert sum(told in line for line in cohort.info.warnings) == 1


LESION = np.zeros((16, 16, 4), np.uint8)
LESION[4:9, 6:10, 1:3] = 1
FINE = np.diag([1.0, 1.0, 3.0, 1.0])
COARSE = np.diag([2.0, 2.0, 3.0, 1.0])
ELSEWHERE = np.array([[1.0, 0, 0, 60], [0, 1, 0, 0], [0, 0, 3, 0], [0, 0, 0, 1]])


def write_cases(root: Path, adc: tuple[tuple[int, int, int], np.ndarray], mask_affine: np.ndarray = FINE) -> None:
    """Eight cases of two sequences, with the mask of a lesion of 20 pixels in two slices of T2."""
    for number in range(8):
        case = root / CLASSES[number % 2] / f"case{number}"
        case.mkdir(parents=True)
        random = np.random.default_rng(number)
        for name, shape, affine in (("t2", (16, 16, 4), FINE), ("adc", *adc)):
            values = random.uniform(50, 150, shape).astype(np.float32)
            nibabel.save(nibabel.Nifti1Image(values, affine), case / f"{case.name}_{name}.nii.gz")
        nibabel.save(nibabel.Nifti1Image(LESION, mask_affine), case / f"{case.name}_seg.nii.gz")


@pytest.mark.parametrize("adc", [((8, 8, 4), COARSE), ((16, 16, 3), FINE), ((16, 16, 4), ELSEWHERE)])
def test_a_mask_goes_to_the_sequence_that_it_fits(tmp_path: Path, adc: tuple[tuple[int, int, int], np.ndarray]) -> None:
    write_cases(tmp_path / "source", adc)
    sources, rejected = find_sources(tmp_path / "source")
    assert rejected == []
    assert {source.path.name[6:]: source.mask is not None for source in sources} == {
        "t2.nii.gz": True,
        "adc.nii.gz": False,
    }
    cohort = cohort_of(tmp_path / "source", tmp_path / "out")
    masks = np.load(cohort.path / "masks.npy")[:, 0]
    assert masks.sum(axis=(1, 2))[cohort.manifest["has_mask"]].tolist() == 16 * [20]
    told = "a mask of its case has the grid of another image, and is not used for this one"
    assert any(line.startswith(told) and "of 8 files" in line for line in cohort.info.warnings)
    by_mask = cohort_of(tmp_path / "source", tmp_path / "by_mask", label_from="mask", label_per="image")
    assert by_mask.info.left_out[told] == 8
    assert by_mask.manifest["label"].value_counts().to_dict() == {"lesion": 16, "no_lesion": 16}


def test_a_mask_of_one_grid_belongs_to_all_sequences(tmp_path: Path) -> None:
    write_cases(tmp_path / "source", ((16, 16, 4), FINE))
    cohort = cohort_of(tmp_path / "source", tmp_path / "out")
    assert cohort.manifest["has_mask"].all()
    assert len(cohort.manifest) == 32
    assert not any("grid" in line for line in cohort.info.warnings)


def test_a_mask_that_fits_no_sequence_is_refused(tmp_path: Path) -> None:
    write_cases(tmp_path / "source", ((8, 8, 4), COARSE))
    for path in (tmp_path / "source").rglob("*_t2.nii.gz"):
        nibabel.save(nibabel.Nifti1Image(np.ones((12, 12, 4), np.float32), FINE), path)
    with pytest.raises(CohortError, match=r"its mask is 16x16x4 voxels, the image 8x8x4 \(first of 16 bad files\)"):
        cohort_of(tmp_path / "source", tmp_path / "out")


def test_pictures_of_one_case_may_have_other_sizes(tmp_path: Path) -> None:
    for number in range(8):
        case = tmp_path / "source" / CLASSES[number % 2] / f"case{number}"
        case.mkdir(parents=True)
        for name, size in (("t1", 16), ("t2", 20)):
            values = np.random.default_rng([number, size]).integers(0, 256, (size, size), np.uint8)
            Image.fromarray(values).save(case / f"{name}.png")
        Image.fromarray(255 * LESION[..., 1]).save(case / "mask.png")
    cohort = cohort_of(tmp_path / "source", tmp_path / "out")
    counts = np.load(cohort.path / "masks.npy")[:, 0].sum(axis=(1, 2))
    assert sorted(counts.tolist()) == 8 * [0] + 8 * [20]


@pytest.mark.parametrize("label_from", ["labels", "mask"])
def test_images_that_share_a_mask_are_one_patients(tmp_path: Path, label_from: str) -> None:
    for number in range(8):
        folder = tmp_path / "source" / CLASSES[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("t1", "flair"):
            values = np.random.default_rng([number, len(name)]).uniform(50, 150, (16, 16, 4)).astype(np.float32)
            nibabel.save(nibabel.Nifti1Image(values, FINE), folder / f"case{number}_{name}.nii.gz")
        nibabel.save(nibabel.Nifti1Image(LESION, FINE), folder / f"case{number}_seg.nii.gz")
    cohort = cohort_of(tmp_path / "source", tmp_path / "out", label_from=label_from, label_per="image")
    slices = 2 if label_from == "labels" else 4
    assert cohort.manifest.groupby("patient").size().tolist() == 8 * [2 * slices]
    assert cohort.manifest.groupby("patient")["split"].nunique().tolist() == 8 * [1]


def test_channels_as_nnunet_numbers_them_share_the_mask(tmp_path: Path) -> None:
    for number in range(8):
        for folder in ("imagesTr", "labelsTr"):
            (tmp_path / "source" / folder).mkdir(parents=True, exist_ok=True)
        for channel in range(2):
            values = np.random.default_rng([number, channel]).uniform(50, 150, (16, 16, 4)).astype(np.float32)
            image = nibabel.Nifti1Image(values, FINE)
            nibabel.save(image, tmp_path / "source" / "imagesTr" / f"prostate_{number:02d}_000{channel}.nii.gz")
        mask = nibabel.Nifti1Image(LESION, FINE)
        nibabel.save(mask, tmp_path / "source" / "labelsTr" / f"prostate_{number:02d}.nii.gz")
    cohort = cohort_of(tmp_path / "source", tmp_path / "out", label_from="mask", label_per="image", modality="MR")
    assert cohort.manifest["label"].value_counts().to_dict() == {"lesion": 32, "no_lesion": 32}
    assert cohort.manifest.groupby("patient").size().tolist() == 8 * [8]


def test_numbered_pictures_are_no_channels(tmp_path: Path) -> None:
    for number in range(3):
        values = np.random.default_rng(number).integers(0, 256, (16, 16), np.uint8)
        (tmp_path / "fahr").mkdir(exist_ok=True)
        Image.fromarray(values).save(tmp_path / "fahr" / f"s_{number:04d}.png")
    Image.fromarray(255 * LESION[..., 1]).save(tmp_path / "fahr" / "s_mask.png")
    assert [source.mask is not None for source in find_sources(tmp_path)[0]] == [True, False, False]


def test_images_of_one_sequence_are_no_case(tmp_path: Path) -> None:
    """The mask of one patient lies in the folder of a class."""
    for number in range(12):
        path = tmp_path / "source" / CLASSES[number % 2] / f"p{number}_t1.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(number).integers(0, 256, (16, 16), np.uint8)).save(path)
        Image.fromarray(np.eye(16, dtype=np.uint8)).save(path.with_name("mask.png"))
    cohort = cohort_of(tmp_path / "source", tmp_path / "out")
    assert cohort.manifest["patient"].nunique() == 12
    assert cohort.info.left_out == {"a mask of an organ, or without an image": 2}
