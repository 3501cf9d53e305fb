"""Value of a metric with its interval, or the reason why it has none."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from gansweep.errors import GansweepError, one_line
from gansweep.scoring.statistics.resampling import Sample, jackknifed, ratio

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gansweep.contracts import ImageSet
    from gansweep.scoring.statistics.resampling import Resampled

__all__ = ["Halved", "MetricValue", "Sets", "attempted", "beside_floor", "mean_of", "of_resampled"]

FAILURES = (GansweepError, ArithmeticError, RuntimeError, ValueError)
"""Exceptions that unusual images can cause. Other exceptions are bugs, which a reason must not hide."""


@dataclass(frozen=True)
class MetricValue:
    """A metric with its uncertainty, or the reason why it is absent.

    Args:
        value: value; None if absent.
        low, high: 95 % interval; None if the value is absent, or if there are too few patients.
        n_real, n_fake: numbers of images behind the value.
        features: extractor as `name:hash12`; empty if none is used.
        reason: why the value or its interval is absent, or what the value was computed from.
    """

    value: float | None
    low: float | None
    high: float | None
    n_real: int
    n_fake: int
    features: str = ""
    reason: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Returns plain JSON values. Omits empty texts."""
        numbers = {name: getattr(self, name) for name in ("value", "low", "high", "n_real", "n_fake")}
        texts = {"features": self.features, "reason": self.reason}
        return numbers | {name: text for name, text in texts.items() if text}


@dataclass(frozen=True)
class Sets:
    """Two sets of images with their features.

    Args:
        real, fake: the images.
        of_real, of_fake: their features `[n, d]`.
        halves: rows of `real` in two halves that share no patient.
        extractor: name of the feature extractor.
        paired: whether image i of `fake` was made for image i of `real`.
        seed: seed of resampling.
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
        """Returns the value of a metric that is absent."""
        return MetricValue(None, None, None, len(self.real), len(self.fake), reason=reason)

    def mean_of_pairs(self, values: Tensor) -> MetricValue:
        """Returns the mean of one value per pair.

        The patient of a pair is that of the real image, or else of the fake image.
        """
        pairs = Sample.of(values, self.real if self.real.patients else self.fake)
        return mean_of(pairs, self, len(self.real), len(self.fake))


def attempted(
    names: Sequence[str], sets: Sets, compute: Callable[[], dict[str, MetricValue]]
) -> dict[str, MetricValue]:
    """Returns the result of `compute`.

    If it fails, only `names` are absent, with the reason; the panel's rest is unaffected.
    """
    try:
        return compute()
    except FAILURES as error:
        return dict.fromkeys(names, sets.absent(_why(error)))


def _why(error: Exception) -> str:
    if isinstance(error, GansweepError):
        return error.what
    return f"not computable: {one_line(error)}"


def of_resampled(found: Resampled, n_real: int, n_fake: int, features: str = "", reason: str = "") -> MetricValue:
    """Returns a resampled value with its numbers of images; absent if it is not finite."""
    if not math.isfinite(found.value):
        return MetricValue(None, None, None, n_real, n_fake, reason="not finite")
    said = "; ".join(part for part in (reason, found.reason) if part)
    return MetricValue(*found[:3], n_real, n_fake, features, said)


def mean_of(sample: Sample, sets: Sets, n_real: int, n_fake: int, reason: str = "") -> MetricValue:
    """Returns the mean of one value per image, with its interval over patients."""
    values = sample.values
    if values.isinf().any():
        return sets.absent("infinite: some pairs are equal")
    if not values.isfinite().all():
        return sets.absent("undefined for constant images")
    return of_resampled(ratio(sample, torch.ones_like(values), sets.seed), n_real, n_fake, reason=reason)


@dataclass(frozen=True)
class Halved:
    """Two samples, with the real sample in halves that share no patient.

    Args:
        real, fake: the samples.
        halves: rows of each half of `real`, as indices or as a mask.
        seed: seed of resampling.
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
    """Returns a distance between two samples, and two more distances that can be compared with each other.

    `_floor` is the distance between the halves of the real sample: what real images of other patients score. The
    distance itself uses more images, and a distance of more images is smaller. A generator at two or three times the
    distance of a perfect one could therefore be below the floor. `_matched` is comparable with the floor: it is the
    distance of the first half to as many fake images as the second half has. If there are fewer fake images than that,
    the floor uses equally few real ones.

    Slices of few patients vary less than as many fake images drawn independently. This raises the floor.

    Args:
        name: name of the distance.
        compute: function from `[n, ...]` and `[m, ...]` to the distance.
        samples: both sets.
        bounds: range of the distance.
        features: name of the feature extractor.
        reason: remark on the images.
    """
    real = samples.real
    fake = samples.fake
    first_rows, second_rows = samples.halves
    first = real[first_rows]
    second = real[second_rows]
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
