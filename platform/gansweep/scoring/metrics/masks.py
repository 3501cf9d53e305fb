"""Metrics of segmentation masks: how much of a lesion a segmenter finds.

Every metric takes predicted and true masks `[n, 1, H, W]` in {0, 1} and returns `[n]` values.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gansweep.scoring.metrics.answers import Bools, Floats

__all__ = ["MaskScores", "dice"]


@dataclass(frozen=True)
class MaskScores:
    """Scores of one arm's segmenters for the test images with a lesion.

    Args:
        values: values `[s, n]` of s trainings by metric. If several generators were trained, one training is one
            generator: pass the mean over the segmenters trained on its samples.
        patients: patient names `[n]`.
    """

    values: Mapping[str, Floats]
    patients: Sequence[str]

    @property
    def trainings(self) -> int:
        """Number of trainings."""
        return len(next(iter(self.values.values())))

    @property
    def is_positive(self) -> Bools:
        """Whether each image has a lesion, `[n]`: all have one."""
        return np.ones(len(self.patients), dtype=bool)


def dice(predicted: Tensor, true: Tensor) -> Tensor:
    """Dice coefficient, 2 |A n B| / (|A| + |B|).

    Range [0, 1], no units; higher is better. Two empty masks score 1. It is NaN if the predicted mask has a NaN.

    Args:
        predicted: predicted masks `[n, 1, H, W]` in {0, 1}.
        true: true masks, of the same shape.

    Returns:
        Values `[n]`.

    Source:
        Dice 1945; Sørensen 1948. Computed by MONAI.
    """
    from monai.metrics import compute_dice

    found = torch.as_tensor(compute_dice(predicted, true, include_background=True, ignore_empty=False)).flatten()
    # MONAI's own result for NaN is 0.
    return found.masked_fill(predicted.isnan().flatten(1).any(dim=1), torch.nan)
