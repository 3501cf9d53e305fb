"""What a device does, whichever it is: how it says that it is full."""

from __future__ import annotations

import torch

__all__ = ["out_of_memory"]

_FULL = ("out of memory", "can't allocate memory", "not enough memory", "cannot allocate memory")
"""What the allocators of CUDA and of the CPU say."""


def out_of_memory(error: BaseException) -> bool:
    """Whether `error` says that a device is full.

    TorchScript raises whatever fails inside a network as an error of its own, so the message counts as well.
    """
    if isinstance(error, torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError | torch.jit.Error) and any(words in str(error).lower() for words in _FULL)
