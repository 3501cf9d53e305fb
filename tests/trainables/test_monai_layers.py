"""Our PatchGAN critic and SPADE layer have MONAI's weights, names and numbers, bit for bit."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from monai.networks.blocks.spade_norm import SPADE
from monai.networks.nets.patchgan_discriminator import PatchDiscriminator

from trainables.layers.norms import SpatiallyAdaptiveNorm, groups_for
from trainables.layers.patch_critic import PatchCritic

NORMS: dict[str, Any] = {
    "instance": ("instance", {"affine": True}),
    "group": ("group", {"num_groups": groups_for(12)}),
    "none": None,
}


@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("norm", NORMS)
def test_a_patch_critic_is_monais(norm: str, layers: int) -> None:
    torch.manual_seed(0)
    ours = PatchCritic(2, width=6, layers=layers, norm=norm)
    after_ours = torch.rand(1)
    torch.manual_seed(0)
    theirs = PatchDiscriminator(2, 6, 2, num_layers_d=layers, norm=NORMS[norm], bias=norm == "none")
    assert torch.equal(after_ours, torch.rand(1))
    weights = ours.patches.state_dict()
    assert list(weights) == list(theirs.state_dict())
    assert all(torch.equal(weights[name], weight) for name, weight in theirs.state_dict().items())
    images = torch.randn(3, 2, 32, 32)
    found = ours(images)
    *features, scores = theirs(images)
    assert torch.equal(found.scores, scores.flatten(1))
    assert len(found.features) == len(features) == layers + 1
    assert all(torch.equal(one, other) for one, other in zip(found.features, features, strict=True))


def test_a_spatially_adaptive_norm_is_monais() -> None:
    torch.manual_seed(0)
    ours = SpatiallyAdaptiveNorm(6, 4)
    torch.manual_seed(0)
    theirs = SPADE(label_nc=1, norm_nc=6, hidden_channels=4)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert all(torch.equal(ours.state_dict()[name], weight) for name, weight in theirs.state_dict().items())
    x = torch.randn(3, 6, 8, 8)
    masks = torch.rand(3, 1, 8, 8)
    assert torch.equal(ours(x, masks), theirs(x, masks))
