"""A metric's value with its interval, or the reason why there is none."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from gansweep.errors import ConfigError
from gansweep.scoring.statistics import bootstrap_mean

if TYPE_CHECKING:
    from collections.abc import Callable

    from gansweep.contracts import ImageSet
    from gansweep.scoring.metrics import Metric

__all__ = ["MEASURED", "MetricValue", "Sets", "jackknifed", "mean_of"]

HALVES = 40
"""Half-samples behind the interval of a metric of features."""


@dataclass(frozen=True)
class MetricValue:
    """A metric with its uncertainty, or the reason why it is absent.

    Args:
        value: None where absent.
        low, high: 95 % interval; None where absent.
        n_real, n_fake: images behind it.
        features: the extractor, `name:hash12`; empty where none is used.
        reason: why it is absent, or what it was computed from.
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


def jackknifed(
    compute: Callable[[Tensor, Tensor], float], real: Tensor, fake: Tensor, bounds: tuple[float, float], seed: int
) -> tuple[float, float, float]:
    """Value and 95 % interval of a function of two samples, by the half-sample jackknife.

    The bootstrap would draw images twice, which brings samples closer together and biases distances and neighbours; a
    half drawn without replacement does not, and the spread of its values is the standard error of the whole sample's
    (the delete-d jackknife with d = n / 2: Shao & Wu 1989). The interval is for chance alone: a bias that depends on n,
    as the Fréchet distance has, stays in it.
    """
    generator = torch.Generator().manual_seed(seed)
    values = [compute(_half(real, generator), _half(fake, generator)) for _ in range(HALVES)]
    value, error = compute(real, fake), float(torch.tensor(values, dtype=torch.float64).std())
    return value, max(float(bounds[0]), value - 1.96 * error), min(float(bounds[1]), value + 1.96 * error)


def mean_of(values: Tensor, sets: Sets) -> MetricValue:
    """The mean of one value per image, with its bootstrap interval."""
    if not values.isfinite().all():
        return sets.absent(
            "infinite: some pairs are equal" if values.isinf().any() else "undefined for constant images"
        )
    low, high = bootstrap_mean(values.double().numpy(), seed=sets.seed)
    return MetricValue(float(values.double().mean()), low, high, len(sets.real), len(sets.fake))


def _half(rows: Tensor, generator: torch.Generator) -> Tensor:
    return rows[torch.randperm(len(rows), generator=generator)[: max(2, len(rows) // 2)]]


def _of_features(name: str, metric: Metric, sets: Sets) -> dict[str, MetricValue]:
    """The metric, and beside a distance its floor."""

    def between(real: Tensor, fake: Tensor) -> MetricValue:
        found = jackknifed(metric.compute, real, fake, metric.range, sets.seed)
        return MetricValue(*found, len(real), len(fake), sets.extractor)

    found = {name: between(sets.of_real, sets.of_fake)}
    if metric.better == "lower":
        floor = between(*(sets.of_real[rows] for rows in sets.halves))
        found[f"{name}_floor"] = replace(floor, reason="half of the real images against the other half's patients")
    return found


def _of_pairs(name: str, metric: Metric, sets: Sets) -> dict[str, MetricValue]:
    if not sets.paired:
        return {name: sets.absent("the sets are not paired")}
    try:
        return {name: mean_of(metric.compute(sets.real.images, sets.fake.images), sets)}
    except ConfigError as error:
        return {name: sets.absent(error.what)}


def _of_images(name: str, metric: Metric, sets: Sets) -> dict[str, MetricValue]:
    """The mean over the fake images, and beside it that over the real ones."""
    fake, real = (mean_of(metric.compute(images), sets) for images in (sets.fake.images, sets.real.images))
    return {name: replace(fake, n_real=0), f"{name}_real": replace(real, n_fake=0)}


MEASURED: dict[str, Callable[[str, Metric, Sets], dict[str, MetricValue]]] = {
    "features": _of_features,
    "pairs": _of_pairs,
    "images": _of_images,
}
"""How metrics are measured, by what they take."""
