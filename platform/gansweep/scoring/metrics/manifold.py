"""Separate metrics of fidelity and diversity, on nearest-neighbour balls: precision, recall, density, coverage."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["balls_around", "coverage", "density", "precision", "recall"]

BALLS = 3
"""The k-th nearest neighbour gives the ball's radius in precision and recall (Kynkäänniemi et al. 2019, section 3)."""
NEIGHBOURS = 5
"""The same for density and coverage (Naeem et al. 2020, section 5)."""


def precision(real: Tensor, fake: Tensor) -> float:
    """Fraction of samples in the ball of at least one real image: how many samples look real.

    Range [0, 1], higher is better. A single outlier among the real images, with its large ball, can raise it. It does
    not measure diversity: copies of a few images that look real score 1.

    Args:
        real: `[n, d]` features, n > 3.
        fake: `[m, d]` features.

    Source:
        Kynkäänniemi et al. 2019, "Improved Precision and Recall Metric", eq. 2, k = 3.
    """
    inside = torch.cdist(fake, real) <= _radii(real, BALLS)
    return float(inside.any(1).double().mean())


def recall(real: Tensor, fake: Tensor) -> float:
    """Fraction of real images in the ball of at least one sample: how much of the real variety is covered.

    Range [0, 1], higher is better. Arguments as in `precision`, with m > 3 samples. A little noise can raise it,
    because it moves the samples apart and so enlarges their balls.

    Source:
        Kynkäänniemi et al. 2019, eq. 2 with the sets exchanged, k = 3.
    """
    return precision(fake, real)


def density(real: Tensor, fake: Tensor) -> float:
    """Mean number of real balls that contain a sample, divided by k: a precision that one outlier cannot raise.

    Range [0, inf), around 1 for equal distributions. Higher values mean samples in the densest regions, not better
    samples. Like precision, it does not measure diversity.

    Args:
        real: `[n, d]` features, n > 5.
        fake: `[m, d]` features.

    Source:
        Naeem et al. 2020, "Reliable Fidelity and Diversity Metrics", eq. 4, k = 5.
    """
    inside = torch.cdist(fake, real) <= _radii(real, NEIGHBOURS)
    return float(inside.sum(1).double().mean() / NEIGHBOURS)


def coverage(real: Tensor, fake: Tensor) -> float:
    """Fraction of real images whose ball contains a sample: how much of the real variety is covered, by real balls.

    Range [0, 1], higher is better. It depends on the number of samples m. Arguments as in `density`.

    Source:
        Naeem et al. 2020, eq. 5, k = 5.
    """
    covered = torch.cdist(real, fake) <= _radii(real, NEIGHBOURS)[:, None]
    return float(covered.any(1).double().mean())


def balls_around(real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
    """Counts the balls of real images around each sample (Naeem et al. 2020, equation 4, k = 5).

    Args:
        real: `[n, d]` features.
        fake: `[m, d]` features.

    Returns:
        The number of balls that contain each sample `[m]`, and its distance to the nearest real image `[m]`.
    """
    distances = torch.cdist(fake, real)
    containing = distances <= _radii(real, NEIGHBOURS)
    return containing.sum(1), distances.amin(1)


def _radii(features: Tensor, k: int) -> Tensor:
    """Returns the distance of each row to its k-th nearest other row, `[n]`."""
    distances = torch.cdist(features, features).fill_diagonal_(0)
    # The nearest row is the row itself, at distance zero.
    place = min(k + 1, len(features))
    return distances.kthvalue(place, dim=1).values
