"""What a detector gets right: accuracy, sensitivity, specificity and the area under the ROC curve."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["Detection", "accuracy", "auroc", "detection_scores", "inception_score", "sensitivity", "specificity"]


class Detection(NamedTuple):
    """The four scores of a detector, each in [0, 1], higher is better."""

    accuracy: float
    sensitivity: float
    specificity: float
    auroc: float


def detection_scores(probabilities: Tensor, labels: Tensor, positive: int) -> Detection:
    """All four scores, each the mean over the detectors; all NaN where a probability is not finite.

    Args:
        probabilities: `[s, n, k]` class probabilities of s detectors for n images, or `[n, k]` of one.
        labels: `[n]` true classes.
        positive: the class that sensitivity, specificity and AUROC are about; all others count as negative.
    """
    if not probabilities.isfinite().all():
        return Detection(*[math.nan] * 4)  # of NaN an argmax still names a class
    return Detection(
        float(accuracy(probabilities, labels).mean()),
        float(sensitivity(probabilities, labels, positive).mean()),
        float(specificity(probabilities, labels, positive).mean()),
        float(auroc(probabilities, labels, positive).mean()),
    )


def accuracy(probabilities: Tensor, labels: Tensor) -> Tensor:
    """Share of images whose most probable class is the true one; `[s]`, range [0, 1], higher is better."""
    return (probabilities.argmax(-1) == labels).double().mean(-1)


def sensitivity(probabilities: Tensor, labels: Tensor, positive: int) -> Tensor:
    """Share of the positive images that are called positive; `[s]`, range [0, 1], NaN without positive images.

    An image is called positive where the positive class has a probability of at least one half.
    """
    return (probabilities[..., positive] >= 0.5)[..., labels == positive].double().mean(-1)


def specificity(probabilities: Tensor, labels: Tensor, positive: int) -> Tensor:
    """Share of the other images that are not called positive; `[s]`, range [0, 1], NaN without negative images."""
    return (probabilities[..., positive] < 0.5)[..., labels != positive].double().mean(-1)


def auroc(probabilities: Tensor, labels: Tensor, positive: int) -> Tensor:
    """Area under the ROC curve of the positive class against the rest; `[s]`, range [0, 1], 0.5 is chance.

    It is the probability that a positive image gets a higher probability than a negative one, ties counting half
    (Hanley & McNeil 1982).
    """
    scores = probabilities[..., positive].double()
    above = scores[..., labels == positive, None] - scores[..., None, labels != positive]
    return ((above > 0).double() + (above == 0).double() / 2).flatten(-2).mean(-1)


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
