"""Upsampling and convolving in one step against the two steps it stands for."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from trainables.layers.blocks import NearestConv2d, initialise, upsample_conv2d, upsampler


@pytest.mark.parametrize("shape", [(2, 3, 5, 7), (1, 4, 1, 1), (3, 1, 8, 8)], ids=str)
def test_upsampling_and_convolving_in_one_step_is_both_steps_with_their_gradients(shape):
    torch.manual_seed(0)
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(4, shape[1], 3, 3, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(4, dtype=torch.float64, requires_grad=True)
    parts = (x, weight, bias)
    one, two = upsample_conv2d(*parts), F.conv2d(F.interpolate(x, scale_factor=2.0), weight, bias, padding=1)
    torch.testing.assert_close(one, two)
    ahead = torch.randn_like(one)
    gradients = (torch.autograd.grad(result, parts, ahead) for result in (one, two))
    for mine, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(mine, theirs)


@pytest.mark.parametrize("kind", ["nearest", "transposed", "pixel_shuffle"])
def test_every_way_of_upsampling_starts_alike(kind):
    """He's initialisation: normal inputs give twice their mean square over 1 + 0.2², away from the border."""
    torch.manual_seed(0)
    layer = upsampler(kind, 32, 64)
    initialise(layer)
    square = layer(torch.randn(8, 32, 16, 16))[..., 4:-4, 4:-4].detach().square().mean()
    # Nearest neighbours that are copies of one pixel add up: more variance in some places, less in others.
    torch.testing.assert_close(float(square), 2 / 1.04, rtol=0.15 if kind != "nearest" else 0.8, atol=0.0)


def test_bfloat16_keeps_its_digits():
    torch.manual_seed(0)
    layer, x = NearestConv2d(8, 4), torch.randn(2, 8, 6, 6)
    exact = layer(x)
    with torch.autocast("cpu", torch.bfloat16):
        assert (layer(x).float() - exact).abs().max() < 0.03 * exact.abs().max()
