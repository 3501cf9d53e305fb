"""Distances between an image and the one it should be: means over images, so that workers' means average."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from trainables.precision import full_precision

if TYPE_CHECKING:
    from trainables.losses import Judgement

__all__ = ["brightness_cross_entropy", "gradient_difference", "perceptual_distance", "structural_distance"]

SSIM_WINDOW = 11
"""Pixels, with a Gaussian of 1.5 (Wang et al. 2004)."""


def gradient_difference(images: Tensor, targets: Tensor) -> Tensor:
    """Squared difference of the absolute gradients, both directions (Nie et al. 2017, equation 5)."""
    distance = images.new_zeros(())
    for axis in (-1, -2):
        difference = images.diff(dim=axis).abs() - targets.diff(dim=axis).abs()
        distance = distance + difference.square().mean()
    return distance


def structural_distance(images: Tensor, targets: Tensor) -> Tensor:
    """One minus SSIM (Wang et al. 2004) of `[b, C, H, W]` images in [-1, 1], taken as intensities from 0 to 1."""
    # Of a mean of squares less the square of a mean, bfloat16's eight bits leave nothing.
    with torch.autocast(images.device.type, enabled=False):
        return _structural_distance(full_precision(images), full_precision(targets))


def _structural_distance(images: Tensor, targets: Tensor) -> Tensor:
    images, targets = (images + 1) / 2, (targets + 1) / 2
    channels, half = images.shape[1], SSIM_WINDOW // 2
    place = torch.arange(SSIM_WINDOW, device=images.device, dtype=images.dtype) - half
    bell = torch.exp(-place.square() / (2 * 1.5**2))
    bell = bell / bell.sum()
    window = (bell[:, None] * bell[None, :]).expand(channels, 1, -1, -1)

    def local_mean(values: Tensor) -> Tensor:
        return F.conv2d(values, window, groups=channels)

    mean_x, mean_y = local_mean(images), local_mean(targets)
    var_x, var_y = local_mean(images.square()) - mean_x.square(), local_mean(targets.square()) - mean_y.square()
    covariance = local_mean(images * targets) - mean_x * mean_y
    c1, c2 = 0.01**2, 0.03**2
    luminance = (2 * mean_x * mean_y + c1) / (mean_x.square() + mean_y.square() + c1)
    contrast = (2 * covariance + c2) / (var_x + var_y + c2)
    return 1.0 - (luminance * contrast).mean()


def perceptual_distance(images: Judgement, targets: Judgement) -> Tensor:
    """L1 distance of a critic's features, averaged over its layers (Wang et al. 2018, pix2pixHD, equation 4).

    The published systems take an ImageNet network's features; that cannot be had without a download, and knows
    photographs rather than scans.
    """
    pairs = zip(images.features, targets.features, strict=True)
    return torch.stack([F.l1_loss(ours, theirs.detach()) for ours, theirs in pairs]).mean()


def brightness_cross_entropy(logits: Tensor, brightness: Tensor, temperature: float = 1.0) -> Tensor:
    """Cross-entropy where each pixel is a distribution over bright and dark.

    A generator that ends in tanh(z) says 'bright' with probability (1 + tanh z) / 2, which is the softmax of (z, -z).

    Args:
        logits: z, of any shape.
        brightness: the wanted probabilities: soft labels at the same temperature, or an image in [0, 1].
        temperature: logits are divided by it.
    """
    return F.binary_cross_entropy_with_logits(2 * logits / temperature, brightness)
