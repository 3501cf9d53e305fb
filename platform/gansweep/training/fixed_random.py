"""Random numbers in tensors that are the same in every update, as a CUDA graph requires."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from gansweep.contracts import StepRandom

__all__ = ["FixedRandom", "OtherDrawsError"]


class OtherDrawsError(Exception):
    """Raised by an update that asks for other random numbers than the first one."""


class FixedRandom:
    """A `StepRandom` that returns the same tensors in every update, with other numbers.

    The numbers are drawn before the graph runs, so that no generator is part of it. They equal an eager update's.

    Args:
        draws: source of the first update's numbers.
    """

    def __init__(self, draws: StepRandom) -> None:
        self._source = draws
        self._drawn: list[tuple[str, tuple[int, ...], Tensor]] = []
        self._originals: list[Tensor] = []
        self._next = 0

    def normal(self, *shape: int) -> Tensor:
        """As `StepRandom.normal`."""
        return self._take("normal", shape)

    def uniform(self, *shape: int) -> Tensor:
        """As `StepRandom.uniform`."""
        return self._take("uniform", shape)

    def integers(self, high: int, *shape: int) -> Tensor:
        """As `StepRandom.integers`."""
        return self._take("integers", (high, *shape))

    def refill(self, source: StepRandom) -> None:
        """Draws the numbers of another update, in the order of the first one."""
        for kind, arguments, tensor in self._drawn:
            tensor.copy_(getattr(source, kind)(*arguments))

    def restart(self) -> None:
        """Restores the numbers of the first update, and starts with the first of them."""
        for (_, _, tensor), original in zip(self._drawn, self._originals, strict=True):
            tensor.copy_(original)
        self._next = 0

    def _take(self, kind: str, arguments: tuple[int, ...]) -> Tensor:
        if self._next == len(self._drawn):
            original = getattr(self._source, kind)(*arguments)
            self._originals.append(original)
            self._drawn.append((kind, arguments, original.clone()))
        known, wanted, tensor = self._drawn[self._next]
        if (known, wanted) != (kind, arguments):
            raise OtherDrawsError(f"{kind}{arguments} instead of {known}{wanted}")
        self._next += 1
        return tensor
