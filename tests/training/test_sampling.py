"""Samples: a function of the seed, with averaged weights, from networks left as they were."""

from __future__ import annotations

from dataclasses import replace

import torch

from gansweep.config import TrialConfig
from gansweep.contracts import Condition, StartsFromImages
from gansweep.testing.images import shapes
from gansweep.training.build import build_gan
from gansweep.training.ema import Ema
from gansweep.training.sampling import condition_for, make_sampler
from trainables import TRAINABLES

CPU = torch.device("cpu")
DATA, SPEC = shapes(count=20, size=16)
GAN = build_gan(TrialConfig(architecture={"latent": 4, "width": 4}), SPEC, TRAINABLES)
LABELS = torch.arange(50) % 2


def test_an_image_depends_on_seed_and_place_alone():
    sampler = make_sampler(GAN, None, DATA, CPU)
    fifty = sampler(Condition(LABELS), 3)
    assert torch.equal(fifty, sampler(Condition(LABELS), 3))
    for n in (1, 31, 32, 33):
        assert torch.equal(fifty[:n], sampler(Condition(LABELS[:n]), 3))
    assert not torch.equal(fifty, sampler(Condition(LABELS), 4))
    assert len({tuple(image.flatten().tolist()) for image in fifty}) == 50


def test_samples_come_from_the_average_and_training_goes_on_undisturbed():
    ema = Ema({"generator": GAN.networks["generator"]}, 1.0, 4)
    for parameter in ema.networks["generator"].parameters():
        parameter.mul_(0.5)
    GAN.networks["generator"].train()
    before = {name: value.clone() for name, value in GAN.networks["generator"].state_dict().items()}
    averaged = make_sampler(GAN, ema, DATA, CPU)(Condition(LABELS), 0)
    live = make_sampler(GAN, None, DATA, CPU)(Condition(LABELS), 0)
    assert not torch.equal(averaged, live)
    GAN.networks["generator"].load_state_dict(ema.networks["generator"].state_dict())
    assert torch.equal(averaged, make_sampler(GAN, None, DATA, CPU)(Condition(LABELS), 0))
    GAN.networks["generator"].load_state_dict(before)
    assert torch.equal(live, make_sampler(GAN, None, DATA, CPU)(Condition(LABELS), 0))
    assert GAN.networks["generator"].training


def test_an_error_while_sampling_puts_the_weights_back():
    ema = Ema({"generator": GAN.networks["generator"]}, 1.0, 4)
    for parameter in ema.networks["generator"].parameters():
        parameter.zero_()
    before = [parameter.clone() for parameter in GAN.networks["generator"].parameters()]
    try:
        make_sampler(GAN, ema, DATA, CPU)(Condition(torch.tensor([99])), 0)  # no such class
    except (RuntimeError, IndexError):
        pass
    else:
        raise AssertionError("a class that is not there was sampled")
    assert all(torch.equal(one, two) for one, two in zip(before, GAN.networks["generator"].parameters(), strict=True))


def test_conditions_are_completed_from_training_images():
    condition = condition_for(LABELS, DATA, torch.Generator().manual_seed(0))
    for label, source, mask in zip(LABELS, condition.sources, condition.masks, strict=True):
        origin = (DATA.images == source).flatten(1).all(1).nonzero().item()
        assert DATA.labels[origin] != label
        assert any(torch.equal(mask, other) for other in DATA.masks[DATA.labels == label])


def test_a_sampler_can_start_from_other_images_than_those_of_the_training():
    other = replace(DATA, images=-DATA.images)
    condition = Condition(LABELS[:8])
    from_noise = make_sampler(GAN, None, DATA, CPU)
    assert isinstance(from_noise, StartsFromImages)
    assert torch.equal(from_noise.starting_from(other)(condition, 3), from_noise(condition, 3))
    config = TrialConfig(family="srgan", architecture=dict(TRAINABLES.gans["srgan"].smallest), conditioning="none")
    from_images = make_sampler(build_gan(config, SPEC, TRAINABLES), None, DATA, CPU)
    assert isinstance(from_images, StartsFromImages)
    found = from_images.starting_from(other)(condition, 3)
    assert not torch.equal(found, from_images(condition, 3))
    assert torch.equal(found, make_sampler(from_images.gan, None, other, CPU)(condition, 3))
