"""Metrics that need no labels, with their confidence intervals, by input."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gansweep.scoring.statistics.resampling import Sample, jackknifed
from gansweep.scoring.values import Halved, MetricValue, Sets, beside_floor, mean_of, of_resampled

if TYPE_CHECKING:
    from collections.abc import Callable

    from gansweep.scoring.metrics.registry import Input, Metric

__all__ = ["UNLABELLED"]


def _of_features(name: str, metric: Metric, sets: Sets) -> dict[str, MetricValue]:
    """Returns the metric. For a distance, also returns its floor and the matched distance to compare with the floor."""
    real = Sample.of(sets.of_real, sets.real)
    fake = Sample.of(sets.of_fake, sets.fake)
    if metric.better == "lower":
        samples = Halved(real, fake, sets.halves, sets.seed)
        return beside_floor(name, metric.compute, samples, metric.range, features=sets.extractor)
    found = jackknifed(metric.compute, real, fake, metric.range, sets.seed)
    return {name: of_resampled(found, len(real), len(fake), sets.extractor)}


def _of_pairs(name: str, metric: Metric, sets: Sets) -> dict[str, MetricValue]:
    if not sets.paired:
        return {name: sets.absent("the sets are not paired")}
    return {name: sets.mean_of_pairs(metric.compute(sets.real.images, sets.fake.images))}


def _of_images(name: str, metric: Metric, sets: Sets) -> dict[str, MetricValue]:
    """Returns the mean over the fake images and the mean over the real images."""
    fake = Sample.of(metric.compute(sets.fake.images), sets.fake)
    real = Sample.of(metric.compute(sets.real.images), sets.real)
    return {name: mean_of(fake, sets, 0, len(fake)), f"{name}_real": mean_of(real, sets, len(real), 0)}


UNLABELLED: dict[Input, Callable[[str, Metric, Sets], dict[str, MetricValue]]] = {
    "features": _of_features,
    "pairs": _of_pairs,
    "images": _of_images,
}
