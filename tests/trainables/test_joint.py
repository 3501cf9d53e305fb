"""Joint image and mask over every family from noise, and SPADE."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from gansweep.config import TrialConfig
from gansweep.contracts import Batch, Condition, ImageSet
from gansweep.errors import ConfigError
from gansweep.testing.gan_contract import admissible, check_gan
from gansweep.testing.images import shapes
from gansweep.training.build import build_gan, check_config
from gansweep.training.loop import train
from gansweep.training.reporters import MemoryReporter
from gansweep.training.sampling import make_sampler
from trainables import GANS, TRAINABLES
from trainables.conditioning.masks import masked_batch

DATA, SPEC = shapes(count=20, size=16)
BASES = ["fcgan", "dcgan", "sngan", "lapgan", "progan", "stylegan2", "vaegan", "r3gan"]
CPU = torch.device("cpu")


@pytest.mark.parametrize("base", BASES)
def test_every_family_from_noise_draws_masks_too(base):
    own = admissible(base, SPEC, TRAINABLES)[0]
    config = own.derive({"family": "joint", "architecture": {**own.architecture, "base": base}})
    check_gan(config, SPEC, DATA, TRAINABLES)
    gan = build_gan(config, SPEC, TRAINABLES)
    assert make_sampler(gan, None, DATA, CPU)(Condition(torch.arange(2)), 0).shape == (2, 2, 16, 16)


@pytest.mark.parametrize("base", sorted({*GANS, "unknown"} - {*BASES, "diffusion"}))
def test_no_other_family_is_a_base(base):
    config = TrialConfig(family="joint", architecture={"base": base})
    with pytest.raises(ConfigError, match=f"architecture.base = '{base}' is not a family from noise to image"):
        check_config(config, SPEC, TRAINABLES)


@pytest.mark.parametrize("family", ["joint", "spade"])
def test_masks_are_needed_and_not_twice(family):
    config = TrialConfig(family=family, architecture=dict(GANS[family].smallest))
    check_config(config, SPEC, TRAINABLES)
    with pytest.raises(ConfigError, match="needs lesion masks, but the cohort has none"):
        check_config(config, replace(SPEC, mask_channels=0), TRAINABLES)
    with pytest.raises(ConfigError, match="condition on the class"):
        check_config(config.derive({"conditioning": "lesion_mask"}), SPEC, TRAINABLES)
    brightened = {"augmentation.kind": "ada", "augmentation.policy": ["flip", "intensity"]}
    with pytest.raises(ConfigError, match="leave 'intensity' out"):
        check_config(config.derive(brightened), SPEC, TRAINABLES)


def test_keys_the_base_does_not_know_are_refused():
    with pytest.raises(ConfigError, match="architecture of joint dcgan: unknown key 'wdth'"):
        check_config(TrialConfig(family="joint", architecture={"wdth": 4}), SPEC, TRAINABLES)


def test_spade_hands_on_the_masks_it_was_given():
    config = TrialConfig(family="spade", architecture=dict(GANS["spade"].smallest))
    gan = build_gan(config, SPEC, TRAINABLES)
    wanted = DATA.masks[:6]
    images = make_sampler(gan, None, DATA, CPU)(Condition(DATA.labels[:6], masks=wanted), 0)
    assert torch.equal((images[:, 1:] > 0).float(), wanted)
    empty = make_sampler(gan, None, DATA, CPU)(Condition(DATA.labels[:6], masks=torch.zeros_like(wanted)), 0)
    assert not torch.equal(images[:, :1], empty[:, :1])


def test_a_joint_generator_learns_which_class_has_no_lesion():
    """Class 0 is a dark square without a mask, class 1 a bright one whose mask it is."""
    labels = torch.arange(16) % 2
    masks = torch.zeros(16, 1, 8, 8)
    masks[labels == 1, :, 2:6, 2:6] = 1.0
    images = -0.5 + masks + 0.05 * torch.randn(16, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    data, spec = ImageSet(images, labels, masks), replace(SPEC, size=8)
    config = TrialConfig().derive(
        {
            "family": "joint",
            "architecture": {"latent": 4, "width": 16, "generator_norm": "none"},
            "loss.kind": "relativistic",
            "penalty.kind": "r1_r2",
            "penalty.lambda": 0.1,
            "lr_d": 2e-3,
            "lr_g": 2e-3,
            "n_critic": 1,
            "batch_size": 16,
            "iterations": 250,
            "ema_half_life": 0.1,
        }
    )
    gan = build_gan(config, spec, TRAINABLES)
    score = []
    train(config, gan, data, MemoryReporter(), lambda s, _: score.append(s) or {}, reports=1, device=CPU)
    drawn = (score[0](Condition(torch.arange(32) % 2), 0)[:, 1:] > 0).double()
    lesion = (masks[1] > 0).expand(16, -1, -1, -1)
    assert drawn[0::2].mean() < 0.05
    assert drawn[1::2][lesion].mean() > 0.9
    assert drawn[1::2][~lesion].mean() < 0.1


def test_joined_masks_of_images_without_lesion_are_dark_everywhere():
    gan = build_gan(TrialConfig(family="joint", architecture=dict(GANS["joint"].smallest)), SPEC, TRAINABLES)
    seen = []
    gan.inner.loss = lambda _phase, batch, _step: seen.append(batch) or (torch.zeros(()), {})
    batch = Batch(DATA.images, DATA.labels, torch.zeros_like(DATA.images), None, 20)
    gan.loss("critic", batch, 0)
    assert torch.equal(seen[0].images, masked_batch(batch).images)
    assert torch.equal(seen[0].images[:, 1:], torch.full_like(DATA.images, -1.0))
