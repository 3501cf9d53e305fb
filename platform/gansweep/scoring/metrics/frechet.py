"""Exact Fréchet distance between two sets of feature vectors, fast for few and for many samples.

For Gaussians N(m1, S1) and N(m2, S2) (Dowson & Landau 1982; Heusel et al. 2017, eq. 6)

    d² = |m1 - m2|² + tr S1 + tr S2 - 2 tr (S1 S2)^(1/2).

For any factors S1 = AᵀA and S2 = BᵀB, the last trace is the nuclear norm of A Bᵀ, which is the sum of its singular
values. No matrix square root is therefore needed. If there are fewer samples n than features d, the samples themselves
give the factor, [n - 1, d], and the d x d covariances are never formed.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gansweep.distributed import World
from gansweep.errors import CohortError

__all__ = ["Moments", "frechet_distance", "frechet_from_moments"]

RESOLVED = 1e-12
"""Least ratio of the smallest to the largest squared singular value at which their sum is accurate to about 1e-8."""


def frechet_distance(real: Tensor, fake: Tensor) -> float:
    """Squared Fréchet (2-Wasserstein) distance between Gaussians fitted to two sets of features.

    Range [0, inf), in squared units of the features; lower is better. It is biased upwards for few samples. Compare
    values only at equal n and with the same extractor, and report the real-against-real floor with it.

    Args:
        real: `[n, d]` features, n >= 2.
        fake: `[m, d]` features, m >= 2.

    Source:
        Heusel et al. 2017, "GANs Trained by a Two Time-Scale Update Rule", eq. 6; unbiased covariances (n - 1).

    Raises:
        CohortError: a set has fewer than two samples.
    """
    least = min(len(real), len(fake))
    if least < 2:
        raise CohortError(f"a Fréchet distance from or to {least} image(s)", fix="each set needs at least two")
    mean_1, trace_1, factor_1 = _fitted(real.double())
    mean_2, trace_2, factor_2 = _fitted(fake.double())
    return _combine(mean_1 - mean_2, trace_1 + trace_2, factor_1, factor_2)


def _fitted(features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the mean `[d]`, the trace of the covariance, and a factor `[min(n - 1, d), d]` of the covariance."""
    n, d = features.shape
    mean = features.mean(0)
    centred = features - mean
    trace = centred.square().sum() / (n - 1)
    factor = _contrasts(centred) if n <= d else _factor(centred.T @ centred / (n - 1))
    return mean, trace, factor


def _contrasts(centred: Tensor) -> Tensor:
    """Returns `A` `[n - 1, d]` with `AᵀA` the covariance of n centred rows, by Helmert's orthonormal contrasts.

    The centred rows over sqrt(n - 1) are a factor too, but they are linearly dependent. Their singular value of exactly
    zero would rule out the fast method in `_nuclear_norm`.
    """
    n = len(centred)
    k = torch.arange(1, n, dtype=centred.dtype, device=centred.device)[:, None]
    return (centred.cumsum(0)[:-1] - k * centred[1:]) / (k * (k + 1) * (n - 1)).sqrt()


def _factor(covariance: Tensor) -> Tensor:
    """Returns `A` `[d, d]` with `AᵀA = covariance`. The covariance may be singular."""
    lower: Tensor
    lower, failed = torch.linalg.cholesky_ex(covariance)
    if not failed:
        return lower.T
    values, vectors = torch.linalg.eigh(covariance)
    return torch.einsum("i,ji->ij", values.clamp(min=0).sqrt(), vectors)


def _combine(shift: Tensor, traces: Tensor, factor_1: Tensor, factor_2: Tensor) -> float:
    # Rounding can give -1e-13 for equal sets, but a squared distance is never negative.
    return max(0.0, float(shift.square().sum() + traces - 2 * _nuclear_norm(factor_1 @ factor_2.T)))


def _nuclear_norm(product: Tensor) -> Tensor:
    """Returns the sum of the singular values.

    The singular values are the square roots of the eigenvalues of the smaller Gram matrix. These are ten times faster
    to compute, but rounding hides values below 1e-8 of the largest. This method is used only if the smallest is well
    above.
    """
    wide = product if product.shape[0] <= product.shape[1] else product.T
    squares: Tensor = torch.linalg.eigvalsh(wide @ wide.T)
    if squares[0] > RESOLVED * squares[-1]:
        return squares.sqrt().sum()
    values: Tensor = torch.linalg.svdvals(product)
    return values.sum()


@dataclass
class Moments:
    """Count, sum and outer product of features that arrive in batches or on several workers.

    They are kept in float64, so that the one-pass covariance is accurate enough for features of order one.

    Args:
        count: number of samples so far, a scalar tensor.
        total: sum `[d]`.
        outer: sum of outer products `[d, d]`.
    """

    count: Tensor
    total: Tensor
    outer: Tensor

    @classmethod
    def empty(cls, d: int, device: torch.device | str = "cpu") -> Moments:
        """Creates moments of zero samples with `d` features."""
        zeros = torch.zeros(d * d + d + 1, dtype=torch.float64, device=device)
        return cls(zeros[0], zeros[1 : d + 1], zeros[d + 1 :].view(d, d))

    def update(self, features: Tensor) -> None:
        """Adds a batch `[b, d]`."""
        batch = features.detach().to(self.total.device, torch.float64)
        self.count += len(batch)
        self.total += batch.sum(0)
        self.outer.addmm_(batch.T, batch)

    def all_reduce(self) -> None:
        """Sums the moments over all workers of the initialised process group. Every worker then holds the sum."""
        own = torch.cat([self.count.view(1), self.total, self.outer.flatten()])
        everyone = World.current(self.total.device).sum(own)
        d = len(self.total)
        self.count = everyone[0]
        self.total = everyone[1 : 1 + d]
        self.outer = everyone[1 + d :].view_as(self.outer)

    @property
    def mean(self) -> Tensor:
        """Mean `[d]`."""
        return torch.div(self.total, self.count)

    @property
    def covariance(self) -> Tensor:
        """Unbiased covariance `[d, d]`."""
        return (self.outer - torch.outer(self.total, self.mean)) / (self.count - 1)


def frechet_from_moments(real: Moments, fake: Moments) -> float:
    """Computes `frechet_distance` from moments of features seen in batches or on several workers.

    Same definition and units.
    """
    cov_1 = real.covariance
    cov_2 = fake.covariance
    return _combine(real.mean - fake.mean, cov_1.trace() + cov_2.trace(), _factor(cov_1), _factor(cov_2))
