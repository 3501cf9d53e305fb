"""Parts that several families build from."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from trainables.losses import Judgement
from trainables.precision import full_precision

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from trainables.conditioning import Conditioning

__all__ = [
    "CriticHead",
    "NearestConv2d",
    "attention_at",
    "initialise",
    "spectrally_normalised",
    "stages_for",
    "upsampled_and_convolved",
    "upsampler",
    "with_map",
]


class CriticHead(nn.Module):
    """From the last feature map to a judgement.

    Args:
        channels: of the feature map.
        size: its height and width.
        conditioning: whether a class embedding is projected on and whether classes are named.
        classifies: whether classes are named whatever the conditioning.
        sigmoid: whether scores are squeezed into (0, 1).
        linear: the kind of linear layer.
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

    def forward(self, features: list[Tensor], labels: Tensor) -> Judgement:
        """Judges the last of `features` `[b, C, H, W]` under `labels` `[b]`."""
        last = features[-1]
        scores = self.score(last.flatten(1)).squeeze(1)
        pooled = last.mean(dim=(2, 3))
        if self.embedding is not None:
            one_hot = nn.functional.one_hot(labels, self.embedding.in_features).to(pooled.dtype)
            scores = scores + (self.embedding(one_hot) * pooled).sum(dim=1)
        classes = None if self.classify is None else full_precision(self.classify(pooled))
        scores = full_precision(scores.sigmoid() if self.sigmoid else scores)
        return Judgement(scores, classes, features)


def upsampler(kind: str, channels: int, out: int) -> nn.Sequential:
    """Twice the resolution, and from `channels` to `out` channels.

    Args:
        kind: nearest, bilinear, transposed or pixel_shuffle.
        channels: in.
        out: out.
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
    """Nearest-neighbour upsampling to twice the resolution, then a 3x3 convolution.

    Args:
        channels: in.
        out: out.
    """

    def __init__(self, channels: int, out: int) -> None:
        super().__init__(channels, out, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """`[b, channels, H, W]` to `[b, out, 2H, 2W]`."""
        return upsampled_and_convolved(x, self.weight, self.bias)


def upsampled_and_convolved(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """`F.conv2d(F.interpolate(x, scale_factor=2), weight, bias, padding=1)`, without the large map in between.

    Each pixel of the result sees 2x2 pixels of `x`, not 9 of the upsampled ones of which 5 or more are copies: as a
    transposed convolution, with the 3x3 weight spread over the 2x2 copies, that is 4 products instead of 9.

    Args:
        x: `[b, in, H, W]`.
        weight: `[out, in, 3, 3]`.
        bias: `[out]` or None.
    """
    padded = F.pad(weight.transpose(0, 1).flip(2, 3), (1, 1, 1, 1))
    spread = padded[..., :-1, :-1] + padded[..., 1:, :-1] + padded[..., :-1, 1:] + padded[..., 1:, 1:]
    return F.conv_transpose2d(x, spread, bias, stride=2, padding=1)


@torch.no_grad()
def initialise(module: nn.Module) -> None:
    """He initialisation of every convolution and linear layer, biases at zero; normalisations keep theirs."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            std = nn.init.calculate_gain("leaky_relu", 0.2) / _fan_in(layer) ** 0.5
            nn.init.normal_(layer.weight, std=std)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def _fan_in(layer: nn.Conv2d | nn.ConvTranspose2d | nn.Linear) -> int:
    """Over how many products a result sums; of a transposed convolution's taps, one in stride² meets a pixel."""
    if isinstance(layer, nn.ConvTranspose2d):
        return layer.weight[:, 0].numel() // math.prod(layer.stride)
    return layer.weight[0].numel()


def spectrally_normalised(module: nn.Module) -> None:
    """Divides every weight by its largest singular value (Miyato et al. 2018); call after `initialise`."""
    for layer in list(module.modules()):
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            spectral_norm(layer)


def stages_for(size: int, depth: int) -> tuple[int, int] | None:
    """How an image of `size` pixels is halved.

    Args:
        size: pixels.
        depth: halvings wanted; 0: as many as leave 4 to 7 pixels.

    Returns:
        (halvings, pixels left), or None where `size` cannot be halved so.
    """
    stages = depth or max((size // 4).bit_length() - 1, 1)
    base, rest = divmod(size, 2**stages)
    return None if rest or base < 2 else (stages, base)


def attention_at(
    attention: Callable[[int], nn.Module], sizes: Sequence[int], widths: Sequence[int], largest: int
) -> nn.ModuleList:
    """One module per feature map: attention at the largest that is not above `largest`, the identity elsewhere.

    Where all are above it, attention is at the smallest: whoever asked for it must not go without.

    Args:
        attention: makes the attention module for so many channels.
        sizes: heights of the feature maps, in pixels.
        widths: their channels.
        largest: pixels.
    """
    chosen = max((size for size in sizes if size <= largest), default=min(sizes, default=None))
    return nn.ModuleList(
        attention(width) if size == chosen else nn.Identity() for size, width in zip(sizes, widths, strict=True)
    )


def with_map(x: Tensor, mask_map: Tensor | None) -> Tensor:
    """`x` `[b, C, H, W]` with the mask, averaged down to its size, as further channels."""
    if mask_map is None:
        return x
    return torch.cat([x, nn.functional.adaptive_avg_pool2d(mask_map, x.shape[-1]).to(x.dtype)], dim=1)
