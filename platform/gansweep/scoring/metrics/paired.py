"""Similarity of paired images, for image-to-image generators whose samples have a true counterpart.

Every metric takes pairs of `[n, C, H, W]` images in [-1, 1] and returns `[n]` values. The values are meaningless for
unpaired sets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from gansweep.errors import ConfigError
from gansweep.scoring.networks.extractors import load_script

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["lpips", "ms_gmsd", "ms_ssim", "psnr", "ssim"]

SSIM_WINDOW = 11
GMSD_WEIGHTS = (0.096, 0.596, 0.289, 0.019)
GMSD_CONSTANT = 170 / 255**2
GMSD_MASKING = 0.5


def psnr(real: Tensor, fake: Tensor) -> Tensor:
    """Peak signal-to-noise ratio, 10 log10(peak² / mean squared error). The peak is the whole grey range.

    Range [0, inf) for images in range, in decibels; higher is better; infinite for equal images.
    """
    error = (real.double() - fake.double()).square().mean((1, 2, 3))
    return 10 * torch.log10(4 / error)  # images span [-1, 1], so peak² is 4


def ssim(real: Tensor, fake: Tensor) -> Tensor:
    """Structural similarity with a Gaussian window of 11 pixels and sigma 1.5, at positions where the window fits.

    Range [-1, 1], no units; higher is better; 1 for equal images. Computed on intensities in [0, 1].

    Source:
        Wang et al. 2004, "Image Quality Assessment: From Error Visibility to Structural Similarity", eq. 13.

    Raises:
        ConfigError: images are smaller than 11 pixels.
    """
    from torchmetrics.functional.image import structural_similarity_index_measure

    if min(real.shape[-2:]) < SSIM_WINDOW:
        raise ConfigError(f"needs images of {SSIM_WINDOW} pixels, these have {min(real.shape[-2:])}", where="ssim")
    found = structural_similarity_index_measure(
        _unit(fake), _unit(real), data_range=1.0, reduction="none", return_full_image=True
    )
    edge = SSIM_WINDOW // 2  # torchmetrics pads by reflection; the paper's mean excludes the borders
    return torch.as_tensor(found[1])[..., edge:-edge, edge:-edge].mean((1, 2, 3))


def ms_ssim(real: Tensor, fake: Tensor) -> Tensor:
    """Structural similarity over five scales, each half the size of the previous one.

    Range [0, 1], no units; higher is better.

    Source:
        Wang, Simoncelli & Bovik 2003, "Multiscale Structural Similarity", eq. 7.

    Raises:
        ConfigError: images of 160 pixels or less, on which the fifth scale is smaller than the window.
    """
    from torchmetrics.functional.image import multiscale_structural_similarity_index_measure

    if min(real.shape[-2:]) <= 160:
        raise ConfigError(f"needs images above 160 pixels, these have {min(real.shape[-2:])}", where="ms_ssim")
    values = []
    for fake_image, real_image in zip(_unit(fake).split(1), _unit(real).split(1), strict=True):
        value = multiscale_structural_similarity_index_measure(fake_image, real_image, data_range=1.0, normalize="relu")
        values.append(torch.as_tensor(value))
    return torch.stack(values)


def ms_gmsd(real: Tensor, fake: Tensor) -> Tensor:
    """Gradient magnitude similarity deviation of the luminance over four scales.

    Range [0, 1), no units; lower is better; 0 for equal images.

    Source:
        Zhang, Sun & Huang 2017, "Gradient Magnitude Similarity Deviation on Multiple Scales for Color Image Quality
        Assessment", eqs. 3 to 6 (luminance part); Xue et al. 2014 for the single scale.

    Raises:
        ConfigError: images are smaller than 16 pixels.
    """
    if min(real.shape[-2:]) < 16:
        raise ConfigError(f"needs images of 16 pixels, these have {min(real.shape[-2:])}", where="ms_gmsd")
    x = _luminance(_unit(real))
    y = _luminance(_unit(fake))
    total = torch.zeros(len(x), dtype=torch.float64)
    for scale, weight in enumerate(GMSD_WEIGHTS):
        if scale:
            x = functional.avg_pool2d(x, 2)
            y = functional.avg_pool2d(y, 2)
        total += weight * _gmsd(x, y).cpu().square()
    return total.sqrt()


def _gmsd(x: Tensor, y: Tensor) -> Tensor:
    """Returns the standard deviation of the gradient similarity over the pixels, `[n]`."""
    one = _gradient(x)
    two = _gradient(y)
    product = (2 - GMSD_MASKING) * one * two + GMSD_CONSTANT
    similarity = product / (one.square() + two.square() - GMSD_MASKING * one * two + GMSD_CONSTANT)
    return similarity.flatten(1).std(1, correction=0)


def _gradient(x: Tensor) -> Tensor:
    """Returns the magnitude of the Prewitt gradient."""
    across = x.new_tensor([[1, 0, -1]]).expand(3, 3) / 3
    found = functional.conv2d(x, torch.stack([across, across.T])[:, None], padding=1)
    return found.square().sum(1, keepdim=True).sqrt()


def lpips(real: Tensor, fake: Tensor, *, weights: Path) -> Tensor:
    """Learned perceptual image patch similarity, computed by a user's TorchScript network.

    Range [0, inf), no units; lower is better. The network's `forward(x, y)` takes two RGB batches in [-1, 1] and
    returns one distance per pair, as the authors' network does (`torch.jit.trace(lpips.LPIPS(net="alex"), (x, y))`).

    Source:
        Zhang et al. 2018, "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric".

    Raises:
        ConfigError: the file is not TorchScript, or its network returns something else.
    """
    module = load_script(weights, torch.device("cpu"), what="LPIPS weights")[0]
    batches = zip(_as_rgb(real).split(32), _as_rgb(fake).split(32), strict=True)
    with torch.no_grad():
        found = torch.cat([module(x, y).reshape(-1) for x, y in batches])
    if found.shape != (len(real),):
        raise ConfigError(f"gives {len(found)} values for {len(real)} pairs", where=f"LPIPS weights {weights}")
    return found.double()


def _as_rgb(images: Tensor) -> Tensor:
    """Returns `[n, 3, H, W]`: colour images unchanged, or the first channel of others three times."""
    return images if images.shape[1] == 3 else images[:, :1].expand(-1, 3, -1, -1)


def _luminance(images: Tensor) -> Tensor:
    """Returns `[n, 1, H, W]`: the Y channel (YIQ) of colour images, or the mean over the channels of others."""
    if images.shape[1] != 3:
        return images.mean(1, keepdim=True)
    return torch.einsum("nchw,c->nhw", images, images.new_tensor([0.299, 0.587, 0.114]))[:, None]


def _unit(images: Tensor) -> Tensor:
    return (images.double() + 1) / 2
