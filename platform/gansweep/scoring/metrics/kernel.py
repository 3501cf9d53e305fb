"""Kernel Inception Distance: the unbiased squared maximum mean discrepancy with a cubic polynomial kernel."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from gansweep.errors import CohortError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["kernel_distance"]

_BLOCK = 2**22
"""Number of pairs whose kernel is in memory at once: 32 MiB."""
_KEPT_ABOVE = 1024
"""Number of samples above which computing a set's mean kernel with itself costs more than looking it up."""
_MOST_KEPT = 8

_kept: dict[str, Tensor] = {}
"""Mean kernels of sets with themselves, by content, oldest first."""


def kernel_distance(real: Tensor, fake: Tensor) -> float:
    """KID: unbiased estimate of MMD² over *all* samples, with the kernel k(x, y) = (x.y / d + 1)³.

    Range: around 0 for equal distributions (it can be negative, because it is unbiased), otherwise positive; lower is
    better. Unlike the Fréchet distance, it is comparable between different n. Using every sample once has the same
    expectation as averaging over random subsets, with the least variance.

    Args:
        real: `[n, d]` features, n >= 2.
        fake: `[m, d]` features, m >= 2.

    Source:
        Bińkowski et al. 2018, "Demystifying MMD GANs", section 4; Gretton et al. 2012, eq. 3.

    Raises:
        CohortError: a set has fewer than two samples.
    """
    least = min(len(real), len(fake))
    if least < 2:
        raise CohortError(f"a kernel distance from or to {least} image(s)", fix="each set needs at least two")
    real = real.double()
    fake = fake.double()
    between = _sum(real, fake) / (len(real) * len(fake))
    return float(_within_kept(real) + _within(fake) - 2 * between)


def _within_kept(features: Tensor) -> Tensor:
    """Returns `_within(features)`, cached for large sets: all reports of a sweep compare with the same real images."""
    if len(features) <= _KEPT_ABOVE:
        return _within(features)
    key = hashlib.sha256(features.cpu().contiguous().numpy().tobytes()).hexdigest()
    if key not in _kept:
        if len(_kept) == _MOST_KEPT:
            _kept.pop(next(iter(_kept)))
        _kept[key] = _within(features)
    return _kept[key]


def _within(features: Tensor) -> Tensor:
    """Returns the mean kernel over pairs of different samples."""
    n = len(features)
    return _sum(features, features, same=True) / (n * (n - 1))


def _sum(x: Tensor, y: Tensor, *, same: bool = False) -> Tensor:
    """Returns the sum of the kernel over all pairs, computed in blocks of bounded memory.

    `same` omits equal indices.
    """
    rows = max(1, _BLOCK // len(y))
    total = x.new_zeros(())
    for start in range(0, len(x), rows):
        kernel = (x[start : start + rows] @ y.T / x.shape[1] + 1) ** 3
        if same:
            kernel[:, start : start + rows].fill_diagonal_(0)
        total += kernel.sum()
    return total
