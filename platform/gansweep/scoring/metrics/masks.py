"""Metrics of segmentation masks: how much of a lesion a segmenter finds.

Every metric takes predicted and true masks `[n, 1, H, W]` in {0, 1} and returns `[n]` values.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["dice"]


def dice(predicted: Tensor, true: Tensor) -> Tensor:
    """Dice coefficient, 2 |A n B| / (|A| + |B|).

    Range [0, 1], no units; higher is better. Two empty masks score 1.

    Args:
        predicted: predicted masks `[n, 1, H, W]` in {0, 1}.
        true: true masks, of the same shape.

    Returns:
        Values `[n]`.

    Source:
        Dice 1945; Sørensen 1948. Computed by MONAI.
    """
    from monai.metrics import compute_dice

    return torch.as_tensor(compute_dice(predicted, true, include_background=True, ignore_empty=False)).flatten()
