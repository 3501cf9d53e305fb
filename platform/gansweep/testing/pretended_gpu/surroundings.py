"""Generators, autocast, gradients and process groups, replaced for the pretended GPU."""

from __future__ import annotations

from contextlib import nullcontext
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, ClassVar, cast
from unittest import mock

import torch
import torch.distributed as dist

from gansweep.testing.pretended_gpu.placement import CPU, GPU, tensors_in, wanted_device

if TYPE_CHECKING:
    from collections.abc import Callable

    from gansweep.testing.pretended_gpu.functions import Functions

__all__ = ["NoBackend", "generator_device", "generator_in", "replacements"]

_RealGenerator = torch.Generator
_COLLECTIVES = (
    "all_gather",
    "all_gather_into_tensor",
    "all_reduce",
    "all_to_all",
    "all_to_all_single",
    "broadcast",
    "gather",
    "irecv",
    "isend",
    "recv",
    "reduce",
    "reduce_scatter",
    "reduce_scatter_tensor",
    "scatter",
    "send",
)
_MEMORY = 80 * 2**30  # bytes, all of them free
_PROPERTIES = SimpleNamespace(name="pretended GPU", total_memory=_MEMORY, major=8, minor=0, multi_processor_count=108)
_PEAK = 3 * 2**29  # bytes that any training has allocated at most
_OF_OBJECTS = ("all_gather_object", "broadcast_object_list")


class NoBackend(RuntimeError):  # noqa: N818 (named after what torch says)
    """Raised for operations that NCCL refuses."""


class _Generator(_RealGenerator):
    """CPU generator that reports the GPU as its device. Below Python it loses its class, but not its address."""

    devices: ClassVar[dict[int, torch.device]] = {}
    _cdata: int

    def __new__(cls, device: Any = "cpu") -> _Generator:
        self = super().__new__(cls)
        cls.devices[self._cdata] = wanted_device(device)
        return self

    def __init__(self, device: Any = "cpu") -> None: ...

    def __del__(self) -> None:
        self.devices.pop(self._cdata, None)

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return self.devices[self._cdata]


def generator_in(args: Any, kwargs: dict[str, Any]) -> torch.Generator | None:
    """Returns the generator among the arguments of an operator."""
    found = kwargs.get("generator") or next((arg for arg in args if isinstance(arg, _RealGenerator)), None)
    return found if isinstance(found, _RealGenerator) else None


def generator_device(generator: torch.Generator) -> torch.device:
    """Returns `GPU` or `CPU`."""
    return _Generator.devices.get(cast("_Generator", generator)._cdata, CPU)


def replacements(functions: Functions, group: str) -> list[Any]:
    """Returns patches of torch, to be entered as context managers.

    Args:
        functions: functions of the pretended GPU.
        group: name of the process group's backend.
    """
    enabled = torch.is_autocast_enabled
    dtype = torch.get_autocast_dtype

    class Autocast(torch.autocast):
        def __init__(self, _device_type: str, *args: Any, **kwargs: Any) -> None:
            super().__init__("cpu", *args, **kwargs)

    patches: list[Any] = [
        mock.patch.object(torch, "Generator", _Generator),
        mock.patch.object(torch, "autocast", Autocast),
        mock.patch.object(torch, "is_autocast_enabled", lambda *_: enabled("cpu")),
        mock.patch.object(torch, "get_autocast_dtype", lambda *_: dtype("cpu")),
        mock.patch.object(torch.cuda, "init", lambda: None),
        mock.patch.object(torch.cuda, "is_available", lambda: True),
        mock.patch.object(torch.cuda, "device_count", lambda: 1),
        mock.patch.object(torch.cuda, "current_device", lambda: GPU.index),
        mock.patch.object(torch.cuda, "get_device_capability", lambda *_: (_PROPERTIES.major, _PROPERTIES.minor)),
        mock.patch.object(torch.cuda, "get_device_name", lambda *_: _PROPERTIES.name),
        mock.patch.object(torch.cuda, "get_device_properties", lambda *_: _PROPERTIES),
        mock.patch.object(torch.cuda, "get_arch_list", lambda: ["sm_80"]),
        mock.patch.object(torch.cuda, "mem_get_info", lambda *_: (_MEMORY, _MEMORY)),
        mock.patch.object(torch.cuda, "max_memory_allocated", lambda *_: _PEAK),
        mock.patch.object(torch.cuda, "reset_peak_memory_stats", lambda *_: None),
        mock.patch.object(torch.cuda, "get_rng_state", lambda *_: torch.zeros(1, dtype=torch.uint8)),
        mock.patch.object(torch.cuda, "set_rng_state", lambda *_: None),
        mock.patch.object(torch.cuda, "manual_seed", lambda *_: None),
        mock.patch.object(torch.cuda, "device", lambda *_: nullcontext()),
        mock.patch.object(torch.autograd, "has_torch_function", lambda *_: False),
        mock.patch.object(torch.autograd, "_engine_run_backward", _backward(functions)),
    ]
    if dist.is_available():
        patches.append(mock.patch.object(dist, "get_backend", lambda *_: group))
        changed = {name: _collective(functions, name, group) for name in _COLLECTIVES}
        changed |= {name: _of_objects(functions, name, group) for name in _OF_OBJECTS}
        patches += [mock.patch.object(dist, name, replacement) for name, replacement in changed.items()]
    return patches


def _backward(functions: Functions) -> Callable[..., Any]:
    real: Callable[..., Any] = vars(torch.autograd)["_engine_run_backward"]

    def run(outputs: Any, *args: Any, **kwargs: Any) -> Any:
        # Zeros that autograd makes for unused inputs are on the device of the outputs.
        with functions.making_on(functions.placement.device_of(next(iter(outputs)))):
            return real(outputs, *args, **kwargs)

    return run


def _collective(functions: Functions, name: str, group: str) -> Callable[..., Any]:
    real: Callable[..., Any] = getattr(dist, name)

    def run(*args: Any, **kwargs: Any) -> Any:
        for tensor in tensors_in((args, kwargs)):
            device = functions.placement.device_of(tensor)
            what = f"{name} of a tensor {tuple(tensor.shape)}"
            if device == CPU and "cpu:" not in group:
                functions.ledger.refuse(NoBackend(f"{what}: No backend type associated with device type cpu"))
            formats = (torch.contiguous_format, torch.channels_last)
            if device == GPU and not any(_laid_out(tensor, kind) for kind in formats):
                functions.ledger.refuse(NoBackend(f"{what}: Tensors must be contiguous"))
        functions.ledger.count_collective(name)
        return real(*args, **kwargs)

    return run


def _of_objects(functions: Functions, name: str, group: str) -> Callable[..., Any]:
    real: Callable[..., Any] = getattr(dist, name)

    def run(*args: Any, device: Any = None, **kwargs: Any) -> Any:
        if device is not None and wanted_device(device) == CPU and "cpu:" not in group:
            functions.ledger.refuse(NoBackend(f"{name} on the CPU: No backend type associated with device type cpu"))
        functions.ledger.count_collective(name)
        return real(*args, **kwargs)

    return run


def _laid_out(tensor: torch.Tensor, memory_format: torch.memory_format) -> bool:
    return (memory_format != torch.channels_last or tensor.dim() == 4) and tensor.is_contiguous(
        memory_format=memory_format
    )
