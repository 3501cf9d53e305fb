"""Attention keeps shapes, starts gently, reaches across the image, and can be differentiated twice."""

from __future__ import annotations

import pytest
import torch

from trainables import ATTENTIONS
from trainables.layers.attention import SelfAttention
from trainables.layers.blocks import attention_at


@pytest.mark.parametrize("name", sorted(ATTENTIONS))
def test_keeps_the_shape_and_can_be_differentiated_twice(name):
    module = ATTENTIONS[name](16).double()
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.3, generator=torch.Generator().manual_seed(0))
    x = torch.randn(2, 16, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).requires_grad_()
    out = module(x)
    assert out.shape == x.shape
    assert torch.autograd.gradgradcheck(lambda x: module(x).tanh(), x[:1, :, :2, :2].detach().requires_grad_())


def test_self_attention_starts_as_the_identity_and_then_sees_the_whole_image():
    module = ATTENTIONS["self_attention"](8)
    x = torch.randn(1, 8, 6, 6, generator=torch.Generator().manual_seed(0))
    assert torch.equal(module(x), x)
    torch.nn.init.ones_(module.gamma)
    changed = x.clone()
    changed[:, :, 0, 0] += 3.0
    assert ((module(changed) - module(x)).abs().amax(dim=1)[0, 5, 5] > 0).all()


def test_block_attention_only_ever_attenuates():
    module = ATTENTIONS["cbam"](16)
    x = torch.randn(2, 16, 8, 8, generator=torch.Generator().manual_seed(0))
    assert (module(x).abs() <= x.abs()).all()


@pytest.mark.parametrize(("largest", "where"), [(16, 8), (8, 8), (24, 24), (4, 6)])
def test_attention_is_at_the_largest_map_allowed_and_else_at_the_smallest(largest, where):
    sizes = [6, 8, 24]
    modules = attention_at(SelfAttention, sizes, [8, 8, 8], largest)
    assert [size for size, module in zip(sizes, modules, strict=True) if isinstance(module, SelfAttention)] == [where]
