"""The end of a network's bfloat16 forward pass."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["full_precision"]


def full_precision(x: Tensor) -> Tensor:
    """`x` in float32; float64 stays float64."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
