"""Normalisation layers by name, and batch normalisation over all workers."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from gansweep.distributed import World, sum_over_workers
from trainables.layers.precision import full_precision

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["InstanceNorm", "PixelNorm", "SpatiallyAdaptiveNorm", "SynchronisedBatchNorm", "groups_for", "norm_layer"]

_TINY = 1e-12
"""Added to the variance, so that the inverse deviation of a constant channel is finite."""


class SynchronisedBatchNorm(nn.BatchNorm2d):
    """Batch normalisation with the statistics of the global batch, so that W workers compute what one computes.

    It runs on any backend; torch's SyncBatchNorm needs a GPU. A single worker uses torch's own kernel.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Normalises `[b, C, H, W]`."""
        world = World.current()
        if world.size == 1 or not self.training:
            return super().forward(x)
        values = full_precision(x)
        learning = torch.is_grad_enabled()
        own_variance, own_mean = _moments(values) if learning else _moments_fused(values)
        variance, mean = _global_moments(own_variance, own_mean, world)
        # Running statistics hold the unbiased variance, as torch's do.
        count = values.numel() // values.shape[1] * world.size
        self._update_running_statistics(mean.detach(), variance.detach() * count / (count - 1))
        if not learning:
            return functional.batch_norm(values, mean, variance, self.weight, self.bias, eps=self.eps).to(x.dtype)
        scale = self.weight * torch.rsqrt(variance + self.eps)
        shift = self.bias - mean * scale
        return torch.addcmul(shift[:, None, None], values, scale[:, None, None]).to(x.dtype)

    @torch.no_grad()
    def _update_running_statistics(self, mean: Tensor, variance: Tensor) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance, self.momentum)
        self.num_batches_tracked += 1


def _moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Returns variance and mean, `[C]` each, over this worker's images; differentiable."""
    mean = x.mean(dim=(0, 2, 3))
    # Two passes: torch.var_mean, with one pass, takes fifteen times as long on a CPU.
    variance = (x - mean[:, None, None]).square().mean(dim=(0, 2, 3))
    return variance, mean


def _moments_fused(x: Tensor) -> tuple[Tensor, Tensor]:
    """As `_moments`, but not differentiable and three times faster: for the generator in a critic's phase."""
    _, mean, inverse_deviation = torch.native_batch_norm(x, None, None, None, None, True, 0.0, _TINY)
    return inverse_deviation.pow(-2) - _TINY, mean


def _global_moments(own_variance: Tensor, own_mean: Tensor, world: World) -> tuple[Tensor, Tensor]:
    """Returns variance and mean of each channel over the images of all workers, by one all-reduce.

    The workers exchange means and variances, not sums of squares, which lose all digits where the mean is large.
    """
    own = torch.stack([own_variance, own_mean])
    place = torch.zeros(world.size, 1, 1, dtype=own.dtype, device=own.device)
    place[world.rank] = 1.0
    variances, means = sum_over_workers(place * own).unbind(dim=1)
    mean = means.mean(dim=0)
    # The law of total variance: the mean variance plus the variance of the means.
    variance = (variances + (means - mean).square()).mean(dim=0)
    return variance, mean


class InstanceNorm(nn.InstanceNorm2d):
    """Instance normalisation that keeps the memory layout of its input.

    torch's own layer returns the contiguous layout, so that the layers up to the next convolution mix both layouts.
    This costs a tenth of a CycleGAN's step on a CPU.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Normalises `[b, C, H, W]`."""
        normalised: Tensor = super().forward(x)
        return normalised.contiguous(memory_format=torch.channels_last) if _channels_last(x) else normalised


class PixelNorm(nn.Module):
    """Unit mean square over channels at each pixel (ProGAN, Karras et al. 2018, section 4.2)."""

    def forward(self, x: Tensor) -> Tensor:
        """Keeps the shape."""
        return x * torch.rsqrt(x.square().mean(dim=1, keepdim=True) + 1e-8)


class SpatiallyAdaptiveNorm(nn.Module):
    """Instance normalisation whose scale and shift come from a lesion mask, pixel by pixel (SPADE, Park et al. 2019).

    Statistics are computed for each image, because those of small batches are noisy. Scale and shift are normalised
    too, as in MONAI's `SPADE`. The slope of the ReLU and the names of the weights are also MONAI's: earlier versions
    used it, so their checkpoints still load, and equal seeds still give equal weights.

    Args:
        channels: channels to normalise.
        hidden: channels between the mask and scale and shift.
    """

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.mlp_shared = _named_convolution(1, hidden)
        self.mlp_gamma = _named_convolution(hidden, channels)
        self.mlp_beta = _named_convolution(hidden, channels)

    def forward(self, x: Tensor, masks: Tensor) -> Tensor:
        """Normalises `[b, channels, H, W]` with masks `[b, 1, H, W]` of the same height and width."""
        hidden = functional.leaky_relu(self.mlp_shared(masks))
        scale = functional.instance_norm(self.mlp_gamma(hidden))
        shift = functional.instance_norm(self.mlp_beta(hidden))
        normalised: Tensor = functional.instance_norm(x.contiguous()) * (1 + scale) + shift
        return normalised


def _named_convolution(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(OrderedDict(conv=nn.Conv2d(inputs, outputs, 3, padding=1)))


def groups_for(channels: int) -> int:
    """Returns the number of groups for group normalisation.

    It is the largest divisor of `channels` up to 8 that leaves two or more channels per group. A group of one channel
    would be instance normalisation, which is far worse (Wu & He 2018, table 3).
    """
    for groups in range(8, 1, -1):
        if channels % groups == 0 and channels > groups:
            return groups
    return 1


def _channels_last(x: Tensor) -> bool:
    """Returns whether `x` is in channels-last layout. With one channel or one pixel, it counts as contiguous."""
    return x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()


def norm_layer(name: str, channels: int) -> nn.Module:
    """Returns the normalisation layer called `name`; the identity for `spectral`, which normalises weights instead."""
    return _LAYERS[name](channels)


_LAYERS: dict[str, Callable[[int], nn.Module]] = {
    "batch": SynchronisedBatchNorm,
    "group": lambda channels: nn.GroupNorm(groups_for(channels), channels),
    "layer": lambda channels: nn.GroupNorm(1, channels),
    "instance": lambda channels: InstanceNorm(channels, affine=True),
    "pixel": lambda _: PixelNorm(),
    "spectral": lambda _: nn.Identity(),
    "spectral_batch": SynchronisedBatchNorm,
    "none": lambda _: nn.Identity(),
}
