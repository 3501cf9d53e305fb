"""Intervals of figures of images that count patients, not slices: images of one patient are alike."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from gansweep.contracts import ImageSet

__all__ = ["Resampled", "Sample", "jackknifed", "ratio", "too_few"]

HALVES = 40
"""Half-samples behind the interval of a metric of features."""
REPLICATES = 2000
LEAST = 4
"""Patients. Halves of three keep two of them, and those of two everything, so that nothing spreads."""


class Resampled(NamedTuple):
    """A value with its 95 % interval, or why it has none."""

    value: float
    low: float | None
    high: float | None
    reason: str = ""


@dataclass(frozen=True)
class Sample:
    """Features or values of some images.

    Args:
        values: `[n, ...]`.
        owners: `[n]` whose the images are, as numbers; images of unknown patients are each its own.
        labels: `[n]`.
    """

    values: Tensor
    owners: Tensor
    labels: Tensor

    @classmethod
    def of(cls, values: Tensor, images: ImageSet, rows: Tensor | None = None) -> Sample:
        """`values` of the images, or of those `rows` of them."""
        names = np.asarray(images.patients or range(len(images)))
        owners = torch.from_numpy(np.unique(names, return_inverse=True)[1])
        rows = torch.arange(len(images)) if rows is None else rows
        return cls(values, owners[rows], images.labels[rows])

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, rows: Tensor) -> Sample:
        return Sample(self.values[rows], self.owners[rows], self.labels[rows])

    @property
    def patients(self) -> int:
        """How many there are."""
        return len(self.owners.unique())

    def spread(self, n: int) -> Sample:
        """`n` of the images, each class in its proportion; at equal distances, so that many patients are met."""
        places = torch.linspace(0, len(self) - 1, n).round().long()
        return self[self.labels.argsort(stable=True)[places]]

    def half(self, generator: torch.Generator) -> Tensor:
        """Values of a random half of the patients, the smaller where their number is odd."""
        names = self.owners.unique()
        kept = names[torch.randperm(len(names), generator=generator)[: len(names) // 2]]
        return self.values[torch.isin(self.owners, kept)]


def jackknifed(
    compute: Callable[[Tensor, Tensor], float], real: Sample, fake: Sample, bounds: tuple[float, float], seed: int
) -> Resampled:
    """Value and 95 % interval of a function of two samples, by the half-sample jackknife over patients.

    The bootstrap would draw images twice, which brings samples closer together and biases distances and neighbours; a
    half drawn without replacement does not, and the spread of its values is the standard error of the whole sample's
    (the delete-d jackknife with d = n / 2: Shao & Wu 1989). Whole patients are left out: with four alike slices of each
    of 25, halves of the slices said a third to a half of the true error. The interval is for chance alone: a bias that
    depends on n, as the Fréchet distance has, stays in it. None with fewer than four patients in a sample, or where a
    half has no finite value.
    """
    value = compute(real.values, fake.values)
    if reason := too_few(real, fake):
        return Resampled(value, None, None, reason)
    generator = torch.Generator().manual_seed(seed)
    values = [compute(real.half(generator), fake.half(generator)) for _ in range(HALVES)]
    error = float(torch.tensor(values, dtype=torch.float64).std())
    if not math.isfinite(error):
        return Resampled(value, None, None, "no interval: half-samples have no finite value")
    return Resampled(value, max(float(bounds[0]), value - 1.96 * error), min(float(bounds[1]), value + 1.96 * error))


def ratio(over: Sample, under: Tensor, seed: int) -> Resampled:
    """Sum of `over` `[n]` to sum of `under` `[n]`, with the 95 % BCa bootstrap interval (Efron 1987) over patients.

    The mean of `over` where `under` is one everywhere: patients count by their images, and are drawn whole. No interval
    with fewer than four patients.
    """
    from scipy import stats

    whose = over.owners.unique(return_inverse=True)[1].numpy()
    sums, counts = (np.bincount(whose, x.double().numpy()) for x in (over.values, under))
    value = float(sums.sum() / counts.sum())
    if reason := too_few(over):
        return Resampled(value, None, None, reason)
    if np.allclose(sums, value * counts, rtol=1e-12, atol=0):  # all patients agree, and BCa divides by their spread
        return Resampled(value, value, value)

    def of(sums: NDArray[Any], counts: NDArray[Any], axis: int = -1) -> NDArray[Any]:
        found: NDArray[Any] = sums.sum(axis) / counts.sum(axis)
        return found

    rng = np.random.default_rng(seed)
    found = stats.bootstrap((sums, counts), of, paired=True, vectorized=True, n_resamples=REPLICATES, rng=rng)
    return Resampled(value, float(found.confidence_interval.low), float(found.confidence_interval.high))


def too_few(*samples: Sample) -> str:
    """Why there is no interval; empty where there is one."""
    least = min(samples, key=lambda sample: sample.patients)
    if least.patients >= LEAST:
        return ""
    unit = "images" if len(least) == least.patients else "patients"
    return f"no interval: {least.patients} {unit}, {LEAST} are needed"
