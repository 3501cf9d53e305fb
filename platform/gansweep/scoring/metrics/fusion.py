"""Metrics of image fusion: how much detail a fused image has, and how much of each source it contains."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["spatial_frequency", "sum_of_correlations_of_differences"]


def spatial_frequency(images: Tensor) -> Tensor:
    """Root mean square difference of neighbouring pixels along rows and columns.

    Range [0, 361), in grey levels of an 8-bit image. Higher values mean more detail, but also more noise. No reference
    image is needed.

    Args:
        images: `[n, C, H, W]` in [-1, 1]; channels are averaged first.

    Returns:
        Values `[n]`.

    Source:
        Eskicioglu & Fisher 1995, "Image Quality Measures and Their Performance", eqs. 12 to 14.
    """
    grey = (images.double().mean(1) + 1) / 2 * 255
    rows = grey.diff(dim=2).square().sum((1, 2))
    columns = grey.diff(dim=1).square().sum((1, 2))
    return ((rows + columns) / grey[0].numel()).sqrt()


def sum_of_correlations_of_differences(first: Tensor, second: Tensor, fused: Tensor) -> Tensor:
    """SCD: correlation of the fused image minus one source with the other source, summed over both sources.

    Range [-2, 2], no units; higher is better.

    Args:
        first: one source, `[n, C, H, W]`, such as CT.
        second: the other source, such as MR.
        fused: their fusion.

    Returns:
        Values `[n]`; NaN for constant images.

    Source:
        Aslantas & Bendes 2015, "A New Image Quality Metric for Image Fusion: The Sum of the Correlations of
        Differences", eqs. 1 to 3.
    """
    return _correlation(fused - second, first) + _correlation(fused - first, second)


def _correlation(x: Tensor, y: Tensor) -> Tensor:
    x = x.double().flatten(1)
    y = y.double().flatten(1)
    x = x - x.mean(1, keepdim=True)
    y = y - y.mean(1, keepdim=True)
    norms = torch.linalg.vector_norm(x, dim=1) * torch.linalg.vector_norm(y, dim=1)
    return torch.div((x * y).sum(1), norms)
