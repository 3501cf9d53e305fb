"""Class labels as vectors."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["one_hot"]


def one_hot(labels: Tensor, classes: int) -> Tensor:
    """Converts labels `[b]` to one-hot vectors `[b, classes]` float32.

    torch's own function reads the labels first, except on CUDA, so that other devices wait. Here, too, a label that is
    not a class is an error: on the CPU immediately, on CUDA when the device executes the operation.

    Raises:
        RuntimeError: a label is not a class.
    """
    return torch.zeros(labels.shape[0], classes, device=labels.device).scatter_(1, labels[:, None], 1.0)
