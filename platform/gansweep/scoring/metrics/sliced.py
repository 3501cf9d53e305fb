"""Sliced Wasserstein distance between two sets of feature vectors."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

__all__ = ["sliced_wasserstein"]


def sliced_wasserstein(real: Tensor, fake: Tensor, *, projections: int = 512, seed: int = 0) -> float:
    """Root mean square, over random directions, of the 2-Wasserstein distance between the projected sets.

    Range [0, inf), in units of the features; lower is better. Unlike the Fréchet distance, it does not assume
    Gaussians. It needs fewer samples, but is also biased upwards for few.

    Args:
        real: `[n, d]` features.
        fake: `[m, d]` features. m may differ from n: the one-dimensional distances are exact in either case.
        projections: number of directions.
        seed: seed of the directions.

    Source:
        Bonneel et al. 2015, "Sliced and Radon Wasserstein Barycenters of Measures", eq. 8.
    """
    directions = _directions(real.shape[1], projections, seed).to(real.device)
    squares = _squared(real.double() @ directions, fake.double() @ directions)
    return float(squares.mean().sqrt())


@lru_cache(maxsize=4)
def _directions(d: int, projections: int, seed: int) -> Tensor:
    """Returns random unit vectors `[d, projections]`. An interval takes a hundred distances along the same ones."""
    generator = torch.Generator().manual_seed(seed)
    directions = torch.randn(d, projections, generator=generator, dtype=torch.float64)
    norms: Tensor = directions.norm(dim=0)
    return directions / norms


def _squared(x: Tensor, y: Tensor) -> Tensor:
    """Returns the squared 2-Wasserstein distances `[p]` of p pairs of one-dimensional samples, `[n, p]` and `[m, p]`.

    The distance is the mean squared difference of the quantile functions, which have steps at multiples of 1/n and 1/m.
    """
    n = len(x)
    m = len(y)
    # In units of 1 / (n m) the steps are integers, so rounding neither loses nor duplicates one.
    steps = torch.cat([torch.arange(1, n + 1) * m, torch.arange(1, m + 1) * n]).unique().to(x.device)
    widths = torch.diff(steps, prepend=steps.new_zeros(1)).double() / (n * m)
    apart = x.sort(0).values[(steps - 1) // m] - y.sort(0).values[(steps - 1) // n]
    return (widths[:, None] * apart.square()).sum(0)
