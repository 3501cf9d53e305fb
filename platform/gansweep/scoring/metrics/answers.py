"""Metrics of a detector's predictions: accuracy, sensitivity, specificity, AUROC, Brier score and log loss.

Every metric takes `Predictions` and weights `[b, n]`: how often each of the n images counts in each of b resamplings.
It returns `[b, s]`, one value per resampling and per training, NaN if no image counts. The same definition therefore
serves both a trial's score, where every image counts once, and the bootstrap of an interval.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = [
    "Bools",
    "Floats",
    "Predictions",
    "accuracy",
    "auroc",
    "brier_score",
    "log_loss",
    "mean_over_trainings",
    "sensitivity",
    "specificity",
    "weighted_mean",
]

LEAST_PROBABILITY = 1e-6
"""Lower limit of the true class's probability in the log loss.

One confident mistake would otherwise make it infinite.
"""

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Predictions:
    """Predictions of one arm's detectors for the test images.

    Args:
        probabilities: class probabilities `[s, n, k]` of s trainings. If several generators were trained, one training
            is one generator: pass the mean over the detectors trained on its samples.
        labels: true classes `[n]`.
        patients: patient names `[n]`.
        positive: index of the positive class; all others count as negative.
    """

    probabilities: Floats
    labels: NDArray[np.int64]
    patients: Sequence[str]
    positive: int

    @property
    def trainings(self) -> int:
        """Number of trainings."""
        return len(self.probabilities)

    @property
    def is_positive(self) -> Bools:
        """Whether each image is of the positive class, `[n]`."""
        found: Bools = self.labels == self.positive
        return found


def mean_over_trainings(metric: Callable[[Predictions, Floats], Floats], predictions: Predictions) -> float:
    """Returns the metric with every image counted once, averaged over trainings; NaN if a probability is not finite."""
    if not np.isfinite(predictions.probabilities).all():
        return math.nan  # argmax returns a class even for NaN
    by_training = metric(predictions, np.ones((1, len(predictions.labels))))
    return float(torch.from_numpy(by_training).mean())  # NumPy sums in another order; stored scores have these digits


def accuracy(predictions: Predictions, weights: Floats) -> Floats:
    """Fraction of images whose most probable class is the true class. Range [0, 1], higher is better."""
    return _fraction(predictions.probabilities.argmax(-1) == predictions.labels, weights)


def sensitivity(predictions: Predictions, weights: Floats) -> Floats:
    """Fraction of the positive images that are predicted positive. Range [0, 1], higher is better.

    An image is predicted positive if the probability of the positive class is at least 0.5.
    """
    of_positive = weights * (predictions.labels == predictions.positive)
    return _fraction(predictions.probabilities[..., predictions.positive] >= 0.5, of_positive)


def specificity(predictions: Predictions, weights: Floats) -> Floats:
    """Fraction of the negative images that are not predicted positive. Range [0, 1], higher is better."""
    of_negative = weights * (predictions.labels != predictions.positive)
    return _fraction(predictions.probabilities[..., predictions.positive] < 0.5, of_negative)


def auroc(predictions: Predictions, weights: Floats) -> Floats:
    """Area under the ROC curve of the positive class against the rest. Range [0, 1], higher is better, 0.5 is chance.

    It is the probability that a positive image has a higher predicted probability than a negative image. Ties count
    half.

    Source:
        Hanley & McNeil 1982, "The Meaning and Use of the Area under a Receiver Operating Characteristic (ROC) Curve".
    """
    scores = predictions.probabilities[..., predictions.positive]
    positive = predictions.labels == predictions.positive
    of_positive = weights[:, positive]
    of_negative = weights[:, ~positive]
    pairs = of_positive.sum(1) * of_negative.sum(1)

    def of_training(scores: Floats) -> Floats:
        # 1 if a positive image is above a negative one, 0 if it is below, 1/2 for a tie.
        above = np.sign(scores[positive][:, None] - scores[~positive]) / 2 + 0.5
        pairs_above = np.einsum("bi,bi->b", of_positive @ above, of_negative)
        return _ratio(pairs_above, pairs)

    return np.stack([of_training(one) for one in scores], 1)


def brier_score(predictions: Predictions, weights: Floats) -> Floats:
    """Half the squared distance between the class probabilities and the true class.

    0 is certain and right, 1 is certain and wrong. Range [0, 1], lower is better. With two classes it is the mean
    squared error of the positive class's probability.

    Source:
        Brier 1950, "Verification of Forecasts Expressed in Terms of Probability".
    """
    probabilities = predictions.probabilities.astype(np.float64)
    truth = np.eye(probabilities.shape[-1])[predictions.labels]
    return weighted_mean(np.square(probabilities - truth).sum(-1) / 2, weights)


def log_loss(predictions: Predictions, weights: Floats) -> Floats:
    """Mean negative logarithm of the true class's probability, which is clipped at one in a million.

    Range [0, 13.82), in nats, lower is better.

    Source:
        Good 1952, "Rational Decisions".
    """
    of_images = np.arange(len(predictions.labels))
    of_truth = predictions.probabilities[:, of_images, predictions.labels].astype(np.float64)
    return weighted_mean(-np.log(of_truth.clip(LEAST_PROBABILITY, 1.0)), weights)


def weighted_mean(values: Floats, weights: Floats) -> Floats:
    """Returns the mean of values `[s, n]` weighted by `[b, n]`, as `[b, s]`; NaN if no image counts."""
    return _ratio(weights @ values.T, weights.sum(1, keepdims=True))


def _fraction(hits: Bools, weights: Floats) -> Floats:
    """Returns the weighted fraction of hits `[s, n]`, as `[b, s]`."""
    return weighted_mean(hits.astype(float), weights)


def _ratio(part: Floats, whole: Floats) -> Floats:
    found: Floats = np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)
    return found
