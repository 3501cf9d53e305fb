"""Counters of the pretended GPU: kernels, copies and waits, by the place in the code that causes them."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from gansweep.testing.pretended_gpu.placement import GPU

if TYPE_CHECKING:
    from types import FrameType

    import torch

__all__ = ["Ledger"]

_HERE = str(Path(__file__).parent)
_LIBRARIES = ("site-packages", "<", "contextlib.py", "unittest", "functools.py")


class Ledger:
    """Counters of `PretendedGpu`, which documents them."""

    def __init__(self) -> None:
        self.kernels: Counter[str] = Counter()
        self.replayed: Counter[str] = Counter()
        self.copies: Counter[str] = Counter()
        self.waits: Counter[str] = Counter()
        self.strays: Counter[str] = Counter()
        self.collectives: Counter[str] = Counter()
        self.largest_copy = 0
        self.capturing = False
        """Whether a CUDA graph is being captured. What it cannot contain is then refused."""
        self.refused_in_capture = False

    def refuse(self, error: Exception) -> None:
        """Raises `error` with the place in the code that causes it."""
        self.refused_in_capture = self.capturing
        raise type(error)(f"{_place()}: {error}")

    def count_wait(self, what: str) -> None:
        """Counts a wait of the host."""
        self._not_while_capturing(what)
        self.waits[f"{what} at {_place()}"] += 1

    def count_strays(self, name: str, number: int) -> None:
        """Counts numbers on the CPU among the operands of an operator."""
        self.strays[f"number on the CPU in {name} at {_place()}"] += number

    def count_copy(self, source: torch.device, target: torch.device, *, waits: bool = True, nbytes: int = 0) -> None:
        """Counts a copy. The host waits for a copy from the GPU, unless `waits` is False (`non_blocking`)."""
        self._not_while_capturing(f"copy to {target.type}")
        if target == GPU:
            self.largest_copy = max(self.largest_copy, nbytes)
        self.copies[f"copy to {target.type} at {_place()}"] += 1
        if source == GPU and waits:
            self.waits[f"copy to {target.type} at {_place()}"] += 1

    def count_collective(self, name: str) -> None:
        """Counts a call of `torch.distributed`. The host waits if it transfers objects."""
        self._not_while_capturing(name)
        self.collectives[name] += 1
        if "object" in name:
            self.waits[f"{name} at {_place()}"] += 1

    def _not_while_capturing(self, what: str) -> None:
        if self.capturing:
            self.refuse(RuntimeError(f"{what}: CUDA error: operation not permitted when stream is capturing"))


def _place() -> str:
    """Returns file and line of the innermost code that is neither in a library nor in this package."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        path = frame.f_code.co_filename
        if not path.startswith(_HERE) and not any(part in path for part in _LIBRARIES):
            return f"{Path(path).name}:{frame.f_lineno}"
        frame = frame.f_back
    return "?"
