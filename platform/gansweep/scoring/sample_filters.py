"""Which samples a detector may learn from: all, or those that look right to a judge.

A filter sees the samples, what detectors of real images alone say of them, and features. Filters by rank keep half of
each class, so that they change which samples there are, and not of which class.
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
"""The fraction of each class that a filter by rank keeps."""


def needs_judges(name: str) -> bool:
    """Whether the filter asks detectors of real images."""
    return name in {"detector_agrees", "uncertain"}


def needs_features(name: str) -> bool:
    """Whether the filter compares features of samples and real images."""
    return name == "dense"


def filtered(
    samples: ImageSet,
    name: str,
    *,
    seen: Tensor | None = None,
    features: Callable[[], tuple[Tensor, Tensor, Tensor]] | None = None,
) -> ImageSet:
    """The samples that pass.

    Args:
        samples: with the labels that they were asked for.
        name: a value of `TrialConfig.sample_filter`:

            - `none`: all;
            - `detector_agrees`: those in which detectors of real images see the class that was asked for;
            - `uncertain`: half of each class, those that these detectors are least sure of (uncertainty sampling: Lewis
              & Gale 1994); the others teach what real images teach too;
            - `dense`: half of each class, those in the balls of most real images of their class (Naeem et al. 2020).

        seen: `[n, classes]` probabilities of these detectors, of filters that need judges.
        features: gives features of the samples `[n, d]`, of real images `[m, d]`, and the real images' labels `[m]`, of
            filters that need them.
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
    return _best_half(samples, _densities(samples.labels, *features()))


def _densities(labels: Tensor, fake: Tensor, real: Tensor, real_labels: Tensor) -> Tensor:
    """`[n]` how many balls around real images of its class each sample lies in; the nearer of equals first."""
    found = torch.zeros(len(labels), dtype=torch.float64)
    for label in labels.unique():
        ours = labels == label
        same = real[real_labels == label]
        inside, distances = balls_around(same, fake[ours])
        # Many samples lie in no ball at all: among these the distance decides.
        found[ours] = inside.double() + 0.5 / (1 + distances.double())
    return found


def _best_half(samples: ImageSet, values: Tensor) -> ImageSet:
    keep = torch.zeros(len(samples), dtype=torch.bool)
    for label in samples.labels.unique():
        rows = (samples.labels == label).nonzero().flatten()
        count = max(1, round(_KEPT * len(rows)))
        keep[rows[values[rows].argsort(descending=True, stable=True)[:count]]] = True
    return _chosen(samples, keep)


def _chosen(samples: ImageSet, keep: Tensor) -> ImageSet:
    return replace(samples, images=samples.images[keep], labels=samples.labels[keep], masks=None)
