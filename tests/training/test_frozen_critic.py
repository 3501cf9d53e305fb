"""`--freeze-critic` keeps the layers next to the image, in every family's critics."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from gansweep.errors import ConfigError
from gansweep.testing.gan_contract import admissible
from gansweep.testing.images import shapes
from gansweep.training.build import build_gan
from gansweep.training.loop import train
from gansweep.training.reporters import MemoryReporter
from gansweep.training.start import Start
from trainables import GANS, TRAINABLES

DATA, PLAIN = shapes(count=20, size=32)
SPEC = replace(PLAIN, paired_channels=1)
PATCHES = ("patches.initial_conv.",)
# What sees the image first, by the beginning of its parameters' names in each critic.
NEXT_TO_THE_IMAGE = {
    "fcgan": ("layers.0.",),
    "dcgan": ("blocks.0.",),
    "sngan": ("blocks.0.",),
    "lapgan": ("0.blocks.0.", "1.blocks.0."),
    "progan": ("ins.", "blocks.3."),
    "stylegan2": ("start.", "blocks.0."),
    "vaegan": ("blocks.0.",),
    "r3gan": ("transitions.0.", "stages.0."),
    "cyclegan": PATCHES,
    "discogan": PATCHES,
    "dc2anet": PATCHES,
    "csgan": PATCHES,
    "srgan": ("stages.0.",),
    "auto_context": PATCHES,
    "kgan": PATCHES,
    "joint": ("blocks.0.",),
    "spade": ("blocks.0.",),
    "lesion_painter": ("stages.0.",),
}
WITHOUT_CRITIC = {"diffusion"}
# With its usual coarsest level of 8 pixels, the critic of that level has only one block.
CHANGES = {"lapgan": {"architecture.coarsest": 16}}


def test_every_family_is_here():
    assert set(NEXT_TO_THE_IMAGE) | WITHOUT_CRITIC == set(GANS)


@pytest.mark.parametrize("family", NEXT_TO_THE_IMAGE)
def test_only_the_block_next_to_the_image_stays(family):
    first = admissible(family, SPEC, TRAINABLES)[0]
    config = first.derive({"iterations": 8, "n_critic": 1, **CHANGES.get(family, {})})
    gan = build_gan(config, SPEC, TRAINABLES)
    began = {
        name: {key: value.clone() for key, value in net.state_dict().items()} for name, net in gan.networks.items()
    }
    Start("another", config, began, frozen=1).into(gan)
    train(config, gan, DATA, MemoryReporter(), lambda *_: {}, reports=1, device=torch.device("cpu"))
    for name, network in gan.networks.items():
        stayed = {key for key, value in network.named_parameters() if torch.equal(value, began[name][key])}
        next_to_the_image = NEXT_TO_THE_IMAGE[family] if "critic" in name else ()
        expected = {key for key, _ in network.named_parameters() if key.startswith(next_to_the_image)}
        assert stayed == expected, name


@pytest.mark.parametrize("family", WITHOUT_CRITIC)
def test_a_family_without_critic_is_refused(family):
    config = admissible(family, SPEC, TRAINABLES)[0]
    gan = build_gan(config, SPEC, TRAINABLES)
    weights = {name: network.state_dict() for name, network in gan.networks.items()}
    with pytest.raises(
        ConfigError, match=f"^--freeze-critic: {family} has no critic whose blocks can be frozen; leave"
    ):
        Start("another", config, weights, frozen=1).into(gan)
