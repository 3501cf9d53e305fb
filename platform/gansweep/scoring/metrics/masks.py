"""Metrics of segmentation masks: how much of a lesion a segmenter finds.

Every metric takes predicted and true masks `[n, 1, H, W]` in {0, 1} and gives `[n]` values.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["dice"]


def dice(predicted: Tensor, true: Tensor) -> Tensor:
    """Dice coefficient, 2 |A n B| / (|A| + |B|).

    Range [0, 1], no units; higher is better. Two empty masks agree: 1.

    Args:
        predicted: `[n, 1, H, W]` in {0, 1}.
        true: likewise.

    Returns:
        `[n]`.

    Source:
        Dice 1945; Sørensen 1948. Computed by MONAI.
    """
    from monai.metrics import compute_dice

    return torch.as_tensor(compute_dice(predicted, true, include_background=True, ignore_empty=False)).flatten()
