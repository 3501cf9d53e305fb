"""CUDA's rules for operators: which operands CUDA refuses, and for which results the host waits."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from gansweep.testing.pretended_gpu.placement import CPU, GPU, tensors_in

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "Traits",
    "changes_cpu",
    "copies_cpu_index",
    "copy_direction",
    "misplaced",
    "stray_scalars",
    "traits_of",
    "waits",
]

aten = torch.ops.aten

_TAKES_ANY_DEVICES = {
    aten.copy_.default,
    aten._foreach_copy_.default,
    aten.set_.source_Tensor,
    aten.is_same_size.default,
}
_REFUSES_SCALARS = {
    aten.cat.default,
    aten.stack.default,
    aten.addmm.default,
    aten.mm.default,
    aten.bmm.default,
    aten._foreach_lerp_.List,
    aten._fused_adam_.default,
    aten._fused_adamw_.default,
}
"""Operators that also refuse a 0-dimensional operand on the CPU. Others accept it as a number."""

_WAITS = {
    "aten::_local_scalar_dense",
    "aten::nonzero",
    "aten::masked_select",
    "aten::equal",
    "aten::is_nonzero",
    "aten::_unique2",
    "aten::unique_dim",
    "aten::unique_consecutive",
    "aten::bincount",
    "aten::multinomial",
    "aten::repeat_interleave",
    "aten::linalg_cholesky_ex",
    "aten::_linalg_eigh",
    "aten::_linalg_svd",
}
"""Operators whose result, or its shape, the host needs to know."""

_NO_KERNEL = {
    "aten::_local_scalar_dense",
    "aten::_unsafe_view",
    "aten::detach",
    "aten::empty",
    "aten::empty_like",
    "aten::empty_strided",
    "aten::is_same_size",
    "aten::lift_fresh",
    "aten::new_empty",
    "aten::new_empty_strided",
    "aten::set_",
}


class Traits(NamedTuple):
    """What is known of an operator without its operands.

    Attributes:
        name: such as `aten::add`.
        kernel: it launches a kernel. Views and empty tensors do not.
        generator: it can be given a generator of random numbers.
        waits: the host needs to know its result, or the shape of it.
        indexes: it takes tensors as indices.
    """

    name: str
    kernel: bool
    generator: bool
    waits: bool
    indexes: bool


@cache
def traits_of(func: Any) -> Traits:
    """Returns the operator's traits. torch creates its name on each access, and hashing an operator takes long too."""
    name = str(func._schema.name)
    return Traits(
        name,
        kernel=not func.is_view and name not in _NO_KERNEL,
        generator=any(str(given.type) in {"Generator", "Optional[Generator]"} for given in func._schema.arguments),
        waits=name in _WAITS,
        indexes=name in {"aten::index", "aten::index_put", "aten::index_put_", "aten::_index_put_impl_"},
    )


def misplaced(func: Any, args: Sequence[Any], tensors: Sequence[Tensor], devices: Sequence[torch.device]) -> bool:
    """Returns whether CUDA refuses the operands because they are on two devices."""
    if CPU not in devices or GPU not in devices or func in _TAKES_ANY_DEVICES:
        return False
    if copies_cpu_index(func, args, tensors, devices):
        return False
    return any(
        device == CPU and (tensor.dim() > 0 or func in _REFUSES_SCALARS)
        for tensor, device in zip(tensors, devices, strict=True)
    )


def stray_scalars(func: Any, tensors: Sequence[Tensor], devices: Sequence[torch.device]) -> int:
    """Returns the number of 0-dimensional operands on the CPU together with operands on the GPU.

    CUDA accepts them as numbers, but a captured graph would repeat the numbers of the capture.
    """
    if GPU not in devices or func in _TAKES_ANY_DEVICES:
        return 0
    return sum(device == CPU and tensor.dim() == 0 for tensor, device in zip(tensors, devices, strict=True))


def copies_cpu_index(
    func: Any, args: Sequence[Any], tensors: Sequence[Tensor], devices: Sequence[torch.device]
) -> bool:
    """Returns whether a tensor on the GPU is indexed by one on the CPU, which CUDA copies while the host waits."""
    if CPU not in devices or not traits_of(func).indexes:
        return False
    indices = {id(index) for index in tensors_in(args[1])}
    places = list(zip(tensors, devices, strict=True))
    of_indices = [device for tensor, device in places if id(tensor) in indices]
    others = [device for tensor, device in places if id(tensor) not in indices and tensor.dim() > 0]
    return CPU in of_indices and CPU not in others


def waits(traits: Traits, args: Sequence[Any]) -> bool:
    """Returns whether the host waits for an operator on the GPU."""
    if traits.waits:
        return True
    # The number of true elements in a mask determines the shape of the result.
    return traits.indexes and any(index.dtype in {torch.bool, torch.uint8} for index in tensors_in(args[1]))


def copy_direction(func: Any, devices: Sequence[torch.device]) -> tuple[torch.device, torch.device] | None:
    """Returns source and target of an operator that copies between host and GPU, or None."""
    if func is not aten.copy_.default or devices[0] == devices[1]:
        return None
    return devices[1], devices[0]


def changes_cpu(func: Any, devices: Sequence[torch.device]) -> bool:
    """Returns whether the result is a tensor on the CPU that the operator overwrote."""
    return bool(devices) and devices[0] == CPU and func in _TAKES_ANY_DEVICES
