"""Class labels as vectors."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["one_hot"]


def one_hot(labels: Tensor, classes: int) -> Tensor:
    """Labels `[b]` as `[b, classes]` float32.

    torch's own looks at the labels first, except on CUDA, and other devices then wait.
    """
    return (labels[:, None] == torch.arange(classes, device=labels.device)).float()
