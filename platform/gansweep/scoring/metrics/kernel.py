"""Kernel Inception Distance: the unbiased squared maximum mean discrepancy with a cubic polynomial kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gansweep.errors import CohortError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["kernel_distance"]


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
    real = real.double()
    fake = fake.double()
    return float(_within(real) + _within(fake) - 2 * _kernel(real, fake).mean())


def _within(features: Tensor) -> Tensor:
    """Mean kernel over pairs of different samples."""
    n = len(features)
    return _kernel(features, features).fill_diagonal_(0).sum() / (n * (n - 1))


def _kernel(x: Tensor, y: Tensor) -> Tensor:
    return (x @ y.T / x.shape[1] + 1) ** 3
