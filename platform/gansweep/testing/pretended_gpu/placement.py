"""Device of each tensor. A mark on its storage says that it is on the pretended GPU."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef

__all__ = ["CPU", "GPU", "Placement", "tensors_in", "wanted_device"]

GPU = torch.device("cuda", 0)
CPU = torch.device("cpu")

_SWEEP_AT = 20_000
"""Number of marks at which those of freed storages are removed."""


class Placement:
    """The storages on the pretended GPU. A view shares the storage of its tensor, and so its device."""

    def __init__(self) -> None:
        # A weak reference prevents the address of a freed storage from being reused.
        self._marked: dict[int, StorageWeakRef] = {}

    def device_of(self, tensor: Tensor) -> torch.device:
        """Returns `GPU` or `CPU`."""
        with torch._C.DisableTorchFunction():
            while torch._C._functorch.is_functorch_wrapped_tensor(tensor):  # inside vmap
                tensor = torch._C._functorch.get_unwrapped(tensor)
            try:
                key = tensor.untyped_storage()._cdata
            except (RuntimeError, NotImplementedError):  # a tensor without a storage
                return CPU
        reference = self._marked.get(key)
        if reference is None:
            return CPU
        if reference.expired():
            del self._marked[key]
            return CPU
        return GPU

    def put_on_gpu(self, value: Any) -> Any:
        """Marks all tensors in `value` as being on the GPU and returns it."""
        with torch._C.DisableTorchFunction():
            for tensor in tensors_in(value):
                while torch._C._functorch.is_functorch_wrapped_tensor(tensor):
                    tensor = torch._C._functorch.get_unwrapped(tensor)
                storage = tensor.untyped_storage()
                self._marked[storage._cdata] = StorageWeakRef(storage)
        if len(self._marked) > _SWEEP_AT:
            self._marked = {key: reference for key, reference in self._marked.items() if not reference.expired()}
        return value


def tensors_in(value: Any) -> list[Tensor]:
    """Returns the tensors in nested lists, tuples and dictionaries."""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, dict):
        value = value.values()
    elif not isinstance(value, list | tuple):
        return []
    return [tensor for part in value for tensor in tensors_in(part)]


def wanted_device(device: Any) -> torch.device:
    """Returns the device that an argument specifies. Any CUDA device, or a number alone, is the pretended GPU."""
    if isinstance(device, int):
        return GPU
    named = torch.device(device)
    return GPU if named.type == "cuda" else named
