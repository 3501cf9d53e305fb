"""The networks of StyleGAN2 (Karras et al. 2020): modulated convolutions, a skip generator, a residual critic."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainables.blocks import CriticHead, attention_at, with_map
from trainables.double_backward import convolved, leaky_relu
from trainables.equalised import GAIN, SLOPE, EqualConv2d, EqualLinear, MinibatchDeviation, activated
from trainables.norms import PixelNorm
from trainables.precision import full_precision

if TYPE_CHECKING:
    from trainables.conditioning import Conditioning
    from trainables.losses import Judgement

__all__ = ["Critic", "Generator", "ModulatedConv", "Noise", "halved"]

Noise = Callable[[int], Tensor]
"""A size in pixels to standard normal numbers `[b, 1, size, size]`."""
Attention = Callable[[int], nn.Module]


class ModulatedConv(nn.Module):
    """A convolution whose weights each image's style scales, and which are scaled back to unit output.

    Scaling the input channels before and the output channels after one common convolution computes the same as
    convolving each image with weights of its own (equations 1 to 3), without grouped convolutions, which are slow and
    slower still when differentiated twice.

    Args:
        channels: in.
        out: out.
        kernel: height and width.
        latent: size of the style.
        demodulate: whether outputs are scaled back (not for the layer to the image).
        gain: of what follows; outputs are scaled back to it.
    """

    def __init__(
        self, channels: int, out: int, kernel: int, latent: int, *, demodulate: bool = True, gain: float = 1.0
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out, channels, kernel, kernel))
        self.scale, self.padding = 1.0 / math.sqrt(channels * kernel**2), kernel // 2
        self.style = EqualLinear(latent, channels)
        nn.init.ones_(self.style.bias)
        self.demodulate, self.gain = demodulate, gain

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """`[b, channels, H, W]` and `[b, latent]` to `[b, out, H, W]`."""
        scales, weight = self.style(style), self.weight * self.scale
        x = convolved(x * scales[:, :, None, None], weight, padding=self.padding)
        if not self.demodulate:
            return x
        power = scales.square() @ weight.square().sum(dim=(2, 3)).T
        return x * (self.gain * torch.rsqrt(power + 1e-8))[:, :, None, None]


class Generator(nn.Module):
    """Mapping and synthesis.

    Args:
        latent: size of noise and styles.
        code: numbers of the condition beside the noise.
        mapping: layers from noise to style.
        sizes: of the feature maps, from the smallest on, in pixels.
        widths: their channels.
        channels: of the image.
        extra: mask channels at each resolution.
        attention: makes the attention module for so many channels.
        attention_size: pixels at which it is applied.
    """

    def __init__(
        self,
        latent: int,
        code: int,
        mapping: int,
        sizes: list[int],
        widths: list[int],
        channels: int,
        extra: int,
        attention: Attention,
        attention_size: int,
    ) -> None:
        super().__init__()
        inputs = [latent + code, *[latent] * (mapping - 1)]
        self.norm = PixelNorm()
        self.mapping = nn.ModuleList(EqualLinear(size, latent, speed=0.01) for size in inputs)
        self.start = nn.Parameter(torch.randn(1, widths[0], sizes[0], sizes[0]))
        ups = [_Layer(inner + extra, out, latent) for inner, out in itertools.pairwise(widths)]
        self.ups = nn.ModuleList([nn.Identity(), *ups])
        self.layers = nn.ModuleList(_Layer(width + extra, width, latent) for width in widths)
        self.outs = nn.ModuleList(_ToImage(width, channels, latent) for width in widths)
        self.attentions = attention_at(attention, sizes, widths, attention_size)
        self.depth = 2 * len(sizes) - 1

    def styles(self, noise: Tensor, code: Tensor) -> Tensor:
        """`[b, latent]` noise and `[b, code]` to `[b, layers, latent]`, the same for every layer."""
        x = torch.cat([self.norm(noise), code.to(noise.dtype)], dim=1)
        for layer in self.mapping:
            x = activated(layer(x))
        return x[:, None].expand(-1, self.depth, -1)

    def forward(self, styles: Tensor, mask_map: Tensor | None, noise: Noise) -> Tensor:
        """`[b, layers, latent]`, `[b, extra, H, W]` or None, and noise, to images `[b, C, H, W]`, not bounded."""
        x = self.start.expand(len(styles), -1, -1, -1)
        style = iter(styles.unbind(dim=1))
        images: Tensor | None = None
        for stage, (up, layer, out) in enumerate(zip(self.ups, self.layers, self.outs, strict=True)):
            if stage:
                x = up(with_map(_doubled(x), mask_map), next(style), noise)
            present = next(style)
            x = self.attentions[stage](layer(with_map(x, mask_map), present, noise))
            image = out(x, present)
            images = image if images is None else _doubled(images) + image
        assert images is not None
        return images


class Critic(nn.Module):
    """Residual blocks from the image down, then the batch's deviation.

    Args:
        channels: of the image and its planes.
        sizes: of the feature maps, from the smallest on, in pixels.
        widths: their channels.
        conditioning: which heads are needed.
        attention: makes the attention module for so many channels.
        attention_size: pixels at which it is applied.
        classifies: whether a classifier head is needed whatever the conditioning.
    """

    def __init__(
        self,
        channels: int,
        sizes: list[int],
        widths: list[int],
        conditioning: Conditioning,
        attention: Attention,
        attention_size: int,
        *,
        classifies: bool,
    ) -> None:
        super().__init__()
        self.start = EqualConv2d(channels, widths[-1], 1, activated=True)
        down = widths[::-1]
        self.blocks = nn.ModuleList(_Down(inner, out) for inner, out in itertools.pairwise(down))
        self.attentions = attention_at(attention, sizes[-2::-1], down[1:], attention_size)
        self.deviation = MinibatchDeviation()
        self.last = EqualConv2d(widths[0] + 1, widths[0], 3, activated=True)
        self.dense = EqualLinear(widths[0] * sizes[0] ** 2, widths[0])
        self.head = CriticHead(widths[0], 1, conditioning, classifies=classifies, linear=EqualLinear)

    def forward(self, images: Tensor, labels: Tensor) -> Judgement:
        """`[b, channels, H, W]` and labels `[b]` to a judgement with every block's output."""
        features = []
        x = self.start(images)
        for block, attention in zip(self.blocks, self.attentions, strict=True):
            x = attention(block(x))
            features.append(x)
        x = self.last(self.deviation(x))
        features.append(activated(self.dense(x.flatten(1)))[:, :, None, None])
        judgement: Judgement = self.head(features, labels)
        return judgement


class _Layer(nn.Module):
    """Modulated convolution, noise, bias, activation."""

    def __init__(self, channels: int, out: int, latent: int) -> None:
        super().__init__()
        self.conv = ModulatedConv(channels, out, 3, latent, gain=GAIN)
        self.strength = nn.Parameter(torch.zeros(()))
        self.bias = nn.Parameter(torch.zeros(out, 1, 1))

    def forward(self, x: Tensor, style: Tensor, noise: Noise) -> Tensor:
        x = self.conv(x, style)
        return leaky_relu(x + (GAIN * self.strength) * noise(x.shape[-1]).to(x.dtype) + GAIN * self.bias, SLOPE)


class _ToImage(nn.Module):
    """A modulated 1x1 convolution to the image's channels."""

    def __init__(self, width: int, channels: int, latent: int) -> None:
        super().__init__()
        self.conv = ModulatedConv(width, channels, 1, latent, demodulate=False)
        self.bias = nn.Parameter(torch.zeros(channels, 1, 1))

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        image: Tensor = self.conv(x, style) + self.bias
        return image


class _Down(nn.Module):
    """Half the resolution, with a shortcut; both paths scaled to keep the sum's mean square."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.first = EqualConv2d(channels, channels, 3, activated=True)
        self.second = EqualConv2d(channels, out, 3, activated=True)
        self.skip = EqualConv2d(channels, out, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        main = self.second(halved(self.first(x)))
        total: Tensor = (main + self.skip(halved(x))) * math.sqrt(0.5)
        return total


def halved(x: Tensor) -> Tensor:
    """Half the size, through the filter (1, 3, 3, 1) / 8, which is what antialiasing means at a factor of two."""
    # Antialiasing knows no bfloat16 on a CPU.
    half = F.interpolate(full_precision(x), scale_factor=0.5, mode="bilinear", antialias=True, align_corners=False)
    return half.to(x.dtype)


def _doubled(x: Tensor) -> Tensor:
    """Twice the size; bilinear, which is the same filter."""
    return F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
