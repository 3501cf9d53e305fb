"""The Fréchet distance between two sets of feature vectors, exact, and fast for few samples and for many.

For Gaussians N(m1, S1) and N(m2, S2) (Dowson & Landau 1982; Heusel et al. 2017, eq. 6)

    d² = |m1 - m2|² + tr S1 + tr S2 - 2 tr (S1 S2)^(1/2).

With any factors S1 = AᵀA and S2 = BᵀB the last trace is the nuclear norm of A Bᵀ, the sum of its singular values. So no
matrix square root is taken: with n samples, fewer than there are features, the factor is made of the samples
themselves, [n - 1, d], and the d x d covariances are never formed.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gansweep.distributed import World
from gansweep.errors import CohortError

__all__ = ["Moments", "frechet_distance", "frechet_from_moments"]

RESOLVED = 1e-12
"""Ratio of the least to the largest squared singular value down to which their sum is good to about 1e-8."""


def frechet_distance(real: Tensor, fake: Tensor) -> float:
    """The Fréchet (2-Wasserstein) distance, squared, between Gaussians fitted to two sets of features.

    Range [0, inf), in squared units of the features; lower is better. Biased upwards for few samples, so it is only
    comparable at equal n, with the same extractor, and beside the real-against-real floor.

    Args:
        real: `[n, d]` features, n >= 2.
        fake: `[m, d]` features, m >= 2.

    Source:
        Heusel et al. 2017, "GANs Trained by a Two Time-Scale Update Rule", eq. 6; unbiased covariances (n - 1).

    Raises:
        CohortError: a set of fewer than two.
    """
    if (least := min(len(real), len(fake))) < 2:
        raise CohortError(f"a Fréchet distance from or to {least} image(s)", fix="each set needs at least two")
    (mean_1, trace_1, factor_1) = _fitted(real.double())
    (mean_2, trace_2, factor_2) = _fitted(fake.double())
    return _combine(mean_1 - mean_2, trace_1 + trace_2, factor_1, factor_2)


def _fitted(features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean `[d]`, trace of the covariance, and a factor `[min(n - 1, d), d]` of the covariance."""
    n, d = features.shape
    mean = features.mean(0)
    centred = features - mean
    trace = centred.square().sum() / (n - 1)
    return mean, trace, _contrasts(centred) if n <= d else _factor(centred.T @ centred / (n - 1))


def _contrasts(centred: Tensor) -> Tensor:
    """`A` `[n - 1, d]` with `AᵀA` the covariance of n centred rows, by Helmert's orthonormal contrasts.

    The centred rows over sqrt(n - 1) would do, but they are linearly dependent, and one singular value of exactly zero
    would bar the fast way in `_nuclear_norm`.
    """
    n = len(centred)
    k = torch.arange(1, n, dtype=centred.dtype, device=centred.device)[:, None]
    return (centred.cumsum(0)[:-1] - k * centred[1:]) / (k * (k + 1) * (n - 1)).sqrt()


def _factor(covariance: Tensor) -> Tensor:
    """`A` `[d, d]` with `AᵀA = covariance`, for a covariance that may be singular."""
    lower: Tensor
    lower, failed = torch.linalg.cholesky_ex(covariance)
    if not failed:
        return lower.T
    values, vectors = torch.linalg.eigh(covariance)
    return torch.einsum("i,ji->ij", values.clamp(min=0).sqrt(), vectors)


def _combine(shift: Tensor, traces: Tensor, factor_1: Tensor, factor_2: Tensor) -> float:
    # Rounding can leave -1e-13 for equal sets; a squared distance is not negative.
    return max(0.0, float(shift.square().sum() + traces - 2 * _nuclear_norm(factor_1 @ factor_2.T)))


def _nuclear_norm(product: Tensor) -> Tensor:
    """The sum of the singular values.

    They are the roots of the eigenvalues of the smaller Gram matrix, ten times faster to get, but rounding there hides
    values below 1e-8 of the largest. So that way counts only where the least of them is well above.
    """
    wide = product if product.shape[0] <= product.shape[1] else product.T
    squares: Tensor = torch.linalg.eigvalsh(wide @ wide.T)
    if squares[0] > RESOLVED * squares[-1]:
        return squares.sqrt().sum()
    values: Tensor = torch.linalg.svdvals(product)
    return values.sum()


@dataclass
class Moments:
    """Count, sum and outer product of features that arrive in batches, or on several workers.

    Kept in float64, in which the one-pass covariance loses nothing that matters for features of order one.

    Args:
        count: scalar tensor, samples so far.
        total: `[d]` sum.
        outer: `[d, d]` sum of outer products.
    """

    count: Tensor
    total: Tensor
    outer: Tensor

    @classmethod
    def empty(cls, d: int, device: torch.device | str = "cpu") -> Moments:
        """No samples of `d` features yet."""
        zeros = torch.zeros(d * d + d + 1, dtype=torch.float64, device=device)
        return cls(zeros[0], zeros[1 : d + 1], zeros[d + 1 :].view(d, d))

    def update(self, features: Tensor) -> None:
        """Adds a batch `[b, d]`."""
        batch = features.detach().to(self.total.device, torch.float64)
        self.count += len(batch)
        self.total += batch.sum(0)
        self.outer.addmm_(batch.T, batch)

    def all_reduce(self) -> None:
        """Adds up the moments of all workers of the initialised process group; afterwards each holds the sum."""
        flat = World.current(self.total.device).sum(torch.cat([self.count.view(1), self.total, self.outer.flatten()]))
        self.count, self.total, self.outer = (
            flat[0],
            flat[1 : 1 + len(self.total)],
            flat[1 + len(self.total) :].view_as(self.outer),
        )

    @property
    def mean(self) -> Tensor:
        """`[d]`."""
        return torch.div(self.total, self.count)

    @property
    def covariance(self) -> Tensor:
        """`[d, d]`, unbiased."""
        return (self.outer - torch.outer(self.total, self.mean)) / (self.count - 1)


def frechet_from_moments(real: Moments, fake: Moments) -> float:
    """`frechet_distance` of features seen batch by batch or on several workers; same definition and units."""
    cov_1 = real.covariance
    cov_2 = fake.covariance
    return _combine(real.mean - fake.mean, cov_1.trace() + cov_2.trace(), _factor(cov_1), _factor(cov_2))
