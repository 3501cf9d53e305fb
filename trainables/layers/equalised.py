"""Layers shared by ProGAN and StyleGAN2: equalised learning rates and minibatch standard deviation.

Weights are drawn from N(0, 1) and multiplied by He's constant in every forward pass, not once at initialisation. Adam's
steps do not depend on the size of the gradient, so this gives all layers the same relative learning rate (Karras et al.
2018, section 4.1).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gansweep.distributed import World, sum_over_workers
from trainables.layers.blocks import upsample_conv2d
from trainables.layers.double_backward import convolved, leaky_relu
from trainables.layers.precision import full_precision

__all__ = ["GAIN", "SLOPE", "EqualConv2d", "EqualLinear", "MinibatchDeviation", "activated"]

SLOPE = 0.2
"""Negative slope of the leaky ReLU."""
GAIN = math.sqrt(2.0 / (1.0 + SLOPE**2))
"""Keeps the mean square of standard normal inputs at 1 after the leaky ReLU, where it is (1 + slope²) / 2."""


class EqualConv2d(nn.Conv2d):
    """A convolution with equalised learning rate that keeps the resolution or doubles it.

    Args:
        channels: input channels.
        out: output channels.
        kernel: height and width of the kernel.
        bias: whether there is a bias, initially zero.
        activated: whether a leaky ReLU with `GAIN` follows. The gain is applied to weight and bias: the result is the
            same, because a leaky ReLU is homogeneous, and it saves a pass over the feature map.
        doubles: whether the input is first upsampled to twice the resolution (nearest neighbour); for 3x3 kernels only.
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
        self.activated = activated
        self.gain = GAIN if activated else 1.0
        self.doubles = doubles
        self.scale = self.gain / math.sqrt(channels * kernel**2)  # He's constant
        self.border = kernel // 2
        nn.init.normal_(self.weight)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        """`[b, C, H, W]` to `[b, out, H, W]`, or `[b, out, 2H, 2W]`."""
        weight = self.weight * self.scale
        bias = None if self.bias is None else self.bias * self.gain
        x = upsample_conv2d(x, weight, bias) if self.doubles else convolved(x, weight, bias, padding=self.border)
        return leaky_relu(x, SLOPE) if self.activated else x


class EqualLinear(nn.Linear):
    """A linear layer with equalised learning rate.

    Args:
        inputs: input features.
        out: output features.
        bias: whether there is a bias, initially zero.
        speed: learning rate relative to the other layers (0.01 in StyleGAN's mapping network).
    """

    def __init__(self, inputs: int, out: int, *, bias: bool = True, speed: float = 1.0) -> None:
        super().__init__(inputs, out, bias=bias)
        self.speed = speed
        self.scale = speed / math.sqrt(inputs)
        nn.init.normal_(self.weight, std=1.0 / speed)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        """`[b, inputs]` to `[b, out]`."""
        return F.linear(x, self.weight * self.scale, None if self.bias is None else self.bias * self.speed)


class MinibatchDeviation(nn.Module):
    """Minibatch standard deviation (Karras et al. 2018, section 3), by which a critic sees mode collapse.

    The appended channel is the standard deviation of each feature at each pixel over the *global* batch, averaged to
    one number. It does not depend on the number of workers. Real and fake images must be in separate batches.
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
    """Leaky ReLU times `GAIN`, which keeps the mean square of standard normal inputs at 1."""
    return leaky_relu(x, SLOPE) * GAIN
