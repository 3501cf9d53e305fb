"""The networks of StyleGAN2 (Karras et al. 2020): modulated convolutions, a skip generator, a residual critic."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainables.layers.blocks import CriticHead, append_mask_map, attention_at
from trainables.layers.double_backward import convolved, leaky_relu
from trainables.layers.equalised import GAIN, SLOPE, EqualConv2d, EqualLinear, MinibatchDeviation, activated
from trainables.layers.norms import PixelNorm
from trainables.layers.precision import full_precision

if TYPE_CHECKING:
    from trainables.conditioning.conditionings import Conditioning
    from trainables.layers.critic_output import CriticOutput

__all__ = ["Critic", "FeatureMaps", "Generator", "ModulatedConv", "Noise", "halved"]

Noise = Callable[[int], Tensor]
"""Maps a size in pixels to standard normal numbers `[b, 1, size, size]`."""
Attention = Callable[[int], nn.Module]


@dataclass(frozen=True)
class FeatureMaps:
    """The feature maps of a network, from the smallest to the largest, and the one with attention.

    Args:
        sizes: height and width of each map, in pixels.
        widths: channels of each map.
        attention: makes the attention module for a number of channels.
        attention_size: attention is placed at the largest map of at most this many pixels; see `attention_at`.
    """

    sizes: list[int]
    widths: list[int]
    attention: Attention
    attention_size: int


class ModulatedConv(nn.Module):
    """A convolution whose weight is modulated by each image's style and then demodulated.

    The paper convolves each image with its own weight (equations 1 to 3). Scaling the input channels before one shared
    convolution, and the output channels after it, computes the same. This avoids grouped convolutions, which are slow
    and even slower when differentiated twice.

    Args:
        channels: input channels.
        out: output channels.
        kernel: height and width of the kernel.
        latent: size of the style.
        demodulate: whether outputs are scaled to unit variance (not in the layer to the image).
        gain: factor of demodulated outputs, for the activation that follows.
    """

    def __init__(
        self, channels: int, out: int, kernel: int, latent: int, *, demodulate: bool = True, gain: float = 1.0
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out, channels, kernel, kernel))
        self.scale = 1.0 / math.sqrt(channels * kernel**2)
        self.padding = kernel // 2
        self.style = EqualLinear(latent, channels)
        nn.init.ones_(self.style.bias)  # no modulation at first
        self.demodulate = demodulate
        self.gain = gain

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """`[b, channels, H, W]` and `[b, latent]` to `[b, out, H, W]`."""
        scales = self.style(style)
        weight = self.weight * self.scale
        x = convolved(x * scales[:, :, None, None], weight, padding=self.padding)
        if not self.demodulate:
            return x
        # Demodulation, equation 3: sum of the squared modulated weights of each output channel.
        power = scales.square() @ weight.square().sum(dim=(2, 3)).T
        return x * (self.gain * torch.rsqrt(power + 1e-8))[:, :, None, None]


class Generator(nn.Module):
    """The mapping network and the synthesis network.

    Args:
        latent: size of noise and styles.
        code: size of the condition's vector, which is appended to the noise.
        mapping: number of layers from noise to style.
        maps: the feature maps.
        channels: channels of the image.
        extra: mask channels appended at each resolution.
    """

    def __init__(self, latent: int, code: int, mapping: int, maps: FeatureMaps, channels: int, extra: int) -> None:
        super().__init__()
        sizes = maps.sizes
        widths = maps.widths
        inputs = [latent + code, *[latent] * (mapping - 1)]
        self.norm = PixelNorm()
        self.mapping = nn.ModuleList(EqualLinear(size, latent, speed=0.01) for size in inputs)

        self.start = nn.Parameter(torch.randn(1, widths[0], sizes[0], sizes[0]))
        ups = [_Layer(inner + extra, out, latent) for inner, out in itertools.pairwise(widths)]
        self.ups = nn.ModuleList([nn.Identity(), *ups])
        self.layers = nn.ModuleList(_Layer(width + extra, width, latent) for width in widths)
        self.outs = nn.ModuleList(_ToImage(width, channels, latent) for width in widths)
        self.attentions = attention_at(maps.attention, sizes, widths, maps.attention_size)
        # Layers with a style: two at each resolution, but one at the smallest.
        self.depth = 2 * len(sizes) - 1

    def styles(self, noise: Tensor, code: Tensor) -> Tensor:
        """Maps noise `[b, latent]` and codes `[b, code]` to styles `[b, layers, latent]`, equal for all layers."""
        x = torch.cat([self.norm(noise), code.to(noise.dtype)], dim=1)
        for layer in self.mapping:
            x = activated(layer(x))
        return x[:, None].expand(-1, self.depth, -1)

    def forward(self, styles: Tensor, mask_map: Tensor | None, noise: Noise) -> Tensor:
        """Maps styles `[b, layers, latent]`, masks `[b, extra, H, W]` or None, and noise to images, not bounded."""
        x = self.start.expand(len(styles), -1, -1, -1)
        style = iter(styles.unbind(dim=1))
        images: Tensor | None = None
        for stage, (up, layer, out) in enumerate(zip(self.ups, self.layers, self.outs, strict=True)):
            if stage:
                x = up(append_mask_map(_doubled(x), mask_map), next(style), noise)
            # The layer to the image shares the style of the convolution before it.
            shared = next(style)
            x = self.attentions[stage](layer(append_mask_map(x, mask_map), shared, noise))
            image = out(x, shared)
            images = image if images is None else _doubled(images) + image
        assert images is not None
        return images


class Critic(nn.Module):
    """Residual blocks that halve the resolution, then the minibatch standard deviation.

    Args:
        channels: channels of the image and of the planes appended to it.
        maps: the feature maps.
        conditioning: decides which heads there are.
        classifies: adds a classifier head whatever the conditioning.
    """

    def __init__(self, channels: int, maps: FeatureMaps, conditioning: Conditioning, *, classifies: bool) -> None:
        super().__init__()
        sizes = maps.sizes
        widths = maps.widths
        self.start = EqualConv2d(channels, widths[-1], 1, activated=True)
        down = widths[::-1]
        self.blocks = nn.ModuleList(_Down(inner, out) for inner, out in itertools.pairwise(down))
        # One map for each block: all but the largest, from large to small.
        self.attentions = attention_at(maps.attention, sizes[-2::-1], down[1:], maps.attention_size)
        self.deviation = MinibatchDeviation()
        self.last = EqualConv2d(widths[0] + 1, widths[0], 3, activated=True)
        self.dense = EqualLinear(widths[0] * sizes[0] ** 2, widths[0])
        self.head = CriticHead(widths[0], 1, conditioning, classifies=classifies, linear=EqualLinear)

    def blocks_from_image(self) -> list[tuple[nn.Module, ...]]:
        """Returns each block and the attention after it; the first with the convolution from the image."""
        largest, *smaller = zip(self.blocks, self.attentions, strict=True)
        return [(self.start, *largest), *smaller]

    def forward(self, images: Tensor, labels: Tensor) -> CriticOutput:
        """`[b, channels, H, W]` and labels `[b]` to the scores, with every block's output as features."""
        features = []
        x = self.start(images)
        for block, attention in zip(self.blocks, self.attentions, strict=True):
            x = attention(block(x))
            features.append(x)
        x = self.last(self.deviation(x))
        features.append(activated(self.dense(x.flatten(1)))[:, :, None, None])
        output: CriticOutput = self.head(features, labels)
        return output


class _Layer(nn.Module):
    """Modulated convolution, noise, bias, activation."""

    def __init__(self, channels: int, out: int, latent: int) -> None:
        super().__init__()
        self.conv = ModulatedConv(channels, out, 3, latent, gain=GAIN)
        self.strength = nn.Parameter(torch.zeros(()))
        self.bias = nn.Parameter(torch.zeros(out, 1, 1))

    def forward(self, x: Tensor, style: Tensor, noise: Noise) -> Tensor:
        x = self.conv(x, style)
        pixel_noise = noise(x.shape[-1]).to(x.dtype)
        # The gain is applied to every term before the activation: a leaky ReLU is homogeneous.
        x = x + (GAIN * self.strength) * pixel_noise + GAIN * self.bias
        return leaky_relu(x, SLOPE)


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
    """A residual block that halves the resolution."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.first = EqualConv2d(channels, channels, 3, activated=True)
        self.second = EqualConv2d(channels, out, 3, activated=True)
        self.skip = EqualConv2d(channels, out, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        main = self.second(halved(self.first(x)))
        # 1 / sqrt(2) keeps the mean square of the sum of two independent paths.
        total: Tensor = (main + self.skip(halved(x))) * math.sqrt(0.5)
        return total


def halved(x: Tensor) -> Tensor:
    """Halves the size with the filter (1, 3, 3, 1) / 8, which is antialiased bilinear interpolation by 2."""
    # On a CPU, antialiased interpolation does not support bfloat16.
    half = F.interpolate(full_precision(x), scale_factor=0.5, mode="bilinear", antialias=True, align_corners=False)
    return half.to(x.dtype)


def _doubled(x: Tensor) -> Tensor:
    """Doubles the size by bilinear interpolation, which is the same filter."""
    return F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
