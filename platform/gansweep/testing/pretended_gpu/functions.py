"""Intercepts every torch call of Python code and removes the pretended GPU from its arguments."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import _disable_current_modes

from gansweep.testing.pretended_gpu.placement import CPU, GPU, tensors_in, wanted_device

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gansweep.testing.pretended_gpu.ledger import Ledger
    from gansweep.testing.pretended_gpu.placement import Placement

__all__ = ["Functions"]

_MOVES = {Tensor.to, Tensor.cuda, Tensor.cpu}
_ASKS: set[Any] = {Tensor.__array__, Tensor.get_device, Tensor.numpy, Tensor.tolist, functional.one_hot}
_NEW = {Tensor.new_tensor, Tensor.new_empty, Tensor.new_full, Tensor.new_ones, Tensor.new_zeros}
_FROM_HOST = {torch.tensor, torch.as_tensor}
_DEVICE = cast("Any", Tensor.device).__get__
_IS_CUDA = cast("Any", Tensor.is_cuda).__get__


class Functions(TorchFunctionMode):
    """Intercepts calls and getters before torch.

    Args:
        placement: device of each tensor.
        ledger: counters.
    """

    def __init__(self, placement: Placement, ledger: Ledger) -> None:
        super().__init__()
        self.placement = placement
        self.ledger = ledger
        self._running: torch.device | tuple[Any, Any] = CPU

    @property
    def pending(self) -> torch.device:
        """Device of the tensors that the running call creates: that of its arguments, unless it says another."""
        if not isinstance(self._running, torch.device):
            self._running = self._device_of(self._running)
        return self._running

    def _device_of(self, arguments: Any) -> torch.device:
        return GPU if GPU in self.placement.devices_of(tensors_in(arguments)) else CPU

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Answers queries of the device, moves tensors, and runs everything else on the CPU."""
        kwargs = kwargs or {}
        placement = self.placement
        if getattr(func, "__name__", "") == "__get__":
            return self._attribute(func, args)
        if func is Tensor.pin_memory:
            return args[0]
        if func in _MOVES:
            return self._moved(func, args, dict(kwargs))
        if func in _ASKS and placement.device_of(args[0]) == GPU:
            return self._asked(func, args, kwargs)
        if kwargs.get("device") is not None:
            return self._made(func, args, dict(kwargs))
        before = self._running
        # Most calls make nothing that needs to know, so its device is looked up when it is asked for.
        self._running = (args, kwargs)
        try:
            out = func(*args, **kwargs)
        finally:
            self._running = before
        if func in _NEW and self._device_of((args, kwargs)) == GPU:
            if func is Tensor.new_tensor:
                self.ledger.count_copy(CPU, GPU)
            placement.put_on_gpu(out)
        return out

    def _attribute(self, func: Any, args: Any) -> Any:
        if func == _DEVICE:
            return self.placement.device_of(args[0])
        if func == _IS_CUDA:
            return self.placement.device_of(args[0]) == GPU
        return func(*args)

    def _asked(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Handles calls that behave differently on CUDA."""
        if func is Tensor.get_device:
            return GPU.index
        if func is functional.one_hot:
            return self._one_hot(*args, **kwargs)
        if func is Tensor.tolist:
            self.ledger.count_copy(GPU, CPU)
        else:
            self.ledger.refuse(TypeError("can't convert cuda:0 device type tensor to numpy"))
        return func(*args, **kwargs)

    @contextmanager
    def making_on(self, device: torch.device) -> Iterator[None]:
        """Places tensors that torch creates inside the block, without an explicit device, on `device`."""
        before = self._running
        self._running = device
        try:
            yield
        finally:
            self._running = before

    def _made(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        """Handles a call that specifies the device of its result."""
        target = wanted_device(kwargs["device"])
        if target == GPU:
            kwargs["device"] = CPU
        with self.making_on(target):
            out = func(*args, **kwargs)
        if target != GPU:
            return out
        if func in _FROM_HOST and not any(self.placement.device_of(tensor) == GPU for tensor in tensors_in(args)):
            self.ledger.count_copy(CPU, GPU)
        return self.placement.put_on_gpu(out)

    def _one_hot(self, tensor: Tensor, num_classes: int = -1) -> Tensor:
        """Behaves as on CUDA, where the host reads the labels only if the number of classes is not given."""
        classes = int(tensor.max()) + 1 if num_classes == -1 else num_classes
        return tensor.new_zeros(*tensor.shape, classes).scatter_(-1, tensor[..., None], 1)

    def _moved(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        """Handles `to`, `cuda` and `cpu`."""
        tensor = args[0]
        here = self.placement.device_of(tensor)
        target, rest = self._target(func, args[1:], kwargs, here)
        waits = not kwargs.pop("non_blocking", False)
        if target == here:
            return tensor.to(*rest, **kwargs) if rest or kwargs else tensor
        self.ledger.count_copy(here, target, waits=waits, nbytes=tensor.nbytes)
        memory_format = kwargs.pop("memory_format", torch.preserve_format)
        kwargs.pop("copy", None)
        # Copied with all modes disabled and marked afterwards, so that autograd sees a clone.
        with _disable_current_modes():
            out = tensor.clone(memory_format=memory_format)
            if rest or kwargs:
                out = out.to(*rest, **kwargs)
            return self.placement.put_on_gpu(out) if target == GPU else out

    def _target(
        self, func: Any, arguments: Any, kwargs: dict[str, Any], here: torch.device
    ) -> tuple[torch.device, list[Any]]:
        """Returns the device a tensor moves to, and the other arguments. Removes the device from `kwargs`."""
        if func is not Tensor.to:
            return (GPU if func is Tensor.cuda else CPU), []
        target = here
        rest: list[Any] = []
        given = [*arguments, *(kwargs.pop(name) for name in ("device", "other") if kwargs.get(name) is not None)]
        for value in given:
            if isinstance(value, Tensor):
                target = self.placement.device_of(value)
                rest.append(value.dtype)
            elif isinstance(value, torch.dtype):
                rest.append(value)
            elif value is not None and not isinstance(value, bool):
                target = wanted_device(value)
        kwargs.pop("device", None)
        return target, rest
