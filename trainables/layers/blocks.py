"""Building blocks of several families."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from trainables.conditioning.labels import one_hot
from trainables.layers.critic_output import CriticOutput
from trainables.layers.precision import full_precision

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from trainables.conditioning.conditionings import Conditioning

__all__ = [
    "CriticHead",
    "NearestConv2d",
    "append_mask_map",
    "attention_at",
    "initialise",
    "spectrally_normalised",
    "stages_for",
    "upsample_conv2d",
    "upsampler",
]


class CriticHead(nn.Module):
    """The last layers of a critic: from its last feature map to its output.

    Args:
        channels: channels of the feature map.
        size: height and width of the feature map.
        conditioning: decides whether there is a class embedding (projection) and a classifier head.
        classifies: adds a classifier head whatever the conditioning.
        sigmoid: whether scores go through a sigmoid.
        linear: class of the linear layers.
    """

    def __init__(
        self,
        channels: int,
        size: int,
        conditioning: Conditioning,
        *,
        classifies: bool = False,
        sigmoid: bool = False,
        linear: type[nn.Linear] = nn.Linear,
    ) -> None:
        super().__init__()
        self.score = linear(channels * size * size, 1)
        self.embedding = linear(conditioning.classes, channels, bias=False) if conditioning.projects else None
        classifies = classifies or conditioning.classifies
        self.classify = linear(channels, conditioning.classes) if classifies else None
        self.sigmoid = sigmoid

    def forward(self, features: list[Tensor], labels: Tensor) -> CriticOutput:
        """Returns the critic's output for the last of `features`, `[b, C, H, W]`, with labels `[b]`."""
        last = features[-1]
        scores = self.score(last.flatten(1)).squeeze(1)
        pooled = last.mean(dim=(2, 3))
        if self.embedding is not None:
            # The projection term of Miyato & Koyama 2018, figure 1d.
            code = one_hot(labels, self.embedding.in_features).to(pooled.dtype)
            scores = scores + (self.embedding(code) * pooled).sum(dim=1)
        classes = None if self.classify is None else full_precision(self.classify(pooled))
        scores = full_precision(scores.sigmoid() if self.sigmoid else scores)
        return CriticOutput(scores, classes, features)


def upsampler(kind: str, channels: int, out: int) -> nn.Sequential:
    """Returns a layer that doubles the resolution.

    Args:
        kind: nearest, bilinear, transposed or pixel_shuffle.
        channels: input channels.
        out: output channels.

    Returns:
        A module from `[b, channels, H, W]` to `[b, out, 2H, 2W]`.
    """
    match kind:
        case "transposed":
            return nn.Sequential(nn.ConvTranspose2d(channels, out, 4, stride=2, padding=1))
        case "pixel_shuffle":
            return nn.Sequential(nn.Conv2d(channels, 4 * out, 3, padding=1), nn.PixelShuffle(2))
        case "bilinear":
            scale = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)
            return nn.Sequential(scale, nn.Conv2d(channels, out, 3, padding=1))
        case _:
            return nn.Sequential(NearestConv2d(channels, out))


class NearestConv2d(nn.Conv2d):
    """Nearest-neighbour upsampling to twice the resolution, followed by a 3x3 convolution.

    Args:
        channels: input channels.
        out: output channels.
    """

    def __init__(self, channels: int, out: int) -> None:
        super().__init__(channels, out, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """`[b, channels, H, W]` to `[b, out, 2H, 2W]`."""
        return upsample_conv2d(x, self.weight, self.bias)


def upsample_conv2d(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """`F.conv2d(F.interpolate(x, scale_factor=2), weight, bias, padding=1)` without the upsampled map.

    Among the 9 upsampled pixels under the kernel at least 5 are copies; only 2x2 pixels of `x` differ. A transposed
    convolution can therefore compute the result with 4 products per pixel instead of 9: its 4x4 kernel sums the 3x3
    weight over the copies.

    Args:
        x: `[b, in, H, W]`.
        weight: `[out, in, 3, 3]`.
        bias: `[out]` or None.

    Returns:
        `[b, out, 2H, 2W]`.
    """
    padded = F.pad(weight.transpose(0, 1).flip(2, 3), (1, 1, 1, 1))
    spread = padded[..., :-1, :-1] + padded[..., 1:, :-1] + padded[..., :-1, 1:] + padded[..., 1:, 1:]
    return F.conv_transpose2d(x, spread, bias, stride=2, padding=1)


@torch.no_grad()
def initialise(module: nn.Module) -> None:
    """He initialisation of all convolutions and linear layers, with zero biases; other layers are left as they are."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            std = nn.init.calculate_gain("leaky_relu", 0.2) / _fan_in(layer) ** 0.5
            nn.init.normal_(layer.weight, std=std)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def _fan_in(layer: nn.Conv2d | nn.ConvTranspose2d | nn.Linear) -> int:
    """Returns the number of products in the sum of one output.

    For a transposed convolution, an output sees one in stride² taps.
    """
    if isinstance(layer, nn.ConvTranspose2d):
        return layer.weight[:, 0].numel() // math.prod(layer.stride)
    return layer.weight[0].numel()


def spectrally_normalised(module: nn.Module) -> None:
    """Applies spectral normalisation (Miyato et al. 2018) to every weight; call it after `initialise`."""
    for layer in list(module.modules()):
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            spectral_norm(layer)


def stages_for(size: int, depth: int) -> tuple[int, int] | None:
    """Returns how often an image of `size` pixels is halved.

    Args:
        size: height and width in pixels.
        depth: requested number of halvings; 0 halves down to 4 to 7 pixels.

    Returns:
        (number of halvings, pixels left), or None if `size` is not divisible or fewer than 2 pixels would be left.
    """
    stages = depth or max((size // 4).bit_length() - 1, 1)
    base, rest = divmod(size, 2**stages)
    if rest or base < 2:
        return None
    return stages, base


def attention_at(
    attention: Callable[[int], nn.Module], sizes: Sequence[int], widths: Sequence[int], largest: int
) -> nn.ModuleList:
    """Returns one module per feature map: attention at one of them, and the identity at the others.

    Attention is placed at the largest map of at most `largest` pixels. If all maps are larger it is placed at the
    smallest, so that a configuration with attention always has it.

    Args:
        attention: makes the attention module for a number of channels.
        sizes: height of each feature map in pixels.
        widths: channels of each feature map.
        largest: maximum height of the map with attention, in pixels.
    """
    small_enough = [size for size in sizes if size <= largest]
    chosen = max(small_enough) if small_enough else min(sizes, default=None)
    modules = nn.ModuleList()
    for size, width in zip(sizes, widths, strict=True):
        modules.append(attention(width) if size == chosen else nn.Identity())
    return modules


def append_mask_map(x: Tensor, mask_map: Tensor | None) -> Tensor:
    """Appends the mask map, averaged down to the size of `x` `[b, C, H, W]`, as channels; None appends nothing."""
    if mask_map is None:
        return x
    resized = F.adaptive_avg_pool2d(mask_map, x.shape[-1])
    return torch.cat([x, resized.to(x.dtype)], dim=1)
