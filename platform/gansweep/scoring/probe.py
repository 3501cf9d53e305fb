"""What labels allow to say of two sets of images, by a linear classifier on their features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

__all__ = ["Probe"]


@dataclass(frozen=True)
class Probe:
    """A class-balanced logistic regression on standardised features.

    Args:
        model: the fitted scikit-learn pipeline.
        classes: number of classes, those that were not seen in training included.
    """

    model: Any
    classes: int

    @classmethod
    def fit(cls, features: Tensor, labels: Tensor, classes: int) -> Probe:
        """Fits to features `[n, d]` of images with `labels` `[n]`, at least two classes among them."""
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        # Strong regularisation: there are often more features than images.
        model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, class_weight="balanced", max_iter=2000))
        return cls(model.fit(features.numpy(), labels.numpy()), classes)

    def probabilities(self, features: Tensor) -> NDArray[np.float64]:
        """Class probabilities `[n, classes]`."""
        known = cast("NDArray[np.float64]", self.model.predict_proba(features.numpy()))
        found = np.zeros((len(known), self.classes))
        found[:, self.model.classes_] = known
        return found
