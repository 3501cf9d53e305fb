"""Distances on lesion crops: the right crops, the defining distances on them, and why there are none."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from gansweep.contracts import ImageSet
from gansweep.scoring.metrics.frechet import frechet_distance
from gansweep.scoring.metrics.kernel import kernel_distance
from gansweep.scoring.networks.extractors import Extractor
from gansweep.scoring.panel.lesions import NAMES, lesion_crops, lesion_distances, lesion_side
from gansweep.scoring.values import Sets

SIZE = 32
POOLED = Extractor(
    "pooled:0",
    lambda images: torch.nn.functional.adaptive_avg_pool2d(images, 3).flatten(1),
    None,
    torch.device("cpu"),
)


def lesions(n: int, seed: int, brightness: float = 0.8) -> ImageSet:
    """Noise with a square lesion of 4 to 6 pixels in each odd image, and its mask."""
    generator = torch.Generator().manual_seed(seed)
    images = 0.3 * torch.randn(n, 1, SIZE, SIZE, generator=generator).clamp(-1, 1)
    masks = torch.zeros_like(images)
    for i in range(1, n, 2):
        top, left = torch.randint(2, SIZE - 8, (2,), generator=generator).tolist()
        side = int(torch.randint(4, 7, (1,), generator=generator))
        masks[i, 0, top : top + side, left : left + side] = 1
        images[i] += brightness * masks[i]
    labels = torch.arange(n) % 2
    return ImageSet(images.clamp(-1, 1), labels, masks, tuple(str(i) for i in range(n)))


def sets_of(real: ImageSet, fake: ImageSet) -> Sets:
    order = torch.arange(len(real)) // 2 % 2
    halves = (torch.nonzero(order == 0)[:, 0], torch.nonzero(order == 1)[:, 0])
    return Sets(real, fake, torch.zeros(1, 1), torch.zeros(1, 1), halves, POOLED.name, paired=False, seed=0)


def test_crops_are_the_neighbourhood_of_the_largest_part_of_the_mask() -> None:
    images, masks = torch.zeros(3, 1, SIZE, SIZE), torch.zeros(3, 1, SIZE, SIZE)
    images[1, 0] = torch.arange(SIZE * SIZE).view(SIZE, SIZE) / (SIZE * SIZE)
    masks[1, 0, 10:14, 20:24] = 1
    masks[1, 0, 3, 3] = 1  # a speck
    masks[2, 0, 30:32, 0:2] = 1  # in a corner
    crops, rows = lesion_crops(ImageSet(images, torch.zeros(3).long(), masks), side=16)
    assert rows.tolist() == [1, 2]
    assert crops.shape == (2, 1, SIZE, SIZE)
    expected = torch.nn.functional.interpolate(images[1:2, :, 4:20, 14:30], (SIZE, SIZE), mode="bilinear")
    assert torch.equal(crops[:1], expected)
    corner = ImageSet(masks, torch.zeros(3).long(), masks)
    assert lesion_crops(corner, 16)[0][1].mean() == pytest.approx(4 / 256, rel=0.2), "moved inside, not cut"


def test_the_side_is_what_nearly_all_lesions_fit_into() -> None:
    real = lesions(40, 0)
    spans = [int(mask.any(0).sum()) for mask in real.masks[1::2, 0].bool()]
    assert lesion_side(real) == pytest.approx(1.5 * max(spans), abs=1)
    assert lesion_side(replace(real, masks=torch.ones_like(real.masks))) == SIZE


def test_distances_are_those_of_the_crops_features() -> None:
    real, fake = lesions(60, 0), lesions(40, 1, brightness=0.3)
    found = lesion_distances(sets_of(real, fake), POOLED)
    assert tuple(sorted(found)) == tuple(sorted(NAMES))
    side = lesion_side(real)
    x, y = (POOLED.features(lesion_crops(images, side)[0]) for images in (real, fake))
    assert found["lesion_fid"].value == pytest.approx(frechet_distance(x, y))
    assert found["lesion_kid"].value == pytest.approx(kernel_distance(x, y))
    assert (found["lesion_fid"].n_real, found["lesion_fid"].n_fake) == (30, 20)
    assert found["lesion_fid"].reason == f"crops of {side} pixels around the largest lesion of each image"
    assert found["lesion_fid"].features == "pooled:0"
    assert (found["lesion_fid_floor"].n_real, found["lesion_fid_floor"].n_fake) == (15, 15)
    assert found["lesion_fid"].value > 2 * found["lesion_fid_floor"].value, "faint lesions are far from real ones"


def test_whole_images_may_agree_where_lesions_do_not() -> None:
    """What the metric is for: the lesions are some fifty of a thousand pixels."""
    real, fake, alike = lesions(60, 0), lesions(60, 1, brightness=0.0), lesions(60, 2)
    faint, like = (lesion_distances(sets_of(real, other), POOLED)["lesion_fid"].value for other in (fake, alike))
    whole, same = (
        frechet_distance(POOLED.features(real.images), POOLED.features(other.images)) for other in (fake, alike)
    )
    assert faint / like > 3 * whole / same


@pytest.mark.parametrize(
    ("real", "fake", "reason"),
    [
        (replace(lesions(40, 0), masks=None), lesions(20, 1), "the real images have no masks"),
        (lesions(40, 0), replace(lesions(20, 1), masks=None), "the fake images have no masks"),
        (lesions(10, 0), lesions(20, 1), "5 real and 10 fake images have a lesion in their mask; 8 and 2 are needed"),
        (lesions(40, 0), lesions(2, 1), "20 real and 1 fake images have a lesion in their mask; 8 and 2 are needed"),
    ],
)
def test_it_says_why_there_is_nothing(real: ImageSet, fake: ImageSet, reason: str) -> None:
    found = lesion_distances(sets_of(real, fake), POOLED)
    assert set(found) == set(NAMES)
    assert {(metric.value, metric.reason) for metric in found.values()} == {(None, reason)}
