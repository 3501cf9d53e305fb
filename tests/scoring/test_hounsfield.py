"""Figures in Hounsfield units against heads whose calcium, densities and symmetry are known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats

from gansweep.cohort.intensity import WINDOWS
from gansweep.cohort.phantom.scans import draw_phantom
from gansweep.contracts import ImageSet
from gansweep.scoring.ct.hounsfield import (
    NAMES,
    asymmetry,
    calcified,
    hounsfield_values,
    inside_head,
    mirror_line,
    quantiles_of,
    sides,
)
from gansweep.scoring.values import Sets

LESION = WINDOWS["lesion"]
SIZE = 64
Y, X = np.mgrid[:SIZE, :SIZE].astype(float)


def disc(x: float, y: float, radius: float) -> np.ndarray:
    return (X - x) ** 2 + (Y - y) ** 2 <= radius**2


def head(*deposits: tuple[float, float, float, float], brain: float = 35.0, centre: float = 31.5) -> np.ndarray:
    """HU `[64, 64]`: scalp, skull of 900 HU, brain, and deposits `(x, y, radius, HU)`."""
    hu = np.full((SIZE, SIZE), -1000.0)
    for radius, value in ((27.0, 40.0), (25.5, 900.0), (22.0, brain)):
        hu[disc(centre, 31.5, radius)] = value
    for x, y, radius, value in deposits:
        hu[disc(x, y, radius)] = value
    return hu


def images_of(heads: list[np.ndarray], labels: list[int]) -> ImageSet:
    shown = np.stack([LESION.apply(hu) for hu in heads])[:, None]
    return ImageSet(torch.from_numpy(shown) * 2 - 1, torch.tensor(labels), None, tuple(map(str, range(len(heads)))))


def sets_of(real: ImageSet, fake: ImageSet) -> Sets:
    halves = tuple(torch.nonzero(torch.arange(len(real)) // 2 % 2 == part)[:, 0] for part in (0, 1))
    none = torch.zeros(1, 1)
    return Sets(real, fake, none, none, halves, "none", paired=False, seed=0)


def test_calcium_is_counted_inside_the_skull_and_nowhere_else() -> None:
    hu = head((24, 30, 2.0, 400.0), (39, 30, 2.0, 150.0), (31, 40, 2.0, 120.0))  # the last is no calcium
    inside = inside_head(hu)
    assert not inside[hu == 900].any()
    assert inside[disc(31.5, 31.5, 20)].all()
    counted = int((disc(24, 30, 2.0) | disc(39, 30, 2.0)).sum())
    assert calcified(hu[None], inside[None])[0] == pytest.approx(counted / inside.sum())
    assert calcified(head()[None], inside[None])[0] == 0
    # A skull that is thick, or cut aslant, is no calcium; a gap in it changes nothing.
    thick = head()
    thick[disc(31.5, 31.5, 22) & ~disc(31.5, 31.5, 15)] = 700
    assert calcified(thick[None], inside_head(thick)[None])[0] == 0
    gap = np.where((Y < 31) & (abs(X - 31) < 4) & (hu == 900), 35.0, hu)
    assert calcified(gap[None], inside_head(gap)[None])[0] == pytest.approx(counted / inside.sum(), rel=0.02)


def test_a_symmetric_head_has_no_asymmetry_wherever_it_stands() -> None:
    for centre in (31.5, 30.0, 33.5):
        hu = head((centre - 8, 30, 2, 400), (centre + 8, 30, 2, 400), centre=centre)
        assert asymmetry(hu, inside_head(hu)) == pytest.approx(0.0, abs=1e-9)
    one = head((24, 30, 2, 435))
    inside = inside_head(one)
    # Every deposit's pixel is 400 HU off its mirror image, and so is that one.
    assert asymmetry(one, inside) == pytest.approx(2 * 400 * disc(24, 30, 2).sum() / inside.sum(), rel=0.02)


def test_mirrored_deposits_are_on_both_sides_and_one_is_on_one() -> None:
    for centre in (31.5, 30.0, 33.5):

        def found(*deposits: tuple[float, float, float, float], centre: float = centre) -> tuple[float, float]:
            hu = head(*deposits, centre=centre)
            inside = inside_head(hu)
            assert mirror_line(inside) == 2 * centre
            return sides((hu >= 130) & inside, inside)

        left, right = (centre - 8, 30, 2, 400), (centre + 8, 30, 2, 400)
        one, both = found(left), found(left, right)
        assert both == pytest.approx((0, 2 * 8 * (X - centre + 8)[disc(centre - 8, 30, 2)].size), abs=1e-9)
        assert one[0] == one[1] == both[1] / 2
        assert found((centre - 8, 30, 2, 400), (centre + 8, 30, 3, 400))[0] > 0, "more on the right"
        assert found() == (0, 0)


def test_quantiles_weigh_every_image_alike() -> None:
    hu = np.stack([head(brain=20), head(brain=50)])
    inside = np.stack([inside_head(hu[0]), disc(31, 31, 3)])
    assert quantiles_of(hu, inside).mean(1) == pytest.approx([20, 50])


def test_the_panel_finds_what_was_planted() -> None:
    rng = np.random.default_rng(0)

    def drawn(brain: float, radius: float) -> ImageSet:
        labels = [i % 2 for i in range(24)]
        heads = [
            head((24, 30, radius + rng.uniform(0, 0.5), 400), brain=brain) if i else head(brain=brain) for i in labels
        ]
        return images_of(heads, labels)

    real, fake = drawn(30, 2.0), drawn(42, 4.0)
    found = hounsfield_values(sets_of(real, fake), LESION, positive=1)
    assert tuple(found) == NAMES
    share = {name: found[name].value for name in NAMES}
    hu = LESION.invert((real.images[:, 0].numpy() + 1) / 2)
    inside = np.stack([inside_head(image) for image in hu])
    assert share["calcified_volume_real"] == pytest.approx(calcified(hu, inside)[1::2].mean())
    assert share["calcified_volume"] > 2 * share["calcified_volume_real"]
    apart = share["calcified_volume"] - share["calcified_volume_real"]
    assert share["calcified_volume_distance"] == pytest.approx(apart), "all fakes have more, so means say it all"
    assert share["calcified_volume_distance_floor"] < 0.2 * apart
    fake_hu = LESION.invert((fake.images[:, 0].numpy() + 1) / 2)
    fake_inside = np.stack([inside_head(image) for image in fake_hu])
    brute = stats.wasserstein_distance(quantiles_of(hu, inside).ravel(), quantiles_of(fake_hu, fake_inside).ravel())
    assert share["hu_distance"] == pytest.approx(brute)
    assert share["hu_distance"] > 11.5, "every voxel of the brain is 12 HU denser"
    assert found["calcified_volume"].n_fake == 12
    assert (found["hu_distance"].n_real, found["hu_distance"].n_fake) == (24, 24)
    for name, metric in found.items():
        assert metric.low is not None, name
        assert metric.low <= metric.value <= metric.high, name


def test_phantoms_with_the_disease_have_more_calcium() -> None:
    rng = np.random.default_rng(0)
    shares = []
    for fahr in (False, True):
        hu = np.stack([draw_phantom(rng, fahr, SIZE)[0] for _ in range(12)])
        shares.append(calcified(hu, np.stack([inside_head(image) for image in hu])).mean())
    assert shares[1] > 2 * shares[0]
    assert shares[0] < 0.01


def phantoms(seed: int, *, one_sided: bool = False, slices: int = 1) -> ImageSet:
    """24 slices with the disease; where asked, without what is to the right."""
    rng, heads = np.random.default_rng(seed), []
    for _ in range(24):
        hu, mask = draw_phantom(rng, True, SIZE)
        gone = mask & (X >= SIZE / 2) & one_sided
        heads.append(np.where(gone, np.minimum(hu, 35.0), hu))
    return replace(images_of(heads, [1] * 24), patients=tuple(str(i // slices) for i in range(24)))


def test_lesions_on_one_side_stand_apart_from_real_ones() -> None:
    found = hounsfield_values(sets_of(phantoms(0), phantoms(1, one_sided=True)), LESION, 1)
    good = hounsfield_values(sets_of(phantoms(0), phantoms(1)), LESION, 1)
    assert found["lateralisation"].low > found["lateralisation_real"].high
    assert good["lateralisation"].low < found["lateralisation_real"].value < good["lateralisation"].high
    assert 0 <= good["lateralisation"].value < 0.5 < found["lateralisation"].value <= 1
    assert (found["lateralisation"].n_real, found["lateralisation_real"].n_fake) == (0, 0)


def test_lateralisation_is_of_the_positive_class_and_absent_without_calcium() -> None:
    left, both = (24, 30, 2, 400), ((24, 30, 2, 400), (39, 30, 2, 400))
    ill = [head(left)] * 4 + [head(*both)] * 12
    real = images_of(ill + [head(left)] * 16, [1] * 16 + [0] * 16)
    found = hounsfield_values(sets_of(real, images_of([head()] * 16, [0, 1] * 8)), LESION, 1)
    # A pair counts twice: 4 of 28 deposits have no counterpart.
    assert found["lateralisation_real"].value == pytest.approx(4 / 28, rel=0.05)
    assert found["lateralisation_real"].n_real == 16
    assert found["lateralisation"].value is None
    assert found["lateralisation"].reason == "no calcium in images of the positive class"
    three = replace(real, patients=tuple(str(i // 6) for i in range(32)))  # 0 to 2 are ill
    few = hounsfield_values(sets_of(three, real), LESION, 1)["lateralisation_real"]
    assert (few.low, few.reason) == (None, "no interval: 3 patients, 4 are needed")


@pytest.mark.parametrize(
    ("window", "reason"),
    [
        (None, "not CT in Hounsfield units"),
        ("brain", "window brain shows 0 to 80 HU; needed: below -150 to above 130"),
        ("lesion", "a head is found in 8 real and 0 fake images"),
    ],
)
def test_it_says_why_there_is_nothing(window: str | None, reason: str) -> None:
    real = images_of([head()] * 8, [0, 1] * 4)
    noise = torch.full((8, 1, SIZE, SIZE), -1.0)  # air
    found = hounsfield_values(sets_of(real, ImageSet(noise, real.labels)), WINDOWS[window] if window else None, 1)
    assert {metric.reason for metric in found.values()} == {reason}
    assert {metric.value for metric in found.values()} == {None}


def test_images_without_a_head_are_left_out_and_counted() -> None:
    real = images_of([head((24, 30, 2, 400))] * 8, [1] * 8)
    images = real.images.clone()
    images[:3] = -1
    found = hounsfield_values(sets_of(real, ImageSet(images, real.labels)), LESION, 1)
    assert found["calcified_volume"].reason == "no head in 3 fake images"
    assert found["calcified_volume"].n_fake == 5
    assert found["calcified_volume_distance"].value == pytest.approx(0.0)
