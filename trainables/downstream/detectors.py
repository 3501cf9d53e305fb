"""Detectors: classifiers that a downstream user would train to distinguish the classes."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    from gansweep.contracts import ImageSpec

__all__ = ["DenseNetDetector", "HybridDetector", "SmallCnn"]


class SmallCnn(nn.Module):
    """Four convolutions and a linear layer: 61,000 parameters, about 10 ms per step of 32 images on one CPU core.

    Group normalisation keeps an image's prediction independent of the others in its batch. The last feature map is
    pooled by its mean and its maximum, because a lesion is small: the mean alone dilutes it.

    Args:
        spec: shape of the images, and their classes.
        width: channels of the first layer.
    """

    def __init__(self, spec: ImageSpec, width: int = 16) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        sizes = [spec.channels, width, width * 2, width * 4, width * 4]
        for inputs, outputs in pairwise(sizes):
            stride = 2 if outputs != inputs else 1
            layers += [nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1), nn.GroupNorm(8, outputs), nn.ReLU()]
        self.features = nn.Sequential(*layers)
        self.head = nn.Linear(2 * sizes[-1], len(spec.classes))

    def forward(self, images: Tensor) -> Tensor:
        """Logits `[b, classes]` of images `[b, C, H, W]`."""
        x = self.features(images)
        return cast("Tensor", self.head(torch.cat([x.mean((2, 3)), x.amax((2, 3))], 1)))


class HybridDetector(nn.Module):
    """Convolutions down to an eighth of the size, then two layers of self-attention: 203,000 parameters.

    The convolutions see a lesion. Attention sees where it is, and whether there is one on the other side too.
    Convolutional stems: Xiao et al. 2021, "Early Convolutions Help Transformers See Better".

    Args:
        spec: shape of the images, at least 8 pixels, and their classes.
        width: channels of the first layer. Tokens have four times as many.
    """

    def __init__(self, spec: ImageSpec, width: int = 24) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise([spec.channels, width, width * 2, width * 4]):
            layers += [nn.Conv2d(inputs, outputs, 3, stride=2, padding=1), nn.GroupNorm(8, outputs), nn.ReLU()]
        self.stem = nn.Sequential(*layers)
        self.blocks = nn.Sequential(*(_AttentionBlock(width * 4, heads=4) for _ in range(2)))
        self.head = nn.Linear(width * 8, len(spec.classes))

    def forward(self, images: Tensor) -> Tensor:
        """Logits `[b, classes]` of images `[b, C, H, W]`."""
        x = self.stem(images)
        tokens = (x + _positions(x)).flatten(2).transpose(1, 2)
        tokens = self.blocks(tokens)
        pooled = torch.cat([tokens.mean(1), tokens.amax(1)], 1)
        return cast("Tensor", self.head(pooled))


class _AttentionBlock(nn.Module):
    """Self-attention and a small perceptron, each after a normalisation, on tokens `[b, n, width]`."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.joint = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.perceptron = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        # `[b, n, 3 width]` to three tensors `[b, heads, n, width / heads]`.
        joint = self.joint(self.norm(x)).unflatten(2, (3, self.heads, -1))
        query, key, value = joint.permute(2, 0, 3, 1, 4)
        attended = functional.scaled_dot_product_attention(query, key, value)
        x = x + self.out(attended.transpose(1, 2).flatten(2))
        return cast("Tensor", x + self.perceptron(x))


def _positions(x: Tensor) -> Tensor:
    """Returns a positional encoding `[1, C, H, W]` (Vaswani et al. 2017).

    It has the sine and the cosine of row and column, a quarter of the channels each.
    """
    channels, height, width = x.shape[1:]
    quarter = channels // 4
    rates = torch.exp(torch.arange(quarter, device=x.device, dtype=x.dtype) * (-4.0 / quarter))
    rows = torch.arange(height, device=x.device, dtype=x.dtype)[:, None] * rates
    columns = torch.arange(width, device=x.device, dtype=x.dtype)[:, None] * rates
    down = torch.cat([rows.sin(), rows.cos()], 1)[:, None].expand(-1, width, -1)
    across = torch.cat([columns.sin(), columns.cos()], 1)[None].expand(height, -1, -1)
    return torch.cat([down, across], 2).permute(2, 0, 1)[None]


class DenseNetDetector(nn.Module):
    """DenseNet-121 (Huang et al. 2017) from MONAI: 7 million parameters, for training on a GPU.

    Args:
        spec: shape of the images, at least 32 pixels, and their classes.
    """

    def __init__(self, spec: ImageSpec) -> None:
        from monai.networks.nets import DenseNet121

        super().__init__()
        self.network = DenseNet121(spatial_dims=2, in_channels=spec.channels, out_channels=len(spec.classes))

    def forward(self, images: Tensor) -> Tensor:
        """Logits `[b, classes]` of images `[b, C, H, W]`."""
        return cast("Tensor", self.network(images))
