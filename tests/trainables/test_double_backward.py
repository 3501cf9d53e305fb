"""The critics' own convolutions and activations against torch's, to their second derivatives."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from trainables.layers.double_backward import Conv2d, LeakyReLU, convolved, leaky_relu, without_weight_gradients

SHAPES = [
    {"kernel": 1},
    {"kernel": 1, "stride": 2},
    {"kernel": 3, "padding": 1},
    {"kernel": 3, "padding": 1, "groups": 2},
    {"kernel": 4, "padding": 1, "stride": 2},
    {"kernel": 3, "stride": 2},
]


def inputs(kernel, groups=1, **_):
    torch.manual_seed(0)
    shapes = ((2, 4, 4, 4), (4, 4 // groups, kernel, kernel), (4,))
    return [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_convolutions_are_torchs_with_both_derivatives(shape):
    x, weight, bias = inputs(**shape)
    options = {key: value for key, value in shape.items() if key != "kernel"}
    torch.testing.assert_close(convolved(x, weight, bias, **options), F.conv2d(x, weight, bias, **options))
    assert torch.autograd.gradcheck(lambda *parts: convolved(*parts, **options), (x, weight, bias))
    assert torch.autograd.gradgradcheck(lambda *parts: convolved(*parts, **options), (x, weight, bias))


def test_leaky_relu_is_torchs_with_both_derivatives():
    x = torch.randn(20, dtype=torch.float64, requires_grad=True)
    assert torch.equal(leaky_relu(x, 0.2), F.leaky_relu(x, 0.2))
    assert torch.autograd.gradcheck(lambda x: leaky_relu(x, 0.2), (x,))
    assert torch.autograd.gradgradcheck(lambda x: leaky_relu(x, 0.2).square(), (x,))


def critic(conv, activation):
    torch.manual_seed(0)
    layers = (conv(1, 4, 1), activation(0.2), conv(4, 8, 4, stride=2, padding=1), activation(0.2))
    return nn.Sequential(*layers, conv(8, 8, 3, padding=1, groups=2), nn.Flatten(), nn.Linear(128, 1)).double()


def test_a_penalty_needs_no_gradient_of_weights_on_its_way():
    """R1's own gradient is that of torch's layers, though its first derivative leaves the weights out."""
    x = torch.randn(3, 1, 8, 8, dtype=torch.float64)

    def penalised(network, context):
        points = x.clone().requires_grad_()
        scores = network(points).sum()
        with context:
            (slope,) = torch.autograd.grad(scores, points, create_graph=True)
        return torch.autograd.grad(scores + slope.square().sum(), list(network.parameters()))

    wanted = penalised(critic(nn.Conv2d, nn.LeakyReLU), torch.enable_grad())
    found = penalised(critic(Conv2d, LeakyReLU), without_weight_gradients())
    torch.testing.assert_close(found, wanted)


def test_inside_the_context_weights_have_no_gradient_and_outside_they_have():
    x, weight, bias = inputs(kernel=3)
    with without_weight_gradients():
        out = convolved(x, weight, bias).sum()
        found = torch.autograd.grad(out, (x, weight, bias), allow_unused=True, create_graph=True)
    assert found[0] is not None
    assert found[1:] == (None, None)
    assert None not in torch.autograd.grad(convolved(x, weight, bias).sum(), (x, weight, bias))


@pytest.mark.parametrize("kernel", [1, 3])
def test_under_autocast_it_computes_in_bfloat16_as_torch_does(kernel):
    x, weight, bias = (part.detach().float().requires_grad_() for part in inputs(kernel=kernel))
    with torch.autocast("cpu", torch.bfloat16):
        found = convolved(x, weight, bias)
    assert found.dtype == torch.bfloat16
    assert all(part.dtype == torch.float32 for part in torch.autograd.grad(found.sum(), (x, weight, bias)))
