"""Augmentations of a detector's images: what they do to images and to labels, and that they repeat themselves."""

from __future__ import annotations

import pytest
import torch

from gansweep.contracts import ImageSpec
from gansweep.scoring.networks.augmentation import AUGMENTATIONS, OF_PAIRS, augmented, cutmix, elastic, intensity, mixup
from gansweep.scoring.networks.detection import Recipe, predict, train_detector
from tests.scoring.discs import SIZE, disc_set
from trainables.downstream.detectors import SmallCnn

CPU = torch.device("cpu")
SPEC = ImageSpec(SIZE, 1, ("negative", "positive"))
N = 256


def flat(levels: torch.Tensor) -> torch.Tensor:
    """Images of one grey level each, which no classical augmentation changes."""
    return levels[:, None, None, None].expand(-1, 1, 16, 16).clone()


def drawn(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_it_repeats_itself_and_keeps_shape_and_range(name: str) -> None:
    images = disc_set(12, 0)
    state = torch.random.get_rng_state()
    first, labels = AUGMENTATIONS[name](images.images, images.labels, 2, drawn(3))
    again, same = AUGMENTATIONS[name](images.images, images.labels, 2, drawn(3))
    assert torch.equal(first, again)
    assert torch.equal(labels, same)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert first.shape == images.images.shape
    assert first.abs().max() <= 1.0
    assert not torch.equal(first, AUGMENTATIONS[name](images.images, images.labels, 2, drawn(4))[0])


def test_mixup_mixes_images_and_labels_by_the_same_weight() -> None:
    labels = torch.arange(N) % 2
    mixed, soft = mixup(flat(labels.float()), labels, 2, drawn())
    torch.testing.assert_close(mixed[:, 0, 8, 8], soft[:, 1])
    torch.testing.assert_close(soft.sum(1), torch.ones(N))
    other = soft[:, 1][(soft[:, 1] > 0) & (soft[:, 1] < 1)]
    # Beta(0.4, 0.4) has the variance 1 / (4 (2 * 0.4 + 1)) = 0.139.
    assert float(other.var()) == pytest.approx(0.139, abs=0.03)


def test_cutmix_mixes_labels_by_the_area_that_was_replaced() -> None:
    labels = torch.arange(N) % 2
    mixed, soft = cutmix(flat(labels.float()), labels, 2, drawn())
    torch.testing.assert_close(mixed.mean((1, 2, 3)), soft[:, 1])
    assert set(mixed.round(decimals=5).unique().tolist()) == {0.0, 1.0}, "pixels are of one image or of the other"
    changed = (mixed != flat(labels.float())).float().mean((1, 2, 3))
    assert float(changed.max()) > 0.5


def test_elastic_bends_by_a_few_pixels() -> None:
    ramp = torch.linspace(-1, 1, 64).expand(N, 1, 64, 64)
    straight = augmented(ramp, drawn())
    bent, labels = elastic(ramp, torch.zeros(N, dtype=torch.int64), 2, drawn())
    assert labels.dtype == torch.int64
    inside = (bent - straight)[..., 16:48, 16:48]
    # A shift of 3 % of the width is 0.06 of the ramp, on which the classical rotation leaves nearly all.
    assert float(inside.std()) == pytest.approx(0.06 * 0.8, abs=0.03)


def test_intensity_changes_levels_and_not_places() -> None:
    images = flat(torch.linspace(-0.8, 0.8, N))
    changed, _ = intensity(images, torch.zeros(N, dtype=torch.int64), 2, drawn())
    assert not torch.equal(changed.mean((1, 2, 3)), images.mean((1, 2, 3)))
    assert float(torch.corrcoef(torch.stack([changed.mean((1, 2, 3)), images.mean((1, 2, 3))]))[0, 1]) > 0.95
    assert float(changed.std((1, 2, 3)).max()) < 0.06, "noise"


TEST = disc_set(100, 77)


def learnt(augmentation: str) -> torch.Tensor:
    """What a detector that was trained with it says of the test images."""
    recipe = Recipe(lambda: SmallCnn(SPEC), 2, steps=90, batch=16, augmentation=augmentation)
    return predict([train_detector(recipe, disc_set(60, 0), None, 0.0, 0, CPU)], TEST.images, CPU)[0]


@pytest.fixture(scope="module")
def plain() -> torch.Tensor:
    return learnt("classical")


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_a_detector_learns_with_it(name: str, plain: torch.Tensor) -> None:
    said = learnt(name)
    right = (said.argmax(1) == TEST.labels).double().mean()
    assert float(right) > 0.8
    assert torch.equal(said, plain) == (name == "classical")


@pytest.mark.parametrize("name", OF_PAIRS)
def test_a_mask_goes_with_its_image(name: str) -> None:
    """An image that is its own mask stays so wherever it is moved; intensities change those of the image alone."""
    masks = torch.zeros(6, 1, 32, 32)
    for number, mask in enumerate(masks):
        mask[0, 4 + number : 16 + number, 8:20] = 1
    pairs = torch.cat([masks, masks], 1)
    moved, _ = OF_PAIRS[name](pairs, torch.arange(6) % 2, 2, torch.Generator().manual_seed(0))
    still, _ = OF_PAIRS["classical"](pairs, torch.arange(6) % 2, 2, torch.Generator().manual_seed(0))
    assert moved.shape == pairs.shape
    image, mask = moved[:, :1], moved[:, 1:]
    if name == "intensity":
        assert torch.equal(mask, still[:, 1:])
        assert not torch.equal(image, still[:, :1])
    else:
        assert torch.equal(image, mask)
        assert name == "classical" or not torch.equal(mask, still[:, 1:])
