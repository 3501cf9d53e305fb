"""Distances between generated and target images. All are means over images, so workers' values can be averaged."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from trainables.layers.precision import full_precision

if TYPE_CHECKING:
    from trainables.layers.critic_output import CriticOutput

__all__ = ["brightness_cross_entropy", "gradient_difference", "perceptual_distance", "structural_distance"]

SSIM_WINDOW = 11
"""Window size in pixels; its weights are a Gaussian with a standard deviation of 1.5 pixels (Wang et al. 2004)."""


def gradient_difference(images: Tensor, targets: Tensor) -> Tensor:
    """Returns the mean squared difference of absolute gradients in both directions (Nie et al. 2017, equation 5).

    Both arguments are `[b, C, H, W]`.
    """
    distance = images.new_zeros(())
    for axis in (-1, -2):
        difference = images.diff(dim=axis).abs() - targets.diff(dim=axis).abs()
        distance = distance + difference.square().mean()
    return distance


def structural_distance(images: Tensor, targets: Tensor) -> Tensor:
    """Returns one minus SSIM (Wang et al. 2004) of images `[b, C, H, W]` in [-1, 1], which are rescaled to [0, 1]."""
    # A variance is a small difference of large numbers, which bfloat16, with 8 bits, cannot represent.
    with torch.autocast(images.device.type, enabled=False):
        return _structural_distance(full_precision(images), full_precision(targets))


def _structural_distance(images: Tensor, targets: Tensor) -> Tensor:
    images = (images + 1) / 2
    targets = (targets + 1) / 2
    channels = images.shape[1]
    half = SSIM_WINDOW // 2
    place = torch.arange(SSIM_WINDOW, device=images.device, dtype=images.dtype) - half
    bell = torch.exp(-place.square() / (2 * 1.5**2))
    bell = bell / bell.sum()
    window = (bell[:, None] * bell[None, :]).expand(channels, 1, -1, -1)

    def local_mean(values: Tensor) -> Tensor:
        return F.conv2d(values, window, groups=channels)

    mean_x = local_mean(images)
    mean_y = local_mean(targets)
    var_x = local_mean(images.square()) - mean_x.square()
    var_y = local_mean(targets.square()) - mean_y.square()
    covariance = local_mean(images * targets) - mean_x * mean_y
    # The constants of the paper, for a range of 1.
    c1 = 0.01**2
    c2 = 0.03**2
    luminance = (2 * mean_x * mean_y + c1) / (mean_x.square() + mean_y.square() + c1)
    contrast = (2 * covariance + c2) / (var_x + var_y + c2)
    return 1.0 - (luminance * contrast).mean()


def perceptual_distance(images: CriticOutput, targets: CriticOutput) -> Tensor:
    """Returns the L1 distance of a critic's features, averaged over its layers.

    Source: Wang et al. 2018, pix2pixHD, equation 4. Published systems use the features of an ImageNet network instead.
    That network would have to be downloaded, and it was trained on photographs, not on scans.

    Args:
        images: the critic's output for generated images.
        targets: the critic's output for the target images. No gradient flows into it.
    """
    pairs = zip(images.features, targets.features, strict=True)
    return torch.stack([F.l1_loss(ours, theirs.detach()) for ours, theirs in pairs]).mean()


def brightness_cross_entropy(logits: Tensor, brightness: Tensor, temperature: float = 1.0) -> Tensor:
    """Returns the cross-entropy of pixels as distributions over bright and dark.

    A generator that ends in tanh(z) gives 'bright' the probability (1 + tanh z) / 2, which is the softmax of (z, -z)
    and the sigmoid of 2z.

    Args:
        logits: z, of any shape.
        brightness: target probabilities: soft labels at the same temperature, or an image in [0, 1].
        temperature: divides the logits.
    """
    return F.binary_cross_entropy_with_logits(2 * logits / temperature, brightness)
