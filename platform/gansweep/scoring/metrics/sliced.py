"""Sliced Wasserstein distance between two sets of feature vectors."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["sliced_wasserstein"]


def sliced_wasserstein(real: Tensor, fake: Tensor, *, projections: int = 512, seed: int = 0) -> float:
    """The root mean square, over random directions, of the 2-Wasserstein distance of the projected sets.

    Range [0, inf), in units of the features; lower is better. It assumes no Gaussians, as the Fréchet distance does,
    and needs fewer samples; it is still biased upwards for few.

    Args:
        real: `[n, d]` features.
        fake: `[m, d]` features; m may differ from n, the one-dimensional distances are exact either way.
        projections: number of directions.
        seed: of the directions.

    Source:
        Bonneel et al. 2015, "Sliced and Radon Wasserstein Barycenters of Measures", eq. 8.
    """
    generator = torch.Generator().manual_seed(seed)
    directions = torch.randn(real.shape[1], projections, generator=generator, dtype=torch.float64)
    directions = (directions / directions.norm(dim=0)).to(real.device)
    return float(_squared(real.double() @ directions, fake.double() @ directions).mean().sqrt())


def _squared(x: Tensor, y: Tensor) -> Tensor:
    """Squared 2-Wasserstein distances `[p]` of p pairs of one-dimensional samples `[n, p]` and `[m, p]`.

    The distance is the mean squared difference of the quantile functions, which are steps at multiples of 1/n and 1/m.
    """
    n = len(x)
    m = len(y)
    # In units of 1 / (n m) the steps are integers, so that none is lost or doubled by rounding.
    steps = torch.cat([torch.arange(1, n + 1) * m, torch.arange(1, m + 1) * n]).unique().to(x.device)
    widths = torch.diff(steps, prepend=steps.new_zeros(1)).double() / (n * m)
    apart = x.sort(0).values[(steps - 1) // m] - y.sort(0).values[(steps - 1) // n]
    return (widths[:, None] * apart.square()).sum(0)
