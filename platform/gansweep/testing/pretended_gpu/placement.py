"""Device of each tensor. A mark on its storage says that it is on the pretended GPU."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["CPU", "GPU", "Placement", "tensors_in", "wanted_device"]

GPU = torch.device("cuda", 0)
CPU = torch.device("cpu")

_SWEEP_AT = 20_000
"""Number of marks at which those of freed storages are removed."""

_TENSORS = frozenset({Tensor, torch.nn.Parameter})
_SEQUENCES = (list, tuple)
_WITHOUT_TENSORS = frozenset({bool, float, int, str, torch.Size, torch.device, torch.dtype, type(None)})


class Placement:
    """The storages on the pretended GPU. A view shares the storage of its tensor, and so its device."""

    def __init__(self) -> None:
        # A weak reference prevents the address of a freed storage from being reused: the storage of a tensor that
        # exists has a mark of its own, or none.
        self._marked: dict[int, StorageWeakRef] = {}

    def device_of(self, tensor: Tensor) -> torch.device:
        """Returns `GPU` or `CPU`."""
        return self.devices_of([tensor])[0]

    def devices_of(self, tensors: Sequence[Tensor]) -> list[torch.device]:
        """Returns `GPU` or `CPU` for each tensor."""
        with torch._C.DisableTorchFunction():
            return [GPU if _key(tensor) in self._marked else CPU for tensor in tensors]

    def put_on_gpu(self, value: Any) -> Any:
        """Marks all tensors in `value` as being on the GPU and returns it."""
        with torch._C.DisableTorchFunction():
            for tensor in tensors_in(value):
                storage = _unwrapped(tensor).untyped_storage()
                if storage._cdata not in self._marked:
                    self._marked[storage._cdata] = StorageWeakRef(storage)
        if len(self._marked) > _SWEEP_AT:
            self._marked = {key: reference for key, reference in self._marked.items() if not reference.expired()}
        return value


def _key(tensor: Tensor) -> int | None:
    try:
        return int(_unwrapped(tensor).untyped_storage()._cdata)
    except (RuntimeError, NotImplementedError):  # a tensor without a storage
        return None


def _unwrapped(tensor: Tensor) -> Tensor:
    while torch._C._functorch.is_functorch_wrapped_tensor(tensor):  # inside vmap
        tensor = torch._C._functorch.get_unwrapped(tensor)
    return tensor


def tensors_in(value: Any) -> list[Tensor]:
    """Returns the tensors in nested lists, tuples and dictionaries."""
    found: list[Tensor] = []
    _gather(value, found)
    return found


def _gather(value: Any, found: list[Tensor]) -> None:
    # By type first: `isinstance` is slow for tensors, and this runs for every operator.
    if type(value) in _TENSORS or isinstance(value, Tensor):
        found.append(value)
        return
    if isinstance(value, dict):
        value = value.values()
    elif not isinstance(value, _SEQUENCES):
        return
    for part in value:
        kind = type(part)
        if kind in _TENSORS:
            found.append(part)
        elif kind not in _WITHOUT_TENSORS:
            _gather(part, found)


def wanted_device(device: Any) -> torch.device:
    """Returns the device that an argument specifies. Any CUDA device, or a number alone, is the pretended GPU."""
    if isinstance(device, int):
        return GPU
    named = torch.device(device)
    return GPU if named.type == "cuda" else named
