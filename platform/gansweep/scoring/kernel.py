"""Kernel Inception Distance: the unbiased squared maximum mean discrepancy with a cubic polynomial kernel."""

from __future__ import annotations

import torch
from torch import Tensor

from gansweep.errors import CohortError

__all__ = ["kernel_distance", "kernel_distance_interval"]


def kernel_distance(real: Tensor, fake: Tensor) -> float:
    """KID: the unbiased estimate of MMD² over *all* samples, kernel k(x, y) = (x.y / d + 1)³.

    Range: around 0 for equal distributions (it can be negative: it is unbiased), otherwise positive; lower is better.
    Unlike the Fréchet distance it is comparable between different n. Using every sample once instead of averaging over
    random subsets has the same expectation and the least variance.

    Args:
        real: `[n, d]` features, n >= 2.
        fake: `[m, d]` features, m >= 2.

    Source:
        Bińkowski et al. 2018, "Demystifying MMD GANs", section 4; Gretton et al. 2012, eq. 3.

    Raises:
        CohortError: a set of fewer than two.
    """
    if (least := min(len(real), len(fake))) < 2:
        raise CohortError(f"a kernel distance from or to {least} image(s)", fix="each set needs at least two")
    return float(_weighted(real.double(), fake.double(), None)[0])


def kernel_distance_interval(
    real: Tensor, fake: Tensor, *, replicates: int = 1000, confidence: float = 0.95, seed: int = 0
) -> tuple[float, float]:
    """A bootstrap percentile interval of `kernel_distance`.

    Both sets are resampled with replacement. A sample drawn twice is not compared with itself, since the diagonal that
    the unbiased estimate leaves out would come back in through the duplicates.
    """
    generator = torch.Generator().manual_seed(seed)
    weights = (
        _multinomial(len(real), replicates, generator).to(real.device),
        _multinomial(len(fake), replicates, generator).to(fake.device),
    )
    tails = torch.tensor([(1 - confidence) / 2, (1 + confidence) / 2], dtype=torch.float64, device=real.device)
    low, high = _weighted(real.double(), fake.double(), weights).quantile(tails).tolist()
    return low, high


def _multinomial(n: int, replicates: int, generator: torch.Generator) -> Tensor:
    """`[replicates, n]` how often each sample is drawn."""
    drawn = torch.randint(n, (replicates, n), generator=generator)
    return torch.zeros(replicates, n, dtype=torch.float64).scatter_add_(
        1, drawn, torch.ones(replicates, n, dtype=torch.float64)
    )


def _weighted(real: Tensor, fake: Tensor, weights: tuple[Tensor, Tensor] | None) -> Tensor:
    """The estimate for each row of bootstrap `weights`; one row of ones without."""
    of_real, of_fake = weights or (real.new_ones(1, len(real)), fake.new_ones(1, len(fake)))
    cross = ((of_real @ _kernel(real, fake)) * of_fake).sum(1) / (of_real.sum(1) * of_fake.sum(1))
    return _within(real, of_real) + _within(fake, of_fake) - 2 * cross


def _within(features: Tensor, weights: Tensor) -> Tensor:
    """Mean kernel over pairs of different samples."""
    kernel = _kernel(features, features).fill_diagonal_(0)
    pairs = weights.sum(1).square() - weights.square().sum(1)
    return ((weights @ kernel) * weights).sum(1) / pairs


def _kernel(x: Tensor, y: Tensor) -> Tensor:
    return (x @ y.T / x.shape[1] + 1) ** 3
