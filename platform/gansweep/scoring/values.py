"""A metric's value with its interval, or the reason why there is none."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from gansweep.errors import GansweepError
from gansweep.scoring.statistics.resampling import Sample, jackknifed, ratio

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gansweep.contracts import ImageSet
    from gansweep.scoring.statistics.resampling import Resampled

__all__ = ["Halved", "MetricValue", "Sets", "attempted", "beside_floor", "mean_of", "of_resampled"]

FAILURES = (GansweepError, ArithmeticError, RuntimeError, ValueError)
"""What odd images make arithmetic raise; of other kinds are our own faults, which no reason should cover up."""


@dataclass(frozen=True)
class MetricValue:
    """A metric with its uncertainty, or the reason why it is absent.

    Args:
        value: None where absent.
        low, high: 95 % interval; None where absent, or of too few patients.
        n_real, n_fake: images behind it.
        features: the extractor, `name:hash12`; empty where none is used.
        reason: why it or its interval is absent, or what it was computed from.
    """

    value: float | None
    low: float | None
    high: float | None
    n_real: int
    n_fake: int
    features: str = ""
    reason: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values; empty texts are left out."""
        numbers = {name: getattr(self, name) for name in ("value", "low", "high", "n_real", "n_fake")}
        texts = {"features": self.features, "reason": self.reason}
        return numbers | {name: text for name, text in texts.items() if text}


@dataclass(frozen=True)
class Sets:
    """Two sets of images with their features.

    Args:
        real, fake: the images.
        of_real, of_fake: their features `[n, d]`.
        halves: rows of `real`: two halves that share no patient.
        extractor: name of the features' extractor.
        paired: whether image i of `fake` was made for image i of `real`.
        seed: of resampling.
    """

    real: ImageSet
    fake: ImageSet
    of_real: Tensor
    of_fake: Tensor
    halves: tuple[Tensor, Tensor]
    extractor: str
    paired: bool
    seed: int

    def absent(self, reason: str) -> MetricValue:
        """The value of a metric that there is none of."""
        return MetricValue(None, None, None, len(self.real), len(self.fake), reason=reason)

    def mean_of_pairs(self, values: Tensor) -> MetricValue:
        """The mean of one value per pair; whose a pair is, the real image says, or else the fake one."""
        pairs = Sample.of(values, self.real if self.real.patients else self.fake)
        return mean_of(pairs, self, len(self.real), len(self.fake))


def attempted(
    names: Sequence[str], sets: Sets, compute: Callable[[], dict[str, MetricValue]]
) -> dict[str, MetricValue]:
    """What `compute` gives; where it fails, `names` are absent with the reason, and the rest of a panel is not lost."""
    try:
        return compute()
    except FAILURES as error:
        return dict.fromkeys(names, sets.absent(_why(error)))


def _why(error: Exception) -> str:
    return error.what if isinstance(error, GansweepError) else f"not computable: {' '.join(str(error).split())}"


def of_resampled(found: Resampled, n_real: int, n_fake: int, features: str = "", reason: str = "") -> MetricValue:
    """A resampled value with what was behind it; absent where it is not finite."""
    if not math.isfinite(found.value):
        return MetricValue(None, None, None, n_real, n_fake, reason="not finite")
    said = "; ".join(part for part in (reason, found.reason) if part)
    return MetricValue(*found[:3], n_real, n_fake, features, said)


def mean_of(sample: Sample, sets: Sets, n_real: int, n_fake: int, reason: str = "") -> MetricValue:
    """The mean of one value per image, with its interval over patients."""
    values = sample.values
    if not values.isfinite().all():
        return sets.absent(
            "infinite: some pairs are equal" if values.isinf().any() else "undefined for constant images"
        )
    return of_resampled(ratio(sample, torch.ones_like(values), sets.seed), n_real, n_fake, reason=reason)


@dataclass(frozen=True)
class Halved:
    """Two samples, the real one in halves that share no patient.

    Args:
        real, fake: the samples.
        halves: rows of each half of `real`, as numbers or as a mask.
        seed: of resampling.
    """

    real: Sample
    fake: Sample
    halves: Sequence[Tensor]
    seed: int


def beside_floor(
    name: str,
    compute: Callable[[Tensor, Tensor], float],
    samples: Halved,
    bounds: tuple[float, float],
    *,
    features: str = "",
    reason: str = "",
) -> dict[str, MetricValue]:
    """A distance between two samples, and beside it two that may be compared with each other.

    `_floor` is the distance between the halves of the real sample: what real images of other patients get. The distance
    itself is of more images, and a distance of more images is smaller. A generator at two or three times the distance
    of a perfect one would still pass the floor. `_matched` is therefore what can be compared with the floor: the
    distance of the first half to as many fake images as there are in the second. Where there are fewer fake images than
    that, the floor takes as few real ones.

    Slices of few patients vary less than as many fake images that were drawn one by one. This raises the floor.

    Args:
        name: of the distance.
        compute: the distance of `[n, ...]` to `[m, ...]`.
        samples: of both sets.
        bounds: of the distance.
        features: the extractor.
        reason: a remark on the images.
    """
    real = samples.real
    fake = samples.fake
    first, second = (real[rows] for rows in samples.halves)
    n = min(len(second), len(fake))

    def between(one: Sample, other: Sample, reason: str) -> MetricValue:
        try:
            found = jackknifed(compute, one, other, bounds, samples.seed)
        except FAILURES as error:
            return MetricValue(None, None, None, len(one), len(other), reason=_why(error))
        return of_resampled(found, len(one), len(other), features, reason)

    if min(n, len(first)) < 2:
        alone = MetricValue(None, None, None, len(first), n, reason="a half of the real images holds a single one")
        return {name: between(real, fake, reason), f"{name}_matched": alone, f"{name}_floor": alone}
    matched = f"half of the real images against {n} fake ones: to be held against the floor"
    floor = "half of the real images against the other half's patients"
    return {
        name: between(real, fake, reason),
        f"{name}_matched": between(first, fake.spread(n), matched),
        f"{name}_floor": between(first, second.spread(n), floor),
    }
