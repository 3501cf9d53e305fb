"""Group normalisation fits every width: its groups divide the channels, and none is a single channel."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from trainables.layers.norms import groups_for, norm_layer
from trainables.layers.patch_critic import PatchCritic
from trainables.layers.translators import ConvTranslator, ResnetTranslator


@pytest.mark.parametrize("channels", range(2, 257))
def test_groups_divide_the_channels_and_hold_more_than_one(channels):
    groups = groups_for(channels)
    assert channels % groups == 0
    assert channels // groups > 1
    assert norm_layer("group", channels)(torch.randn(2, channels, 3, 3)).shape == (2, channels, 3, 3)


@pytest.mark.parametrize(("channels", "groups"), [(4, 2), (8, 4), (12, 6), (13, 1), (16, 8), (48, 8), (512, 8)])
def test_groups_follow_the_width(channels, groups):
    assert groups_for(channels) == groups


@pytest.mark.parametrize("width", [4, 5, 7, 30, 64])
def test_translators_and_their_critics_take_any_width(width):
    images = torch.randn(2, 1, 32, 32)
    generators = (
        ResnetTranslator(1, 1, width=width, blocks=1, norm="group"),
        ConvTranslator(1, 1, width=width, stages=3, norm="group"),
    )
    assert all(generator(images).shape == images.shape for generator in generators)
    critic = PatchCritic(1, width=width, norm="group")
    assert critic(images).scores.isfinite().all()
    groups = [layer for layer in critic.modules() if isinstance(layer, nn.GroupNorm)]
    assert groups
    assert all(layer.num_channels // layer.num_groups > 1 for layer in groups)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_instance_norm_is_torchs_and_keeps_the_layout(layout):
    images = torch.randn(3, 4, 6, 6, generator=torch.Generator().manual_seed(0)).to(memory_format=layout)
    normalised = norm_layer("instance", 4)(images)
    assert torch.equal(normalised, torch.nn.functional.instance_norm(images))
    assert normalised.stride() == images.stride()
