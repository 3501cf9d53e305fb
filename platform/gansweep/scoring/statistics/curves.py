"""What stands behind an arm's figures: its ROC curve and its confusion matrix."""

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
"""False positive rates at which curves are given."""


def arm_curves(arms: Sequence[Mapping[str, Tensor]], test: ImageSet, positive: int) -> dict[str, dict[str, Any]]:
    """The ROC curve and the confusion matrix of each arm, over images and trainings.

    The curve is the mean of the trainings' at equal false positive rates (Fawcett 2006, "An introduction to ROC
    analysis", section 8.1). The matrix counts images, mean over the trainings. Neither tells of a single image.

    Args:
        arms: one training each: class probabilities `[s, n, classes]` of s detectors by arm.
        test: the n images.
        positive: the class with the disease.

    Returns:
        By arm `fpr` and `tpr`, and `confusion`: a row per true class, a column per predicted one. Arms with
        probabilities that are not finite are left out; so is the curve where all images are of one kind.
    """
    labels = test.labels.numpy()
    found: dict[str, dict[str, Any]] = {}
    for name in arms[0]:
        # A training is a generator: the mean of its detectors is what it says.
        said = torch.stack([training[name].double().mean(0) for training in arms]).numpy()
        if np.isfinite(said).all():
            found[name] = {"confusion": _confusion(said, labels), **_curve(said[..., positive], labels == positive)}
    return found


def _confusion(said: NDArray[np.float64], labels: NDArray[np.int64]) -> list[list[float]]:
    classes = said.shape[-1]
    counts = np.zeros((classes, classes))
    for predicted in said.argmax(-1):
        np.add.at(counts, (labels, predicted), 1.0)
    return [[float(count) for count in row] for row in counts / len(said)]


def _curve(scores: NDArray[np.float64], positive: NDArray[np.bool_]) -> dict[str, list[float]]:
    if positive.all() or not positive.any():
        return {}
    from sklearn.metrics import roc_curve

    heights = []
    for training in scores:
        fpr, tpr, _ = roc_curve(positive, training, drop_intermediate=False)
        # Where the curve is vertical, its upper end counts.
        last = np.searchsorted(fpr, GRID, side="right") - 1
        slope = np.interp(GRID, fpr, tpr)
        heights.append(np.where(np.isin(GRID, fpr), tpr[last], slope))
    mean = np.mean(heights, axis=0)
    # Every curve begins at the origin, also one that rises at once.
    return {"fpr": [0.0, *GRID.tolist()], "tpr": [0.0, *(float(height) for height in mean)]}
