"""Masks as annotation tools write them: every class is a lesion, and no more than was drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING

import nibabel
import numpy as np
import pytest
import tifffile
from PIL import Image

from gansweep.cohort.readers.masks import looks_drawn, read_mask
from gansweep.cohort.readers.slices import ScanError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CLASSES = np.zeros((40, 40), np.uint8)
CLASSES[5:15, 5:15], CLASSES[20:30, 20:30] = 1, 2
DRAWN = CLASSES > 0

PALETTES = {
    "voc": [0, 0, 0, 128, 0, 0, 128, 128, 128],
    "dark": [0, 0, 0, 0, 0, 9, 255, 255, 255],
    "indices": [0, 0, 0, 1, 1, 1, 2, 2, 2],
    "on white": [255, 255, 255, 255, 0, 0, 0, 255, 0],
    "viridis": [68, 1, 84, 33, 145, 140, 253, 231, 37],
}


def in_palette(indices: np.ndarray, palette: list[int]) -> Image.Image:
    image = Image.fromarray(indices).convert("L")
    image.putpalette(palette)
    return image


@pytest.mark.parametrize("palette", PALETTES)
def test_every_colour_of_a_palette_but_the_background(tmp_path: Path, palette: str) -> None:
    in_palette(CLASSES, PALETTES[palette]).save(tmp_path / "mask.png")
    assert Image.open(tmp_path / "mask.png").mode == "P"
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.png"), DRAWN)


def test_a_void_border_hides_no_class(tmp_path: Path) -> None:
    indices = CLASSES.copy()
    indices[4, 5:15] = 255
    in_palette(indices, PALETTES["voc"] + [60] * 756 + [224, 224, 192]).save(tmp_path / "mask.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.png"), indices > 0)


@pytest.mark.parametrize("palette", [[0, 0, 0, 255, 255, 255], [255, 255, 255, 0, 0, 0]])
def test_black_and_white_in_either_order(tmp_path: Path, palette: list[int]) -> None:
    indices = DRAWN if palette[0] == 0 else ~DRAWN
    in_palette(indices.astype(np.uint8), palette).save(tmp_path / "mask.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.png"), DRAWN)


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_colours_without_a_palette(tmp_path: Path, suffix: str) -> None:
    image = in_palette(CLASSES, PALETTES["voc"]).convert("RGB")
    image.save(tmp_path / f"mask.{suffix}", **({"quality": 95, "subsampling": 0} if suffix == "jpg" else {}))
    np.testing.assert_array_equal(read_mask(tmp_path / f"mask.{suffix}"), DRAWN)


@pytest.mark.parametrize("top", [1.0, 255.0])
def test_probabilities_and_smoothed_volumes_count_above_a_half(tmp_path: Path, top: float) -> None:
    share = np.linspace(0, 1, 4 * 5 * 6, dtype=np.float32).reshape(4, 5, 6)
    nibabel.save(nibabel.Nifti1Image(share * top, np.eye(4)), tmp_path / "mask.nii")
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.nii"), share > 0.5)


def test_a_probability_that_is_never_above_a_half_shows_nothing(tmp_path: Path) -> None:
    nibabel.save(nibabel.Nifti1Image(np.full((4, 4, 4), 0.3, np.float32), np.eye(4)), tmp_path / "mask.nii")
    assert not read_mask(tmp_path / "mask.nii").any()


@pytest.mark.parametrize("levels", [(85, 255), (10, 255), (1, 255), (17, 34, 51), (40, 80, 120, 160, 200, 240)])
@pytest.mark.parametrize("suffix", ["png", "tif", "npy", "nii"])
def test_few_grey_levels_are_classes(tmp_path: Path, levels: tuple[int, ...], suffix: str) -> None:
    drawn = np.zeros((40, 40), np.uint8)
    for number, level in enumerate(levels):
        drawn[5 * number : 5 * number + 4, 3:20] = level
    path = tmp_path / f"mask.{suffix}"
    if suffix == "npy":
        np.save(path, drawn)
    elif suffix == "nii":
        nibabel.save(nibabel.Nifti1Image(drawn[..., None], np.eye(4)), path)
    else:
        Image.fromarray(drawn).save(path)
    found = read_mask(path)
    np.testing.assert_array_equal(found.reshape(drawn.shape), drawn > 0)


def test_numbered_lesions(tmp_path: Path) -> None:
    drawn = np.kron(np.arange(100).reshape(10, 10) * (np.arange(10) % 2), np.ones((4, 4), int)).astype(np.uint16)
    assert len(np.unique(drawn)) == 51
    Image.fromarray(drawn).save(tmp_path / "mask.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.png"), drawn > 0)


def test_numbered_lesions_of_which_one_is_a_pixel(tmp_path: Path) -> None:
    drawn = np.kron(np.arange(36).reshape(6, 6), np.pad(np.ones((4, 4), int), 2)).astype(np.uint8)
    drawn[0, 0] = 36
    Image.fromarray(drawn).save(tmp_path / "mask.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.png"), drawn > 0)


def heat() -> np.ndarray:
    return (255 * np.exp(-(np.hypot(*np.mgrid[-16:16, -16:16]) ** 2) / 60)).astype(np.uint8)


def ramp() -> np.ndarray:
    return np.tile(np.arange(32, dtype=np.uint8) * 8, (32, 1))


def smooth_disc() -> np.ndarray:
    disc = Image.fromarray((np.hypot(*np.mgrid[-50:50, -50:50]) < 31.3).astype(np.uint8) * 255)
    return np.asarray(disc.resize((40, 40), Image.Resampling.BICUBIC))


@pytest.mark.parametrize("levels", [heat, ramp, smooth_disc])
def test_grey_levels_enlarged_by_whole_pixels_are_no_classes(tmp_path: Path, levels: Callable[[], np.ndarray]) -> None:
    """Each level fills squares then, as the numbers of lesions do."""
    enlarged = levels().repeat(4, axis=0).repeat(4, axis=1)
    assert len(np.unique(enlarged)) > 16
    Image.fromarray(enlarged).save(tmp_path / "mask.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.png"), enlarged > enlarged.max() / 2)


@pytest.mark.parametrize("classes", [(255,), (255, 128)])
def test_an_inverting_palette_shows_the_stored_values_inverted(tmp_path: Path, classes: tuple[int, ...]) -> None:
    drawn = np.zeros((40, 40), np.uint8)
    for number, level in enumerate(classes):
        drawn[10 * number + 2 : 10 * number + 8, 3:20] = level
    falling = [level for number in range(256) for level in 3 * (255 - number,)]
    in_palette(drawn, falling).save(tmp_path / "mask.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.png"), drawn > 0)


@pytest.mark.parametrize("photometric", [0, 1])
def test_fax_codes_white_whatever_zero_is(tmp_path: Path, photometric: int) -> None:
    Image.fromarray(DRAWN).save(tmp_path / "mask.tif", compression="group4", tiffinfo={262: photometric})
    assert Image.open(tmp_path / "mask.tif").tag_v2[262] == photometric  # type: ignore[attr-defined]
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.tif"), DRAWN)


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.uint16])
def test_a_tiff_in_which_zero_is_white(tmp_path: Path, dtype: type) -> None:
    """Programs that compute write True and mean the lesion."""
    tifffile.imwrite(tmp_path / "mask.tif", DRAWN.astype(dtype), photometric="miniswhite")
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.tif"), DRAWN)


@pytest.mark.parametrize(
    ("size", "how"), [(200, Image.Resampling.BILINEAR), (25, Image.Resampling.BOX)], ids=["enlarged", "reduced"]
)
def test_edges_of_few_levels_are_no_classes(tmp_path: Path, size: int, how: Image.Resampling) -> None:
    disc = np.hypot(*np.mgrid[-50:50, -50:50]) < 31.3
    scaled = Image.fromarray(disc.astype(np.uint8) * 255).resize((size, size), how)
    scaled.save(tmp_path / "mask.png")
    assert 2 < len(np.unique(np.asarray(scaled))) <= 16
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.png"), np.asarray(scaled) > 127)


def test_smooth_edges_and_compression_are_no_classes(tmp_path: Path) -> None:
    disc = np.hypot(*np.mgrid[-50:50, -50:50]) < 31.3
    full = Image.fromarray(disc.astype(np.uint8) * 255)
    full.resize((40, 40), Image.Resampling.BICUBIC).save(tmp_path / "mask.png")
    full.save(tmp_path / "mask.jpg", quality=60)
    smooth = np.asarray(full.resize((40, 40), Image.Resampling.BICUBIC))
    assert len(np.unique(smooth)) > 16
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.png"), smooth > 127)
    assert (read_mask(tmp_path / "mask.jpg") != disc).sum() < 10


def test_a_mask_of_one_level_is_all_lesion(tmp_path: Path) -> None:
    Image.fromarray(np.full((8, 8), 255, np.uint8)).save(tmp_path / "mask.png")
    assert read_mask(tmp_path / "mask.png").all()


def test_the_noise_of_a_good_jpeg_is_no_class(tmp_path: Path) -> None:
    drawn = np.zeros((40, 40), bool)
    drawn[3:20, 5:30] = True
    Image.fromarray(drawn.astype(np.uint8) * 255).save(tmp_path / "mask.jpg", quality=100)
    levels = np.unique(np.asarray(Image.open(tmp_path / "mask.jpg")))
    assert 2 < len(levels) <= 16
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.jpg"), drawn)


DISC = np.hypot(*np.mgrid[-50:50, -50:50]) < 31.3
SHOWN = np.random.default_rng(0).normal(100, 20, (100, 100)).astype(np.uint8)


@pytest.mark.parametrize(
    ("name", "values", "drawn"),
    [
        ("a.png", DISC * np.uint8(255), True),
        ("a.jpg", DISC * np.uint8(255), True),
        ("a.png", np.stack([DISC, ~DISC, DISC], axis=-1) * np.uint8(200), True),
        ("a.nii", DISC * np.uint8(3), True),
        ("a.png", SHOWN, False),
        ("a.jpg", SHOWN, False),
        ("a.png", np.stack([SHOWN, SHOWN.T, SHOWN], axis=-1), False),
        ("a.nii", SHOWN, False),
    ],
)
def test_what_looks_like_a_mask(tmp_path: Path, name: str, values: np.ndarray, drawn: bool) -> None:
    if name.endswith(".nii"):
        nibabel.save(nibabel.Nifti1Image(values[..., None], np.eye(4)), tmp_path / name)
    else:
        Image.fromarray(values).save(tmp_path / name)
    assert looks_drawn(tmp_path / name) == drawn


def test_a_broken_file_does_not_look_like_a_mask(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"no picture")
    assert not looks_drawn(tmp_path / "a.png")


def test_a_dark_jpeg_does_not_look_drawn(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    dark = rng.integers(0, 25, (60, 60))
    spots = rng.random((60, 60)) < 0.03
    dark[spots] = rng.integers(40, 200, spots.sum())
    Image.fromarray(dark.astype(np.uint8)).save(tmp_path / "dark.jpg", quality=95)
    assert not looks_drawn(tmp_path / "dark.jpg")
    drawn = np.zeros((60, 60), np.uint8)
    drawn[20:30, 20:30] = 255
    Image.fromarray(drawn).save(tmp_path / "drawn.jpg", quality=90)
    assert looks_drawn(tmp_path / "drawn.jpg")


@pytest.mark.parametrize("suffix", ["tif", "npy"])
def test_minus_one_in_signed_8_bits_is_255(tmp_path: Path, suffix: str) -> None:
    signed = np.where(DRAWN, -1, 0).astype(np.int8)
    path = tmp_path / f"mask.{suffix}"
    if suffix == "npy":
        np.save(path, signed)
    else:
        tifffile.imwrite(path, signed)
    np.testing.assert_array_equal(read_mask(path), DRAWN)


@pytest.mark.parametrize("suffix", ["tif", "npy", "nii"])
@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.float32])
def test_negative_values_beside_positive_ones_are_background(tmp_path: Path, dtype: type, suffix: str) -> None:
    values = np.where(CLASSES == 2, np.int16(-1), CLASSES.astype(np.int16)).astype(dtype)
    path = tmp_path / f"mask.{suffix}"
    if suffix == "npy":
        np.save(path, values)
    elif suffix == "nii":
        nibabel.save(nibabel.Nifti1Image(values[..., None], np.eye(4), dtype=dtype), path)
    else:
        tifffile.imwrite(path, values)
    np.testing.assert_array_equal(read_mask(path).reshape(CLASSES.shape), CLASSES == 1)


@pytest.mark.parametrize(("dtype", "low"), [(np.int16, -1), (np.float32, -1), (np.int32, -5), (np.int8, -3)])
def test_a_mask_of_negative_values_and_0_is_refused(tmp_path: Path, dtype: type, low: int) -> None:
    values = np.where(DRAWN, low, 0).astype(dtype)
    np.save(tmp_path / "mask.npy", values)
    tifffile.imwrite(tmp_path / "mask.tif", values)
    nibabel.save(nibabel.Nifti1Image(values[..., None], np.eye(4), dtype=dtype), tmp_path / "mask.nii")
    for name in ("mask.npy", "mask.tif", "mask.nii"):
        with pytest.raises(ScanError, match=f"values from {low} to 0 and none above"):
            read_mask(tmp_path / name)
