"""Where a network's bfloat16 forward ends and exact arithmetic begins."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["full_precision"]


def full_precision(x: Tensor) -> Tensor:
    """`x` in float32, or in float64 if it was."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
