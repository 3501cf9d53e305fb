"""Augmentation: what each operation does to an image, that gradients pass, and that ADA finds its strength."""

from __future__ import annotations

import pytest
import torch

from gansweep.config import AugmentationSettings, TrialConfig
from gansweep.distributed import World
from gansweep.testing.images import shapes
from gansweep.training.batches import Batches
from gansweep.training.build import build_gan
from gansweep.training.random import SeededStepRandom
from trainables import GANS, TRAINABLES
from trainables.objectives.augmentation import AdaptiveAugment, Augmentation, DiffAugment

DATA, SPEC = shapes(count=32, size=16)
IMAGES = DATA.images


def draws(seed=0):
    return SeededStepRandom((seed, "augmentation"), len(IMAGES), World(), torch.device("cpu"))


def augmented(*policy, probability=1.0, images=IMAGES, seed=0):
    settings = AugmentationSettings(kind="diffaugment", policy=policy, probability=probability)
    return DiffAugment(settings, 1000)(images, draws(seed))


def test_none_is_none():
    assert Augmentation(AugmentationSettings(), 1000)(IMAGES, draws()) is IMAGES


def test_a_flip_mirrors_left_and_right_in_half_of_the_images():
    flipped = augmented("flip")
    mirrored = [torch.allclose(new, old.flip(-1), atol=1e-5) for new, old in zip(flipped, IMAGES, strict=True)]
    same = [torch.allclose(new, old, atol=1e-5) for new, old in zip(flipped, IMAGES, strict=True)]
    assert all(m != s for m, s in zip(mirrored, same, strict=True))
    assert 8 <= sum(mirrored) <= 24


def test_a_translation_moves_by_whole_pixels_and_continues_the_edge():
    ramp = torch.linspace(-1, 1, 16).expand(len(IMAGES), 1, 16, 16).contiguous()
    moved = augmented("translation", images=ramp)
    shifts = set()
    for image in moved:
        expected = {s: ramp[0, 0, 0][(torch.arange(16) + s).clamp(0, 15)] for s in range(-2, 3)}
        (shift,) = [s for s, row in expected.items() if torch.allclose(image[0, 5], row, atol=1e-5)]
        shifts.add(shift)
    assert shifts == {-2, -1, 0, 1, 2}


@pytest.mark.parametrize("policy", ["translation", "rotation"])
def test_images_move_alike_in_every_precision(policy):
    images = torch.rand(len(IMAGES), 1, 96, 96, generator=torch.Generator().manual_seed(0))
    exact = augmented(policy, images=images)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(augmented(policy, images=images), exact)


def test_a_rotation_stays_small_and_keeps_the_centre():
    blob = torch.full((len(IMAGES), 1, 17, 17), -1.0)
    blob[:, :, 8, 8] = 1.0
    turned = augmented("rotation", images=blob)
    torch.testing.assert_close(turned[:, 0, 8, 8], torch.ones(len(IMAGES)), atol=1e-5, rtol=0)
    assert (augmented("rotation") - IMAGES).abs().amax(dim=(1, 2, 3)).min() > 0


def test_a_cut_out_part_becomes_background_and_the_rest_stays():
    cut = augmented("cutout", images=IMAGES + 3.0)  # so that -1 cannot be an image's own
    gone = cut == -1.0
    assert torch.equal(cut[~gone], (IMAGES + 3.0)[~gone])
    pixels = gone.flatten(1).sum(1)
    assert pixels.min() >= 16  # centre inside the image: a quarter of the square at least
    assert pixels.max() == 64


@pytest.mark.parametrize("policy", ["flip", "translation", "rotation", "cutout"])
def test_no_intensity_appears_that_the_images_do_not_have(policy):
    changed = augmented(policy)
    assert changed.min() >= min(-1.0, float(IMAGES.min())) - 1e-6
    assert changed.max() <= IMAGES.max() + 1e-6


def test_intensity_changes_every_pixel_alike():
    changed = augmented("intensity")
    for new, old in zip(changed, IMAGES, strict=True):
        slope = (new.max() - new.min()) / (old.max() - old.min())
        torch.testing.assert_close(new, slope * (old - old.mean()) + new.mean(), atol=1e-5, rtol=0)


@pytest.mark.parametrize("policy", ["flip", "translation", "rotation", "cutout", "intensity"])
def test_probability_zero_changes_nothing(policy):
    torch.testing.assert_close(augmented(policy, probability=0.0), IMAGES, atol=1e-5, rtol=0)


def test_gradients_pass_to_the_generator():
    images = IMAGES.clone().requires_grad_()
    augmented("flip", "translation", "rotation", "intensity", images=images).sum().backward()
    assert images.grad.flatten(1).abs().sum(1).min() > 0


def test_ada_augments_more_while_the_critic_knows_its_images_and_less_when_it_guesses():
    ada = AdaptiveAugment(AugmentationSettings(kind="ada"), budget=4000)
    assert ada.probability == 0.0
    torch.testing.assert_close(ada(IMAGES, draws()), IMAGES, atol=1e-5, rtol=0)
    # A quarter of the budget, 1,000 images, takes it all the way.
    for confidence, expected in ((1.0, 1.0), (0.1, 0.0)):
        for _ in range(110):
            ada.observe(torch.full((32,), confidence), total=10)
        assert ada.probability.item() == expected


def test_ada_rises_to_the_given_probability_and_not_beyond():
    ada = AdaptiveAugment(AugmentationSettings(kind="ada", probability=0.3), budget=4000)
    for _ in range(100):
        ada.observe(torch.ones(32), total=10)
    assert ada.probability.item() == pytest.approx(0.3)


def test_ada_speed_is_the_papers_where_the_budget_is_large():
    ada = AdaptiveAugment(AugmentationSettings(kind="ada"), budget=10**8)
    ada.observe(torch.ones(8), total=64)
    assert ada.probability.item() == pytest.approx(64 / 500_000)


@pytest.mark.parametrize("family", ["dcgan", "cyclegan", "lesion_painter"])
def test_a_quarter_of_the_budget_is_adas_way_in_every_family(family):
    config = TrialConfig(
        family=family, architecture=dict(GANS[family].smallest), conditioning="none", batch_size=8, iterations=100
    ).derive({"n_critic": 1, "loss.kind": "hinge", "penalty.kind": "none", "augmentation.kind": "ada"})
    gan = build_gan(config, SPEC, TRAINABLES)
    ada = next(module for module in gan.state.modules() if isinstance(module, AdaptiveAugment))
    ada.confidence.fill_(100.0)  # whatever is observed, the verdict is that it knows them
    phase = gan.phases[0]
    gan.loss("critic", Batches(DATA, 8, 0, World(), torch.device("cpu")).draw(phase, 0, 0), 0)
    assert ada.probability.item() == pytest.approx(4 / 100)
