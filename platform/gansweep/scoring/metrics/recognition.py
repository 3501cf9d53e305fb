"""Metrics of synthetic images, based on a classifier trained on real images."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["inception_score", "lesion_fidelity"]


def lesion_fidelity(probabilities: Tensor, labels: Tensor) -> Tensor:
    """Returns whether the classifier assigns each sample to its intended class.

    Range {0, 1}; higher is better. A trial reports the mean of the class means, so that a rare class counts as much
    as a frequent one. `gansweep score` reports the mean over images, which has an interval over patients.

    Args:
        probabilities: `[n, k]` class probabilities of n samples, from a classifier trained on real images.
        labels: intended classes `[n]`.

    Returns:
        Values `[n]`.
    """
    return (probabilities.argmax(1) == labels).double()


def inception_score(probabilities: Tensor) -> float:
    """exp(E KL(p(y|x) || p(y))): whether images are recognisable individually and varied as a set.

    Range [1, number of classes], no units; higher is better. It ignores real images and the variety within a class.

    Args:
        probabilities: `[n, k]` class probabilities of n samples, from a classifier trained on real images.

    Source:
        Salimans et al. 2016, "Improved Techniques for Training GANs", section 4; without splits, because their number
        changes the value (Barratt & Sharma 2018).
    """
    p = probabilities.double()
    entropy = torch.special.entr(p).sum(1).mean()
    information = torch.special.entr(p.mean(0)).sum() - entropy
    return float(information.clamp(min=0).exp())  # for equal images, rounding may make it negative
