"""Class labels as vectors."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["one_hot"]


def one_hot(labels: Tensor, classes: int) -> Tensor:
    """Labels `[b]` as `[b, classes]` float32.

    torch's own looks at the labels first, except on CUDA, and other devices then wait. Here a label that is no class is
    an error as well: on the CPU at once, on CUDA when the device comes to it.

    Raises:
        RuntimeError: a label that is no class.
    """
    return torch.zeros(labels.shape[0], classes, device=labels.device).scatter_(1, labels[:, None], 1.0)
