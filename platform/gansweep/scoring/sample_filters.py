"""Filters that select the samples on which a detector is trained.

A filter uses the predictions of real-only detectors for the samples, or features. Filters by rank keep half of each
class, so that the proportions of the classes do not change.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gansweep.scoring.metrics.manifold import balls_around

if TYPE_CHECKING:
    from collections.abc import Callable

    from gansweep.contracts import ImageSet

__all__ = ["filtered", "needs_features", "needs_judges"]

_KEPT = 0.5
"""Fraction of each class that a filter by rank keeps."""


def needs_judges(name: str) -> bool:
    """Returns whether the filter uses predictions of real-only detectors."""
    return name in {"detector_agrees", "uncertain"}


def needs_features(name: str) -> bool:
    """Returns whether the filter compares features of samples and real images."""
    return name == "dense"


def filtered(
    samples: ImageSet,
    name: str,
    *,
    seen: Tensor | None = None,
    features: Callable[[], tuple[Tensor, Tensor, Tensor]] | None = None,
) -> ImageSet:
    """Returns the samples that a filter keeps.

    Args:
        samples: samples with their requested labels.
        name: a value of `TrialConfig.sample_filter`:

            - `none`: all samples;
            - `detector_agrees`: samples that real-only detectors assign to the requested class;
            - `uncertain`: the half of each class about which these detectors are least certain (uncertainty sampling:
              Lewis & Gale 1994). The other half adds little to the real images;
            - `dense`: the half of each class that lies in the most balls around real images of the class (Naeem et al.
              2020).

        seen: class probabilities `[n, classes]` of real-only detectors, for filters that need them.
        features: returns features of the samples `[n, d]` and of real images `[m, d]`, and the labels of the real
            images `[m]`, for filters that need them.
    """
    if name == "none":
        return samples
    if name == "detector_agrees":
        assert seen is not None
        return _chosen(samples, seen.argmax(1) == samples.labels)
    if name == "uncertain":
        assert seen is not None
        entropy = torch.special.entr(seen).sum(1)
        return _best_half(samples, entropy)
    assert features is not None
    fake, real, real_labels = features()
    return _best_half(samples, _densities(samples.labels, fake, real, real_labels))


def _densities(labels: Tensor, fake: Tensor, real: Tensor, real_labels: Tensor) -> Tensor:
    """Returns the number of balls around real images of its class that contain each sample, `[n]`.

    A fraction below 1 is added, which is higher for samples nearer to a real image.
    """
    found = torch.zeros(len(labels), dtype=torch.float64)
    for label in labels.unique():
        ours = labels == label
        same = real[real_labels == label]
        balls, distances = balls_around(same, fake[ours])
        # Many samples are in no ball. Their order is determined by the distance.
        found[ours] = balls.double() + 0.5 / (1 + distances.double())
    return found


def _best_half(samples: ImageSet, values: Tensor) -> ImageSet:
    keep = torch.zeros(len(samples), dtype=torch.bool)
    for label in samples.labels.unique():
        rows = (samples.labels == label).nonzero().flatten()
        count = max(1, round(_KEPT * len(rows)))
        best = values[rows].argsort(descending=True, stable=True)[:count]
        keep[rows[best]] = True
    return _chosen(samples, keep)


def _chosen(samples: ImageSet, keep: Tensor) -> ImageSet:
    return replace(samples, images=samples.images[keep], labels=samples.labels[keep], masks=None)
