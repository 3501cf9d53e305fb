"""Fidelity and diversity told apart: precision and recall, density and coverage, on nearest-neighbour balls."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["balls_around", "coverage", "density", "precision", "recall"]

BALLS = 3
"""Neighbours whose distance is a ball's radius in precision and recall (Kynkäänniemi et al. 2019, section 3)."""
NEIGHBOURS = 5
"""The same in density and coverage (Naeem et al. 2020, section 5)."""


def precision(real: Tensor, fake: Tensor) -> float:
    """Share of samples that lie in the ball of some real image: how many look real.

    Range [0, 1], higher is better. One outlier among the real images, with its large ball, is enough to raise it. Blind
    to missing variety: copies of a few images that look real score 1.

    Args:
        real: `[n, d]` features, n > 3.
        fake: `[m, d]` features.

    Source:
        Kynkäänniemi et al. 2019, "Improved Precision and Recall Metric", eq. 2, k = 3.
    """
    return float((torch.cdist(fake, real) <= _radii(real, BALLS)).any(1).double().mean())


def recall(real: Tensor, fake: Tensor) -> float:
    """Share of real images that lie in the ball of some sample: how much of the real variety is met.

    Range [0, 1], higher is better. Arguments as `precision`, with m > 3 samples. A little noise can raise it, for it
    drives the samples apart and so widens their balls.

    Source:
        Kynkäänniemi et al. 2019, eq. 2 with the sets exchanged, k = 3.
    """
    return precision(fake, real)


def density(real: Tensor, fake: Tensor) -> float:
    """Mean number of real balls a sample lies in, over k: precision that one outlier cannot raise.

    Range [0, inf), around 1 for equal distributions; higher means samples in the densest places, not better ones. Blind
    to missing variety, as precision is.

    Args:
        real: `[n, d]` features, n > 5.
        fake: `[m, d]` features.

    Source:
        Naeem et al. 2020, "Reliable Fidelity and Diversity Metrics", eq. 4, k = 5.
    """
    inside = torch.cdist(fake, real) <= _radii(real, NEIGHBOURS)
    return float(inside.sum(1).double().mean() / NEIGHBOURS)


def coverage(real: Tensor, fake: Tensor) -> float:
    """Share of real images whose ball holds a sample: how much of the real variety is met, judged by real balls.

    Range [0, 1], higher is better; depends on the number of samples m. Arguments as `density`.

    Source:
        Naeem et al. 2020, eq. 5, k = 5.
    """
    return float((torch.cdist(real, fake) <= _radii(real, NEIGHBOURS)[:, None]).any(1).double().mean())


def balls_around(real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
    """In how many real balls each sample lies `[m]`, and how far its nearest real image is `[m]`.

    Args:
        real: `[n, d]` features.
        fake: `[m, d]` features.
    """
    distances = torch.cdist(fake, real)
    return (distances <= _radii(real, NEIGHBOURS)).sum(1), distances.amin(1)


def _radii(features: Tensor, k: int) -> Tensor:
    """`[n]` distance of each row to its k-th nearest other row."""
    # The nearest row is the row itself, at distance zero.
    return torch.cdist(features, features).fill_diagonal_(0).kthvalue(min(k + 1, len(features)), dim=1).values
