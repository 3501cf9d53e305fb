"""Segmenters: networks that a downstream user would train to outline lesions."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from gansweep.errors import ConfigError

if TYPE_CHECKING:
    from gansweep.contracts import ImageSpec

__all__ = ["DruNet", "UNet"]


class UNet(nn.Module):
    """U-Net (Ronneberger et al. 2015) from MONAI, with residual units.

    Args:
        spec: shape of the images; their size is divisible by 8.
        width: channels of the first level; doubled at each of the three lower levels.

    Raises:
        ConfigError: the size is not divisible by 8.
    """

    def __init__(self, spec: ImageSpec, width: int = 16) -> None:
        from monai.networks.nets import UNet as MonaiUNet

        super().__init__()
        _check_size(spec)
        channels = [width * 2**level for level in range(4)]
        self.network = MonaiUNet(2, spec.channels, 1, channels=channels, strides=(2, 2, 2), num_res_units=1)

    def forward(self, images: Tensor) -> Tensor:
        """Logits `[b, 1, H, W]` of the lesion in images `[b, C, H, W]`."""
        return cast("Tensor", self.network(images))


class DruNet(nn.Module):
    """DRU-Net: a U-Net whose blocks are densely connected inside and have a residual connection around them.

    This gives gradients the short paths of a DenseNet with far fewer weights
    (Jafari et al. 2020, "DRU-Net: An Efficient Deep Convolutional Neural Network for Medical Image Segmentation").

    Args:
        spec: shape of the images; their size is divisible by 8.
        width: channels of the first level; doubled at each of the three lower levels.

    Raises:
        ConfigError: the size is not divisible by 8.
    """

    def __init__(self, spec: ImageSpec, width: int = 16) -> None:
        super().__init__()
        _check_size(spec)
        channels = [width * 2**level for level in range(4)]
        self.stem = nn.Conv2d(spec.channels, width, 3, padding=1)
        self.down = nn.ModuleList(_DenseResidual(level, level) for level in channels)
        self.shrink = nn.ModuleList(nn.Conv2d(upper, lower, 2, stride=2) for upper, lower in pairwise(channels))
        self.up = nn.ModuleList(_DenseResidual(upper + lower, upper) for upper, lower in pairwise(channels))
        self.head = nn.Conv2d(width, 1, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Logits `[b, 1, H, W]` of the lesion in images `[b, C, H, W]`."""
        x = self.stem(images)
        skipped = []
        *upper_blocks, lowest_block = self.down
        for block, shrink in zip(upper_blocks, self.shrink, strict=True):
            x = block(x)
            skipped.append(x)
            x = shrink(x)
        x = lowest_block(x)
        for block, skip in zip(reversed(self.up), reversed(skipped), strict=True):
            x = functional.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
            x = block(torch.cat([x, skip], 1))
        return cast("Tensor", self.head(x))


class _DenseResidual(nn.Module):
    """Three densely connected layers, whose merged output is added to the block's input."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        growth = outputs // 2
        self.layers = nn.ModuleList()
        channels = inputs
        for _ in range(3):
            norm = nn.GroupNorm(math.gcd(8, channels), channels)
            self.layers.append(nn.Sequential(norm, nn.ReLU(), nn.Conv2d(channels, growth, 3, padding=1)))
            channels += growth
        self.merge = nn.Conv2d(channels, outputs, 1)
        self.shortcut = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        dense = x
        for layer in self.layers:
            dense = torch.cat([dense, layer(dense)], 1)
        return cast("Tensor", self.merge(dense) + self.shortcut(x))


def _check_size(spec: ImageSpec) -> None:
    if spec.size % 8:
        raise ConfigError(f"a U-Net of four levels needs a size divisible by 8, not {spec.size}", where="data.size")
