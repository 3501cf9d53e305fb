"""The pretended GPU. It accepts `cuda`, refuses what CUDA refuses, and counts kernels, copies and waits."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from gansweep.testing.pretended_gpu import operators
from gansweep.testing.pretended_gpu.functions import Functions
from gansweep.testing.pretended_gpu.graphs import Graphs
from gansweep.testing.pretended_gpu.ledger import Ledger
from gansweep.testing.pretended_gpu.placement import CPU, GPU, Placement, tensors_in
from gansweep.testing.pretended_gpu.surroundings import NoBackend, generator_device, generator_in, replacements

if TYPE_CHECKING:
    from collections import Counter

__all__ = ["CPU", "GPU", "DeviceMismatch", "NoBackend", "PretendedGpu"]


_LIFTED = torch.ops.aten.lift_fresh.default


class DeviceMismatch(RuntimeError):  # noqa: N818 (named after what torch says)
    """Raised if operands or a generator are on another device, where CUDA raises a RuntimeError."""


class PretendedGpu(TorchDispatchMode):
    """Runs code for `torch.device("cuda")` on a CPU build of torch, with real numbers.

    A mark on a tensor's storage says that it is on the GPU. `Functions` intercepts every torch call of Python code,
    removes "cuda" from the arguments and marks new tensors. This mode intercepts every operator below autograd, also in
    backward passes and optimisers, and refuses what CUDA refuses. Process groups refuse what NCCL refuses. The CPU
    computes all numbers, so correct code gives the same bits as on the CPU. `torch.cuda.graph` captures and replays.

    It does not simulate what cuDNN or NCCL compute, nor branches that query `torch.cuda`. In a TorchScript network, new
    tensors are on the CPU.

        with PretendedGpu() as gpu:
            train(config, gan, data, reporter, score, reports=1, device=GPU)
        print(gpu.kernels.total(), gpu.waits)

    Args:
        group: backend of the process group, if any: NCCL alone, or Ray's backend for GPU workers.

    Attributes:
        kernels: operators on the GPU that the host launched, by name, without views. `graph launch` is one launch of
            all kernels of a CUDA graph.
        replayed: kernels that CUDA graphs launched, by name.
        copies: copies between host and GPU, by direction and place in the code.
        waits: operations for which the host waited for the GPU, by kind and place.
        strays: 0-dimensional CPU operands together with GPU operands, by operator and place.
        collectives: calls of `torch.distributed`, by name.

    Raises:
        DeviceMismatch: operands or a generator are on another device.
        NoBackend: the group does not support the tensors of a collective operation.
        TypeError: a tensor on the GPU is used as a NumPy array.
    """

    def __init__(self, group: Literal["nccl", "cpu:gloo,cuda:nccl"] = "nccl") -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.placement = Placement()
        self._ledger = Ledger()
        self.kernels = self._ledger.kernels
        self.replayed = self._ledger.replayed
        self.copies = self._ledger.copies
        self.waits = self._ledger.waits
        self.strays = self._ledger.strays
        self.collectives = self._ledger.collectives
        self._functions = Functions(self.placement, self._ledger)
        self._graphs = Graphs(self.placement, self._ledger)
        self._group = group
        self._stack = ExitStack()

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Leaves out torch's wrapper of every operator, for nothing is compiled here."""
        return False

    def __enter__(self) -> PretendedGpu:
        """Activates the GPU for this thread."""
        for patch in (*replacements(self._functions, self._group), *self._graphs.replacements()):
            self._stack.enter_context(patch)
        self._stack.enter_context(self._functions)
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *details: object) -> None:
        """Deactivates the GPU. Its tensors are then on the CPU."""
        super().__exit__(*details)  # type: ignore[no-untyped-call]
        self._stack.close()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Refuses or counts an operator, runs it, and marks its results."""
        kwargs = kwargs or {}
        tensors = tensors_in((args, kwargs))
        devices = self.placement.devices_of(tensors)
        traits = operators.traits_of(func)
        if operators.misplaced(func, args, tensors, devices):
            found = ", ".join(f"{tuple(t.shape)} on {d.type}" for t, d in zip(tensors, devices, strict=True))
            self._ledger.refuse(
                DeviceMismatch(f"{traits.name}: Expected all tensors to be on the same device, but found {found}")
            )
        # An operator without tensors, or a number that C++ wraps, gives a tensor on the device of the call.
        fresh = not tensors or func is _LIFTED
        target = GPU if GPU in devices or (fresh and self._functions.pending == GPU) else CPU
        generator = generator_in(args, kwargs) if traits.generator else None
        if generator is not None and generator_device(generator) != target:
            there = generator_device(generator).type
            said = f"Expected a '{target.type}' device type for generator but found '{there}'"
            self._ledger.refuse(DeviceMismatch(f"{traits.name}: {said}"))
        if target == GPU:
            self._graphs.check_generator(traits.name, generator)
            self._count(func, args, tensors, devices)
        out = self._graphs.run(func, args, kwargs) if target == GPU else func(*args, **kwargs)
        if target == GPU and traits.name != "aten::_local_scalar_dense" and not operators.changes_cpu(func, devices):
            self.placement.put_on_gpu(out)
        return out

    @property
    def largest_copy(self) -> int:
        """Size in bytes of the largest tensor that `to` or `cuda` has sent to the GPU."""
        return self._ledger.largest_copy

    def round_trips(self) -> Counter[str]:
        """Returns waits, copies and stray scalars together: all that stops the host from running ahead of the GPU."""
        return self.waits + self.copies + self.strays

    def _count(self, func: Any, args: Any, tensors: list[torch.Tensor], devices: list[torch.device]) -> None:
        traits = operators.traits_of(func)
        if operators.waits(traits, args):
            self._ledger.count_wait(traits.name)
        if CPU in devices:
            self._count_mixed(func, args, tensors, devices)
        if traits.kernel and not self._graphs.capturing:
            self.kernels[traits.name] += 1

    def _count_mixed(self, func: Any, args: Any, tensors: list[torch.Tensor], devices: list[torch.device]) -> None:
        """Counts what an operator with operands on both devices costs."""
        if operators.copies_cpu_index(func, args, tensors, devices):
            self._ledger.count_copy(CPU, GPU)
            self._ledger.count_wait("index on the CPU")
        if strays := operators.stray_scalars(func, tensors, devices):
            self._ledger.count_strays(operators.traits_of(func).name, strays)
        if direction := operators.copy_direction(func, devices):
            self._ledger.count_copy(*direction)
