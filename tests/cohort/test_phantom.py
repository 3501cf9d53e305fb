from __future__ import annotations

import csv
from typing import TYPE_CHECKING

import highdicom
import numpy as np
import pydicom
from highdicom._standard_utils import get_iod_module_map, get_module_attribute_map
from PIL import Image
from scipy import ndimage

from gansweep.cohort.phantom.scans import draw_phantom, write_phantom

if TYPE_CHECKING:
    from pathlib import Path


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "labels.csv").open() as file:
        return list(csv.DictReader(file))


def test_files_are_ct_images_by_the_standard(phantom: Path) -> None:
    dataset = pydicom.dcmread(phantom / rows_of(phantom)[0]["path"])
    assert dataset.SOPClassUID == pydicom.uid.CTImageStorage
    required = [
        (module["key"], attribute["keyword"], attribute["type"])
        for module in get_iod_module_map()["ct-image"]
        if module["usage"] == "M"
        for attribute in get_module_attribute_map()[module["key"]]
        if not attribute["path"] and attribute["type"] in {"1", "2"}
    ]
    assert len(required) > 30
    missing = [
        (module, keyword)
        for module, keyword, kind in required
        if keyword not in dataset or (kind == "1" and dataset[keyword].is_empty)
    ]
    assert missing == []


def test_slices_of_a_patient_make_a_volume(phantom: Path) -> None:
    rows = rows_of(phantom)
    patient = [row for row in rows if row["patient_id"] == rows[0]["patient_id"]]
    datasets = [pydicom.dcmread(phantom / row["path"]) for row in patient]
    assert len({dataset.SeriesInstanceUID for dataset in datasets}) == 1
    assert len({dataset.SOPInstanceUID for dataset in datasets}) == len(datasets)
    volume = highdicom.get_volume_from_series(datasets)
    assert volume.shape == (2, 64, 64)
    assert [dataset.InstanceNumber for dataset in datasets] == [1, 2]


def test_the_same_seed_gives_the_same_files(tmp_path: Path) -> None:
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        write_phantom(tmp_path / name, patients=2, slices=1, size=32, seed=seed)
    first, second, third = (
        [path.read_bytes() for path in sorted((tmp_path / name).rglob("*.*"))] for name in ("a", "b", "c")
    )
    assert first == second
    assert first != third


def test_half_have_the_disease_and_only_they_have_lesions(phantom: Path) -> None:
    rows = rows_of(phantom)
    assert {row["label"] for row in rows} == {"control", "fahr"}
    diseased = {row["patient_id"] for row in rows if row["label"] == "fahr"}
    assert len(diseased) == 6
    for row in rows:
        lesion = np.asarray(Image.open(phantom / row["mask"])) > 0
        assert lesion.any() == (row["label"] == "fahr"), row


def test_tissues_have_plausible_hounsfield_units() -> None:
    rng = np.random.default_rng(0)
    for _ in range(4):
        hu, _ = draw_phantom(rng, fahr=False)
        skull = ndimage.binary_closing(hu > 300, iterations=2)
        brain = ndimage.binary_erosion(ndimage.binary_fill_holes(skull) & ~skull, iterations=3)
        assert 0.2 < brain.mean() < 0.6
        assert 22 < np.median(hu[brain]) < 42  # white and grey matter
        assert 0.005 < (ndimage.gaussian_filter(hu, 1)[brain] < 18).mean() < 0.35  # ventricles and sulci
        assert 700 < np.percentile(hu[skull], 90) < 1600
        assert np.median(hu[:6]) == -1000 or abs(np.median(hu[:6]) + 1000) < 30
        assert 1.5 < (hu - ndimage.gaussian_filter(hu, 1.5))[brain].std() < 15  # noise


def test_fahr_is_bilateral_and_bright() -> None:
    rng = np.random.default_rng(1)
    for _ in range(6):
        hu, mask = draw_phantom(rng, fahr=True)
        columns = np.nonzero(mask)[1]
        assert (columns < 64).any()
        assert (columns >= 64).any()
        assert hu[mask].max() > 60


def test_controls_carry_confounders() -> None:
    rng = np.random.default_rng(2)
    bright = 0
    for _ in range(12):
        hu, mask = draw_phantom(rng, fahr=False)
        assert not mask.any()
        skull = ndimage.binary_closing(hu > 300, iterations=2)
        brain = ndimage.binary_erosion(ndimage.binary_fill_holes(hu > 200) & (hu < 2000), iterations=7)
        bright += bool((hu[brain & ~ndimage.binary_erosion(skull, iterations=2)] > 90).any())
    assert bright >= 6


def test_the_dentate_nuclei_calcify_in_some_of_the_diseased(tmp_path: Path) -> None:
    write_phantom(tmp_path / "with", patients=16, slices=1, size=64, seed=3, fossa=1)
    write_phantom(tmp_path / "without", patients=16, slices=1, size=64, seed=3)
    rows = {name: rows_of(tmp_path / name) for name in ("with", "without")}
    low, high = rows["with"][::2], rows["with"][1::2]
    for row, same in zip(high, rows["without"], strict=True):
        one, other = (pydicom.dcmread(tmp_path / n / r["path"]) for n, r in (("with", row), ("without", same)))
        np.testing.assert_array_equal(one.pixel_array, other.pixel_array)
        assert one.InstanceNumber == 2
    found = 0
    for row in low:
        lesion = np.asarray(Image.open(tmp_path / "with" / row["mask"])) > 0
        if lesion.any():
            found += 1
            dataset = pydicom.dcmread(tmp_path / "with" / row["path"])
            assert row["label"] == "fahr"
            assert pydicom.pixels.apply_rescale(dataset.pixel_array, dataset)[lesion].max() > 60
            assert (np.nonzero(lesion)[0] > 32).all()  # behind the pons
    assert 1 <= found < 8
