"""How like two images of the same thing are: for image-to-image generators, whose samples have a true counterpart.

Every metric takes `[n, C, H, W]` images in [-1, 1], pair by pair, and gives `[n]` values. They mean nothing for
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
    """Peak signal-to-noise ratio, 10 log10(peak² / mean squared error), the peak being the whole grey range.

    Range [0, inf) for images in range, in decibel; higher is better; infinite for equal images.
    """
    error = (real.double() - fake.double()).square().mean((1, 2, 3))
    return 10 * torch.log10(4 / error)  # images span [-1, 1], so peak² is 4


def ssim(real: Tensor, fake: Tensor) -> Tensor:
    """Structural similarity, with a Gaussian window of 11 pixels and sigma 1.5, where the window fits into the image.

    Range [-1, 1], no units; higher is better; 1 for equal images. Computed on intensities in [0, 1].

    Source:
        Wang et al. 2004, "Image Quality Assessment: From Error Visibility to Structural Similarity", eq. 13.

    Raises:
        ConfigError: images of less than 11 pixels.
    """
    from torchmetrics.functional.image import structural_similarity_index_measure

    if min(real.shape[-2:]) < SSIM_WINDOW:
        raise ConfigError(f"needs images of {SSIM_WINDOW} pixels, these have {min(real.shape[-2:])}", where="ssim")
    found = structural_similarity_index_measure(
        _unit(fake), _unit(real), data_range=1.0, reduction="none", return_full_image=True
    )
    edge = SSIM_WINDOW // 2  # torchmetrics reflects the image at its borders; the paper's mean leaves these out
    return torch.as_tensor(found[1])[..., edge:-edge, edge:-edge].mean((1, 2, 3))


def ms_ssim(real: Tensor, fake: Tensor) -> Tensor:
    """Structural similarity over five scales, each half the size of the one before.

    Range [0, 1], no units; higher is better.

    Source:
        Wang, Simoncelli & Bovik 2003, "Multiscale Structural Similarity", eq. 7.

    Raises:
        ConfigError: images of 160 pixels or less, on which the fifth scale has no room for the window.
    """
    from torchmetrics.functional.image import multiscale_structural_similarity_index_measure

    if min(real.shape[-2:]) <= 160:
        raise ConfigError(f"needs images above 160 pixels, these have {min(real.shape[-2:])}", where="ms_ssim")
    pairs = zip(_unit(fake).split(1), _unit(real).split(1), strict=True)
    values = [multiscale_structural_similarity_index_measure(f, r, data_range=1.0, normalize="relu") for f, r in pairs]
    return torch.stack([torch.as_tensor(value) for value in values])


def ms_gmsd(real: Tensor, fake: Tensor) -> Tensor:
    """Gradient magnitude similarity deviation over four scales, on the luminance.

    Range [0, 1), no units; lower is better; 0 for equal images.

    Source:
        Zhang, Sun & Huang 2017, "Gradient Magnitude Similarity Deviation on Multiple Scales for Color Image Quality
        Assessment", eqs. 3 to 6 (luminance part); Xue et al. 2014 for the single scale.

    Raises:
        ConfigError: images below 16 pixels.
    """
    if min(real.shape[-2:]) < 16:
        raise ConfigError(f"needs images of 16 pixels, these have {min(real.shape[-2:])}", where="ms_gmsd")
    x, y = (_luminance(_unit(images)) for images in (real, fake))
    total = torch.zeros(len(x), dtype=torch.float64)
    for scale, weight in enumerate(GMSD_WEIGHTS):
        if scale:
            x, y = (functional.avg_pool2d(image, 2) for image in (x, y))
        total += weight * _gmsd(x, y).cpu().square()
    return total.sqrt()


def _gmsd(x: Tensor, y: Tensor) -> Tensor:
    """Standard deviation `[n]` of the gradient similarity over the pixels."""
    one = _gradient(x)
    two = _gradient(y)
    product = (2 - GMSD_MASKING) * one * two + GMSD_CONSTANT
    similarity = product / (one.square() + two.square() - GMSD_MASKING * one * two + GMSD_CONSTANT)
    return similarity.flatten(1).std(1, correction=0)


def _gradient(x: Tensor) -> Tensor:
    """Magnitude of the Prewitt gradient."""
    across = x.new_tensor([[1, 0, -1]]).expand(3, 3) / 3
    found = functional.conv2d(x, torch.stack([across, across.T])[:, None], padding=1)
    return found.square().sum(1, keepdim=True).sqrt()


def lpips(real: Tensor, fake: Tensor, *, weights: Path) -> Tensor:
    """Learned perceptual image patch similarity, by a network in a TorchScript file that the user names.

    Range [0, inf), no units; lower is better. The network's `forward(x, y)` takes two RGB batches in [-1, 1] and gives
    one distance per pair, as the authors' own does (`torch.jit.trace(lpips.LPIPS(net="alex"), (x, y))`).

    Source:
        Zhang et al. 2018, "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric".

    Raises:
        ConfigError: a file that is not TorchScript, or gives something else.
    """
    module = load_script(weights, torch.device("cpu"), what="LPIPS weights")[0]
    x, y = (images[:, :1].expand(-1, 3, -1, -1) if images.shape[1] != 3 else images for images in (real, fake))
    with torch.no_grad():
        found = torch.cat([module(*pair).reshape(-1) for pair in zip(x.split(32), y.split(32), strict=True)])
    if found.shape != (len(real),):
        raise ConfigError(f"gives {len(found)} values for {len(real)} pairs", where=f"LPIPS weights {weights}")
    return found.double()


def _luminance(images: Tensor) -> Tensor:
    """`[n, 1, H, W]`: the Y of YIQ of colour images, the mean of the channels of others."""
    if images.shape[1] != 3:
        return images.mean(1, keepdim=True)
    return torch.einsum("nchw,c->nhw", images, images.new_tensor([0.299, 0.587, 0.114]))[:, None]


def _unit(images: Tensor) -> Tensor:
    return (images.double() + 1) / 2
