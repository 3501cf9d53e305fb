"""Metrics of what a classifier of real images sees in synthetic ones."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["inception_score", "lesion_fidelity"]


def lesion_fidelity(probabilities: Tensor, labels: Tensor) -> Tensor:
    """Whether the classifier sees in each sample the class that the sample was asked to be.

    Range {0, 1}; higher is better. A trial reports the mean of the classes' means, so that a rare class counts as much
    as a frequent one; `gansweep score`, which has an interval over patients, the mean over the images.

    Args:
        probabilities: `[n, k]` class probabilities of n samples, by a classifier trained on real images.
        labels: `[n]` the classes asked for.

    Returns:
        `[n]`.
    """
    return (probabilities.argmax(1) == labels).double()


def inception_score(probabilities: Tensor) -> float:
    """exp(E KL(p(y|x) || p(y))): whether images are recognisable one by one and varied together.

    Range [1, number of classes], no units; higher is better. It never looks at real images, and says nothing about
    variety within a class.

    Args:
        probabilities: `[n, k]` class probabilities of n samples, by a classifier trained on real images.

    Source:
        Salimans et al. 2016, "Improved Techniques for Training GANs", section 4; without splits, whose number changes
        the value (Barratt & Sharma 2018).
    """
    p = probabilities.double()
    entropy = torch.special.entr(p).sum(1).mean()
    information = torch.special.entr(p.mean(0)).sum() - entropy
    return float(information.clamp(min=0).exp())  # of images all alike rounding may leave it below 0
