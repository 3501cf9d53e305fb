"""Detectors: classifiers that a downstream user would train to tell the classes apart."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from gansweep.contracts import ImageSpec

__all__ = ["DenseNetDetector", "SmallCnn"]


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
