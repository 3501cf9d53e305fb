from __future__ import annotations

import warnings

import numpy as np
import pytest

from gansweep.cohort.intensity import WINDOWS, percentile_window, window_named
from gansweep.cohort.readers.resample import fit_mask, fit_pixels, make_square


@pytest.mark.parametrize("name", ["lesion", "brain", "bone", "20,60"])
def test_windows_are_monotonic_and_invert(name: str) -> None:
    window = window_named(name)
    hu = np.linspace(window.low, min(window.high, 1000.0), 500, dtype=np.float32)
    shown = window.apply(hu)
    assert shown.min() >= 0
    assert shown.max() <= 1
    assert (np.diff(shown) > 0).all()
    np.testing.assert_allclose(window.invert(shown), hu, atol=0.5)


def test_the_lesion_window_keeps_soft_tissue_and_calcification_apart() -> None:
    lesion, brain = WINDOWS["lesion"], WINDOWS["brain"]

    def gap(low: float, high: float, window: object = lesion) -> float:
        shown = window.apply(np.array([low, high], np.float32))  # type: ignore[attr-defined]
        return float(shown[1] - shown[0])

    assert gap(27, 38) > 0.05  # white and grey matter: 13 grey levels of 255
    assert gap(100, 200) > 0.05
    assert gap(400, 1000) > 0.1
    assert gap(100, 1000, brain) == 0.0


def test_mr_is_scaled_by_its_foreground_and_not_by_one_bright_voxel() -> None:
    rng = np.random.default_rng(0)
    head = np.zeros((1, 64, 64), np.float32)
    head[0, 16:48, 16:48] = rng.normal(500, 50, (32, 32))
    doubled = head * 2
    head_with_artefact = head.copy()
    head_with_artefact[0, 0, 0] = 1e5
    shown = [percentile_window([image]).apply(image) for image in (head, doubled, head_with_artefact)]
    np.testing.assert_allclose(shown[0], shown[1], atol=1e-5)
    np.testing.assert_allclose(shown[0][:, 1:], shown[2][:, 1:], atol=0.05)


def calcified(hu: float) -> np.ndarray:
    """Noisy brain `[1, 128, 128]` with a calcification two pixels wide."""
    image = np.random.default_rng(1).normal(35, 5, (1, 128, 128)).astype(np.float32)
    image[0, 60:62, 61:63] = hu
    return image


def test_a_small_lesion_survives_the_downsampling_and_noise_does_not_grow() -> None:
    image = calcified(400)
    plain, kept = (fit_pixels(image, 32, keep_lesions=keep)[0] for keep in (False, True))
    assert kept.max() > plain.max() + 50
    assert np.unravel_index(kept.argmax(), kept.shape) == np.unravel_index(plain.argmax(), plain.shape)
    tissue = np.ones_like(plain, bool)
    tissue[13:18, 13:18] = False
    np.testing.assert_array_equal(kept[tissue], plain[tissue])


def test_squares_are_isotropic_and_padded_with_the_border() -> None:
    image = np.full((1, 20, 10), -1000, np.float32)
    image[0, 5:15, 2:8] = 40
    square = make_square(image, (1.0, 2.0))
    assert square.shape == (1, 20, 20)
    tall = make_square(image, None)
    assert tall.shape == (1, 20, 20)
    assert (tall[0, :, :5] == -1000).all()
    np.testing.assert_array_equal(tall[0, :, 5:15], image[0])


def test_masks_follow_their_image_and_keep_small_lesions() -> None:
    mask = np.zeros((128, 128), bool)
    mask[60:62, 60:62] = True
    small = fit_mask(mask, None, 32)
    assert small.sum() == 1
    assert small[15, 15]


def test_pictures_smaller_than_asked_are_smoothed_up() -> None:
    image = np.arange(64, dtype=np.float32).reshape(1, 8, 8)
    assert fit_pixels(image, 16, keep_lesions=True).shape == (1, 16, 16)
    np.testing.assert_array_equal(fit_pixels(image, 8, keep_lesions=True), image)


@pytest.mark.parametrize(("side", "size"), [(65, 64), (240, 64), (256, 64), (100, 33)])
@pytest.mark.parametrize("keep_lesions", [False, True])
def test_images_are_made_smaller_to_the_same_bits_as_by_torch(side: int, size: int, keep_lesions: bool) -> None:
    import torch
    from scipy import ndimage
    from torch.nn import functional

    pixels = np.random.default_rng(0).normal(50, 200, (3, side, side)).astype(np.float32)
    expected = functional.adaptive_avg_pool2d(torch.from_numpy(pixels), size)
    if keep_lesions:
        blur = 0.15 * side / size
        smooth = torch.from_numpy(ndimage.gaussian_filter(pixels, (0.0, blur, blur)))
        excess = functional.adaptive_max_pool2d(smooth, size) - expected.clamp_min(70.0)
        expected = expected + 0.7 * excess.clamp_min(0.0)
    found = fit_pixels(pixels, size, keep_lesions=keep_lesions)
    assert found.dtype == np.float32
    assert found.tobytes() == expected.numpy().tobytes()


@pytest.mark.parametrize("keep_lesions", [False, True])
def test_extreme_values_give_no_warning(keep_lesions: bool) -> None:
    pixels = np.full((1, 8, 8), np.finfo(np.float32).max, np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = fit_pixels(pixels, 4, keep_lesions=keep_lesions)
    assert not np.isfinite(found).any()
