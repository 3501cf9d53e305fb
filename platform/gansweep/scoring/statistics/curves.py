"""ROC curve and confusion matrix of each arm."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from gansweep.contracts import ImageSet

__all__ = ["GRID", "arm_curves"]

GRID = np.linspace(0.0, 1.0, 51)
"""False positive rates at which the curves are evaluated."""


def arm_curves(arms: Sequence[Mapping[str, Tensor]], test: ImageSet, positive: int) -> dict[str, dict[str, Any]]:
    """Computes the ROC curve and the confusion matrix of each arm, averaged over trainings.

    The curve is the mean over trainings at equal false positive rates (Fawcett 2006, "An introduction to ROC analysis",
    section 8.1). The matrix contains numbers of images, averaged over trainings. Neither reveals a single image.

    Args:
        arms: one mapping per training, from arm to class probabilities `[s, n, classes]` of s detectors.
        test: the n test images.
        positive: index of the class with the disease.

    Returns:
        `fpr`, `tpr` and `confusion` by arm. The matrix has a row per true class and a column per predicted class. Arms
        whose probabilities are not finite are omitted. Curves are omitted if all images are of one kind.
    """
    labels = test.labels.numpy()
    found: dict[str, dict[str, Any]] = {}
    for name in arms[0]:
        # One training is one generator: its prediction is the mean over its detectors.
        predictions = torch.stack([training[name].double().mean(0) for training in arms]).numpy()
        if not np.isfinite(predictions).all():
            continue
        curve = _curve(predictions[..., positive], labels == positive)
        found[name] = {"confusion": _confusion(predictions, labels), **curve}
    return found


def _confusion(predictions: NDArray[np.float64], labels: NDArray[np.int64]) -> list[list[float]]:
    classes = predictions.shape[-1]
    counts = np.zeros((classes, classes))
    for predicted in predictions.argmax(-1):
        np.add.at(counts, (labels, predicted), 1.0)
    means: list[list[float]] = (counts / len(predictions)).tolist()
    return means


def _curve(scores: NDArray[np.float64], positive: NDArray[np.bool_]) -> dict[str, list[float]]:
    if positive.all() or not positive.any():
        return {}
    from sklearn.metrics import roc_curve

    heights = []
    for training in scores:
        fpr, tpr, _ = roc_curve(positive, training, drop_intermediate=False)
        # Where the curve is vertical, use its upper end.
        last = np.searchsorted(fpr, GRID, side="right") - 1
        slope = np.interp(GRID, fpr, tpr)
        heights.append(np.where(np.isin(GRID, fpr), tpr[last], slope))
    mean = np.mean(heights, axis=0)
    # Every curve starts at the origin, even one that rises immediately.
    return {"fpr": [0.0, *GRID.tolist()], "tpr": [0.0, *(float(height) for height in mean)]}
