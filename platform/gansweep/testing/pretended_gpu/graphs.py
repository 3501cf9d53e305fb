"""CUDA graphs on the pretended GPU. They record operators and run them again on the same storages."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from unittest import mock

import torch
from torch import Tensor
from torch.utils._python_dispatch import _disable_current_modes

from gansweep.testing.pretended_gpu.operators import traits_of
from gansweep.testing.pretended_gpu.placement import GPU, tensors_in

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gansweep.testing.pretended_gpu.ledger import Ledger
    from gansweep.testing.pretended_gpu.placement import Placement

__all__ = ["Graphs"]


@dataclass(frozen=True)
class _Call:
    """One recorded kernel.

    Args:
        func: the operator.
        args, kwargs: its arguments. Tensors are aliases of the storages during capture, and numbers are constants.
        results: for each result an alias of it, or None if it is one of the operands.
    """

    func: Any
    args: Any
    kwargs: Any
    results: list[Tensor | None]


class Graphs:
    """Records and replays CUDA graphs, and replaces the parts of `torch.cuda` that capture.

    As on a GPU, a capture computes nothing. At its end, changed tensors get their old numbers back, and new tensors
    have none until the first replay. A replay repeats the kernels on the same storages, with the Python numbers of the
    capture. It does not repeat work of the host.

    What CUDA refuses during a capture is refused: waits, copies between host and GPU, and generators that are not
    registered. Copies from pinned memory are refused too, because they are not distinguished, and so are collectives,
    because they are not recorded.

    Args:
        placement: device of each tensor.
        ledger: counters.
    """

    def __init__(self, placement: Placement, ledger: Ledger) -> None:
        self._placement = placement
        self._ledger = ledger
        self.recording: _Recording | None = None

    @property
    def capturing(self) -> bool:
        """Whether a graph is being captured."""
        return self.recording is not None

    def check_generator(self, name: str, generator: torch.Generator | None) -> None:
        """Refuses a generator that is not registered with the graph."""
        if self.recording is None or generator is None:
            return
        if not any(generator._cdata == known._cdata for known in self.recording.generators):  # type: ignore[attr-defined]
            self._ledger.refuse(
                RuntimeError(f"{name}: Attempt to increase offset for a CUDA generator not in capture mode.")
            )

    def run(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Runs an operator on the GPU, and records it during a capture."""
        return func(*args, **kwargs) if self.recording is None else self.recording.run(func, args, kwargs)

    def replacements(self) -> list[Any]:
        """Returns patches of `torch.cuda`, to be entered as context managers."""
        graphs = self

        class CUDAGraph:
            """Stands in for `torch.cuda.CUDAGraph`."""

            def __init__(self, keep_graph: bool = False) -> None:
                del keep_graph
                self._recording: _Recording | None = None
                self._generators: list[torch.Generator] = []

            def register_generator_state(self, generator: torch.Generator) -> None:
                self._generators.append(generator)

            def pool(self) -> object:
                return object()

            def capture_begin(self, pool: Any = None, capture_error_mode: str = "global") -> None:
                del pool, capture_error_mode
                self._recording = _Recording(graphs._placement, self._generators)
                graphs._begin(self._recording)

            def capture_end(self) -> None:
                graphs._end()

            def replay(self) -> None:
                if self._recording is None:
                    raise RuntimeError("Called CUDAGraph::replay without a preceding successful capture.")
                graphs._replay(self._recording)

            def reset(self) -> None:
                self._recording = None

        @contextmanager
        def graph(cuda_graph: CUDAGraph, **options: Any) -> Iterator[None]:
            del options
            self._ledger.count_wait("synchronize")
            cuda_graph.capture_begin()
            try:
                yield
            finally:
                cuda_graph.capture_end()

        cuda = torch.cuda
        return [
            mock.patch.object(cuda, "CUDAGraph", CUDAGraph),
            mock.patch.object(cuda, "graph", graph),
            mock.patch.object(cuda, "Stream", _Stream),
            mock.patch.object(cuda, "Event", _Event),
            mock.patch.object(cuda, "stream", lambda *_: nullcontext()),
            mock.patch.object(cuda, "current_stream", lambda *_: _Stream()),
            mock.patch.object(cuda, "synchronize", lambda *_: self._ledger.count_wait("synchronize")),
            mock.patch.object(cuda, "empty_cache", lambda: None),
            mock.patch.object(cuda, "graph_pool_handle", object),
            mock.patch.object(cuda, "is_current_stream_capturing", lambda: self.capturing),
        ]

    def _begin(self, recording: _Recording) -> None:
        assert self.recording is None, "a capture inside a capture"
        self.recording = recording
        self._ledger.capturing = True
        recording.begin()

    def _end(self) -> None:
        recording = self.recording
        assert recording is not None
        self.recording = None
        self._ledger.capturing = False
        recording.end()
        if self._ledger.refused_in_capture:
            self._ledger.refused_in_capture = False
            raise RuntimeError("CUDA error: operation failed due to a previous error during capture")

    def _replay(self, recording: _Recording) -> None:
        self._ledger.kernels["graph launch"] += 1
        self._ledger.replayed.update(recording.replay())


class _Recording:
    """The kernels of one graph."""

    def __init__(self, placement: Placement, generators: list[torch.Generator]) -> None:
        self.generators = generators
        self._placement = placement
        self._calls: list[_Call] = []
        self._made: dict[int, torch.UntypedStorage] = {}
        self._before: dict[int, tuple[torch.UntypedStorage, torch.UntypedStorage]] = {}
        self._random: list[tuple[torch.Generator, Tensor]] = []

    def begin(self) -> None:
        """Saves the states of generators, which a capture does not advance."""
        known = [torch.default_generator, *self.generators]
        self._random = [(generator, generator.get_state()) for generator in known]

    def run(self, func: Any, args: Any, kwargs: Any) -> Any:
        with torch._C.DisableTorchFunction(), torch.no_grad():
            fixed_args = self._fixed(args)
            fixed_kwargs = self._fixed(kwargs)
            operands = self._note(tensors_in((args, kwargs)))
        out = func(*args, **kwargs)
        with torch._C.DisableTorchFunction(), torch.no_grad():
            results: list[Tensor | None] = []
            for tensor in tensors_in(out):
                storage = tensor.untyped_storage()
                is_new = storage._cdata not in operands
                if is_new:
                    self._made[storage._cdata] = storage
                results.append(_alias(tensor) if is_new else None)
        if traits_of(func).kernel:
            self._calls.append(_Call(func, fixed_args, fixed_kwargs, results))
        return out

    def end(self) -> None:
        """Restores the numbers of tensors that existed before, and fills new tensors with NaN."""
        for storage, content in self._before.values():
            storage.copy_(content, non_blocking=False)
        with _beneath_everything():
            for storage in self._made.values():
                torch.empty(0, dtype=torch.uint8).set_(storage).fill_(0xFF)
        self._before = {}
        for generator, state in self._random:
            generator.set_state(state)

    def replay(self) -> list[str]:
        """Runs the kernels and returns their names."""
        with _beneath_everything():
            for call in self._calls:
                made = tensors_in(call.func(*call.args, **call.kwargs))
                for kept, tensor in zip(call.results, made, strict=True):
                    if kept is not None:
                        kept.copy_(tensor)
        return [str(call.func._schema.name) for call in self._calls]

    def _fixed(self, value: Any) -> Any:
        """Returns `value` with aliases of tensors on the GPU and copies of tensors on the CPU.

        If a tensor gets another storage later (`tensor.data = ...`), the graph keeps using the old one.
        """
        if isinstance(value, Tensor):
            return _alias(value) if self._placement.device_of(value) == GPU else value.detach().clone()
        if isinstance(value, dict):
            return {name: self._fixed(part) for name, part in value.items()}
        if type(value) in {list, tuple}:
            return type(value)(self._fixed(part) for part in value)
        return value

    def _note(self, operands: list[Tensor]) -> set[int]:
        """Saves the numbers of operands that existed before. Returns the keys of the storages of all operands."""
        keys = set()
        for tensor in operands:
            storage = tensor.untyped_storage()
            key = storage._cdata
            keys.add(key)
            if key not in self._made and key not in self._before and self._placement.device_of(tensor) == GPU:
                self._before[key] = (storage, storage.clone())
        return keys


class _Stream:
    """Stands in for `torch.cuda.Stream`. Everything runs at once and in order."""

    def __init__(self, device: Any = None, priority: int = 0) -> None: ...

    def wait_stream(self, _stream: Any) -> None: ...

    def synchronize(self) -> None: ...


class _Event:
    """Stands in for `torch.cuda.Event`."""

    def __init__(self, **_options: bool) -> None: ...

    def record(self, _stream: Any = None) -> None: ...

    def synchronize(self) -> None: ...


@contextmanager
def _beneath_everything() -> Iterator[None]:
    """Runs operators as kernels, without modes, autograd or autocast."""
    with (
        _disable_current_modes(),
        torch._C.DisableTorchFunction(),
        torch.no_grad(),
        torch._C._AutoDispatchBelowAutograd(),
        torch._C._DisableAutocast(),
    ):
        yield


def _alias(tensor: Tensor) -> Tensor:
    """Another tensor at the same place in memory. The pretended GPU does not see this, for it runs the operator."""
    place = tensor.untyped_storage(), tensor.storage_offset(), tensor.size(), tensor.stride()
    return torch.empty(0, dtype=tensor.dtype).set_(*place)
