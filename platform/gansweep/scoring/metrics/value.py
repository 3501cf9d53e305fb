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
    from gansweep.scoring.metrics.registry import Metric
    from gansweep.scoring.statistics.resampling import Resampled

__all__ = ["MEASURED", "MetricValue", "Sets", "attempted", "beside_floor", "mean_of", "of_resampled"]

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


def beside_floor(
    name: str,
    compute: Callable[[Tensor, Tensor], float],
    real: Sample,
    fake: Sample,
    halves: Sequence[Tensor],
    bounds: tuple[float, float],
    seed: int,
    *,
    features: str = "",
    reason: str = "",
) -> dict[str, MetricValue]:
    """A distance between two samples, and beside it two that may be compared with each other.

    `_floor` is the distance between the `halves` of the real sample, which share no patient: what real images of other
    patients get. The distance itself is of more images, and distances of more images are less: a generator at twice or
    three times the distance of a perfect one would still pass the floor. So what is held against the floor is
    `_matched`: the distance of the floor's first half to as many fake images as there are in the second. Where fewer
    fake images than that are there, the floor takes as few real ones.

    Slices of few patients vary less than as many fake images that were drawn one by one, which raises the floor.
    """
    first, second = (real[rows] for rows in halves)
    n = min(len(second), len(fake))

    def between(one: Sample, other: Sample, reason: str) -> MetricValue:
        try:
            found = jackknifed(compute, one, other, bounds, seed)
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


def _of_features(name: str, metric: Metric, sets: Sets) -> dict[str, MetricValue]:
    """The metric, and beside a distance its floor and what may be compared with that."""
    real = Sample.of(sets.of_real, sets.real)
    fake = Sample.of(sets.of_fake, sets.fake)
    if metric.better == "lower":
        chosen = (sets.halves, metric.range, sets.seed)
        return beside_floor(name, metric.compute, real, fake, *chosen, features=sets.extractor)
    found = jackknifed(metric.compute, real, fake, metric.range, sets.seed)
    return {name: of_resampled(found, len(real), len(fake), sets.extractor)}


def _of_pairs(name: str, metric: Metric, sets: Sets) -> dict[str, MetricValue]:
    if not sets.paired:
        return {name: sets.absent("the sets are not paired")}
    return {name: sets.mean_of_pairs(metric.compute(sets.real.images, sets.fake.images))}


def _of_images(name: str, metric: Metric, sets: Sets) -> dict[str, MetricValue]:
    """The mean over the fake images, and beside it that over the real ones."""
    fake, real = (Sample.of(metric.compute(images.images), images) for images in (sets.fake, sets.real))
    return {name: mean_of(fake, sets, 0, len(fake)), f"{name}_real": mean_of(real, sets, len(real), 0)}


MEASURED: dict[str, Callable[[str, Metric, Sets], dict[str, MetricValue]]] = {
    "features": _of_features,
    "pairs": _of_pairs,
    "images": _of_images,
}
"""How metrics are measured, by what they take."""
