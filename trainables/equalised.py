"""Layers with equalised learning rates, and the critic's view of a whole batch: what ProGAN and StyleGAN2 share.

Weights are drawn from N(0, 1) and scaled by He's constant in every forward instead of once, so that Adam, whose steps
do not depend on a gradient's size, moves all layers at one relative speed (Karras et al. 2018, section 4.1).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gansweep.training.world import World, sum_over_workers
from trainables.blocks import upsampled_and_convolved
from trainables.double_backward import convolved, leaky_relu
from trainables.precision import full_precision

__all__ = ["GAIN", "SLOPE", "EqualConv2d", "EqualLinear", "MinibatchDeviation", "activated"]

SLOPE = 0.2
"""Of the leaky ReLU."""
GAIN = math.sqrt(2.0 / (1.0 + SLOPE**2))
"""Keeps the mean square of normal inputs at one behind it."""


class EqualConv2d(nn.Conv2d):
    """A convolution that keeps its size, or doubles it.

    Args:
        channels: in.
        out: out.
        kernel: height and width.
        bias: whether it has one, from zero.
        activated: whether a leaky ReLU follows, with the gain of `activated`. Weights and bias take the gain, which is
            the same (a leaky ReLU is homogeneous) and spares a pass over the feature map.
        doubles: whether it sees its input at twice the resolution (nearest neighbour); of 3x3 kernels.
    """

    def __init__(
        self,
        channels: int,
        out: int,
        kernel: int,
        *,
        bias: bool = True,
        activated: bool = False,
        doubles: bool = False,
    ) -> None:
        super().__init__(channels, out, kernel, padding=kernel // 2, bias=bias)
        self.activated, self.gain, self.doubles = activated, GAIN if activated else 1.0, doubles
        self.scale, self.border = self.gain / math.sqrt(channels * kernel**2), kernel // 2
        nn.init.normal_(self.weight)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        """`[b, C, H, W]` to `[b, out, H, W]`, or `[b, out, 2H, 2W]`."""
        weight, bias = self.weight * self.scale, None if self.bias is None else self.bias * self.gain
        if self.doubles:
            x = upsampled_and_convolved(x, weight, bias)
        else:
            x = convolved(x, weight, bias, padding=self.border)
        return leaky_relu(x, SLOPE) if self.activated else x


class EqualLinear(nn.Linear):
    """A linear layer.

    Args:
        inputs: in.
        out: out.
        bias: whether it has one, from zero.
        speed: learning rate relative to the other layers' (StyleGAN's mapping network learns at 0.01).
    """

    def __init__(self, inputs: int, out: int, *, bias: bool = True, speed: float = 1.0) -> None:
        super().__init__(inputs, out, bias=bias)
        self.speed, self.scale = speed, speed / math.sqrt(inputs)
        nn.init.normal_(self.weight, std=1.0 / speed)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        """`[b, inputs]` to `[b, out]`."""
        return F.linear(x, self.weight * self.scale, None if self.bias is None else self.bias * self.speed)


class MinibatchDeviation(nn.Module):
    """How much the batch varies, as one more channel, so that a critic sees a collapse (Karras et al. 2018, section 3).

    The standard deviation of each feature at each place over the *global* batch, averaged to one number: the same for
    any number of workers. Reals and fakes must come in batches of their own.
    """

    def forward(self, x: Tensor) -> Tensor:
        """`[b, C, H, W]` to `[b, C + 1, H, W]`."""
        values = full_precision(x)
        count = len(values) * World.current().size
        mean = sum_over_workers(values.sum(dim=0)) / count
        variance = sum_over_workers((values - mean).square().sum(dim=0)) / count
        deviation = (variance + 1e-8).sqrt().mean()
        return torch.cat([x, deviation.to(x.dtype).expand(len(x), 1, *x.shape[2:])], dim=1)


def activated(x: Tensor) -> Tensor:
    """Leaky ReLU, with a gain that keeps the mean square of normal inputs at one."""
    return leaky_relu(x, SLOPE) * GAIN
