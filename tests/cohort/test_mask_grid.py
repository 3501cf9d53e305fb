"""NIfTI masks whose affine is not that of their image."""

from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pytest
from nibabel import orientations

from gansweep.cohort.dataset import Cohort
from gansweep.cohort.ingest.run import IngestSettings, ingest
from gansweep.cohort.readers.mask_grid import ELSEWHERE, mask_flaws
from gansweep.cohort.readers.masks import read_mask
from gansweep.cohort.readers.nifti import NO_ORIENTATION, read_nifti
from gansweep.cohort.readers.slices import ScanError, UnneededError
from gansweep.errors import CohortError

LAS = np.diag([-1.0, 1.0, 1.0, 1.0])
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
OTHER_SIZES = np.diag([0.9, 0.9, 3.0, 1.0])
OTHER_ORIGIN = np.array([[1.0, 0, 0, 40], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
FEET_FIRST = np.diag([1.0, 1.0, -1.0, 1.0])


def volume() -> tuple[np.ndarray, np.ndarray]:
    """A volume that is dark except for a lesion of 500 at one side, and the lesion's mask."""
    drawn = np.zeros((12, 10, 8), np.uint8)
    drawn[8:11, 2:4, 5:7] = 1
    return np.where(drawn, 500, 100).astype(np.int16), drawn


def save(path: Path, values: np.ndarray, affine: np.ndarray | None) -> Path:
    nibabel.save(nibabel.Nifti1Image(values, affine), path)
    return path


@pytest.mark.parametrize("affine", [LAS, LPS, FEET_FIRST])
def test_a_mask_that_would_be_mirrored_is_refused(tmp_path: Path, affine: np.ndarray) -> None:
    values, drawn = volume()
    image = save(tmp_path / "a.nii", values, affine)
    mask = save(tmp_path / "a_mask.nii", drawn, np.eye(4))
    axes = "".join(nibabel.aff2axcodes(affine))
    with pytest.raises(ScanError, match=rf"other axes \(RAS\) than the image \({axes}\)"):
        mask_flaws(image, mask)


@pytest.mark.parametrize("affine", [LAS, LPS, FEET_FIRST])
def test_a_mask_stored_in_another_orientation_is_right(tmp_path: Path, affine: np.ndarray) -> None:
    values, drawn = volume()
    image = save(tmp_path / "a.nii", values, affine)
    turned = nibabel.as_closest_canonical(nibabel.Nifti1Image(drawn, affine))
    nibabel.save(turned, tmp_path / "a_mask.nii")
    assert mask_flaws(image, tmp_path / "a_mask.nii") == ()
    for part in read_nifti(image, mask=read_mask(tmp_path / "a_mask.nii")):
        assert part.mask is not None
        np.testing.assert_array_equal(part.mask, part.pixels[0] == 500)


def test_axes_in_another_order(tmp_path: Path) -> None:
    values, drawn = volume()
    image = save(tmp_path / "a.nii", values, np.diag([2.0, 3.0, 4.0, 1.0]))
    order = orientations.axcodes2ornt("SPR")
    nibabel.save(
        nibabel.load(save(tmp_path / "b.nii", drawn, np.diag([2.0, 3.0, 4.0, 1.0]))).as_reoriented(order),
        tmp_path / "a_mask.nii",
    )
    assert mask_flaws(image, tmp_path / "a_mask.nii") == ()


@pytest.mark.parametrize("other", [OTHER_SIZES, OTHER_ORIGIN])
def test_other_sizes_and_origins_with_the_same_axes_are_told(tmp_path: Path, other: np.ndarray) -> None:
    values, drawn = volume()
    image = save(tmp_path / "a.nii", values, np.eye(4))
    assert [flaw.what for flaw in mask_flaws(image, save(tmp_path / "a_mask.nii", drawn, other))] == [ELSEWHERE]


def test_a_mask_without_orientation(tmp_path: Path) -> None:
    """nibabel takes the axes of such a file for LAS."""
    values, drawn = volume()
    mask = save(tmp_path / "a_mask.nii", drawn, None)
    assert [flaw.what for flaw in mask_flaws(save(tmp_path / "a.nii", values, LAS), mask)] == [ELSEWHERE]
    with pytest.raises(ScanError, match=r"other axes \(not given\) than the image \(RAS\)"):
        mask_flaws(save(tmp_path / "b.nii", values, np.eye(4)), mask)
    neither = save(tmp_path / "c.nii", values, None)
    assert mask_flaws(neither, mask) == ()
    assert NO_ORIENTATION in [flaw.what for flaw in read_nifti(neither)[0].flaws]


def test_a_label_map_is_no_image(tmp_path: Path) -> None:
    _, drawn = volume()
    image = nibabel.Nifti1Image(drawn, np.eye(4))
    image.header.set_intent("label")
    nibabel.save(image, tmp_path / "rois.nii")
    with pytest.raises(UnneededError, match="a label map"):
        read_nifti(tmp_path / "rois.nii")
    assert read_mask(tmp_path / "rois.nii").sum() == drawn.sum()


@pytest.mark.parametrize("affine", [LAS, np.eye(4)])
def test_ingest_labels_by_the_mask_or_refuses(tmp_path: Path, affine: np.ndarray) -> None:
    rng = np.random.default_rng(0)
    for number in range(12):
        folder = tmp_path / "source" / f"sub-{number:02d}"
        folder.mkdir(parents=True)
        drawn = np.zeros((20, 20, 12), np.uint8)
        drawn[12:18, 5:9, 7:10] = 1
        values = np.where(drawn, 900, rng.normal(100, 5, drawn.shape)).astype(np.int16)
        save(folder / "t1.nii.gz", values, affine)
        save(folder / "t1_mask.nii.gz", drawn, np.eye(4))
    settings = IngestSettings(size=20, label_from="mask")
    if affine is LAS:
        with pytest.raises(CohortError, match="other axes"):
            ingest(tmp_path / "source", tmp_path / "cohort", settings)
        return
    ingest(tmp_path / "source", tmp_path / "cohort", settings)
    cohort = Cohort.open(tmp_path / "cohort")
    labels = pd.read_parquet(cohort.path / "manifest.parquet")["label"]
    bright = (np.load(cohort.path / "images.npy") > 0.9 * 65535).sum((1, 2, 3)) >= 12
    assert (labels == "lesion").tolist() == bright.tolist()
