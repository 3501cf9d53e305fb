"""What the phases report, added up on the device, and the judgement whether the trial still lives."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from gansweep.contracts import Condition, Gan, Sampler, Scalars
from gansweep.errors import Diverged

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gansweep.training.world import World

__all__ = ["CHECK_EVERY", "Watch", "check_samples"]

CHECK_EVERY = 100
"""Iterations between two checks. Each waits for the device once; nothing else in the loop does."""
SILENT_FOR = 200
"""Iterations at whose both ends, and at each check between, a phase had no gradient at all: it is dead."""
DEAD_SPREAD = 1e-6
"""Relative spread of the critic's scores that float32 arithmetic can no longer tell from none."""
COLLAPSED_STD = 1e-3
"""Standard deviation between samples of one class, in [-1, 1] image units, below which there is one sample."""


class Watch:
    """Running means of the losses since the last report.

    Every check adds up over all workers first, so that all come to the same decision.

    Args:
        world: the trial's workers.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._sums: dict[str, Tensor] = {}  # since the last check, on the device
        self._counts: dict[str, int] = {}
        self._totals: dict[str, list[float]] = {}  # since the last report: sum and count
        self._silent_since: dict[str, int] = {}  # phase -> iteration of the first check without a gradient
        self._norms: dict[str, Tensor] = {}

    def add(self, phase: str, loss: Tensor, scalars: Scalars) -> None:
        """Takes in one update's loss and log, without waiting for the device."""
        for name, value in {f"{phase}_loss": loss, **scalars}.items():
            value = value.detach()
            seen = self._sums.get(name)
            self._sums[name] = value.double() if seen is None else seen.add_(value)
            self._counts[name] = self._counts.get(name, 0) + 1

    def add_gradients(self, phase: str, gradients: Sequence[Tensor | None]) -> None:
        """Takes in the gradients of one update; called in the iterations that end with a check."""
        norm = _total_norm([gradient for gradient in gradients if gradient is not None])
        self._norms[phase] = self._norms[phase] + norm if phase in self._norms else norm

    def check(self, gan: Gan, iteration: int) -> None:
        """Reads the sums.

        Raises:
            Diverged: a loss or a weight is not finite, the critic answers everything alike, or a phase has had no
                gradient for long.
        """
        values = self._read(gan)
        self._refuse_non_finite(values, iteration)
        for name, count in self._counts.items():
            total = self._totals.setdefault(name, [0.0, 0.0])
            total[0] += values[f"sum {name}"]
            total[1] += count
        spread = values.get("sum critic_spread", math.inf) / self._counts.get("critic_spread", 1)
        if spread < DEAD_SPREAD:
            raise Diverged(f"dead critic at iteration {iteration}: it scores every image alike (spread {spread:.1e})")
        self._refuse_silence(values, iteration)
        self._sums, self._counts, self._norms = {}, {}, {}

    def means(self) -> dict[str, float]:
        """Means since the last report; `check` must come first."""
        return {name: total / count for name, (total, count) in self._totals.items()}

    def reported(self) -> None:
        """Starts anew."""
        self._totals = {}

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps, taken right after a check."""
        return {"totals": self._totals, "silent_since": self._silent_since}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Takes back `state()`."""
        self._totals = {name: list(total) for name, total in state["totals"].items()}
        self._silent_since = dict(state["silent_since"])

    def _read(self, gan: Gan) -> dict[str, float]:
        """All numbers, averaged over workers, in one transfer."""
        numbers = {f"sum {name}": value for name, value in self._sums.items()}
        numbers |= {f"gradient {phase}": norm for phase, norm in self._norms.items()}
        numbers |= {f"weights {name}": _total_norm(list(net.parameters())) for name, net in gan.networks.items()}
        flat = self._world.mean(torch.stack([value.detach().double() for value in numbers.values()]))
        return dict(zip(numbers, flat.tolist(), strict=True))

    def _refuse_non_finite(self, values: Mapping[str, float], iteration: int) -> None:
        for name, value in values.items():
            if not math.isfinite(value):
                what = {"sum": "loss", "gradient": "gradient of", "weights": "weights of"}[name.split(" ")[0]]
                raise Diverged(f"non-finite {what} {name.split(' ', 1)[1]} by iteration {iteration}")

    def _refuse_silence(self, values: Mapping[str, float], iteration: int) -> None:
        for phase in self._norms:
            if values[f"gradient {phase}"] > 0.0:
                self._silent_since.pop(phase, None)
                continue
            since = self._silent_since.setdefault(phase, iteration)
            if iteration - since >= SILENT_FOR:
                raise Diverged(f"dead {phase}: no gradient from iteration {since} to {iteration}")


def check_samples(sampler: Sampler, classes: int, world: World, iteration: int, each: int = 16) -> None:
    """Looks at a few samples.

    Args:
        sampler: draws them.
        classes: how many classes there are; the spread is taken within each.
        world: the trial's workers.
        iteration: for the message.
        each: samples per class.

    Raises:
        Diverged: samples are not finite, or those of one class are all the same image.
    """
    images = sampler(Condition(torch.arange(classes).repeat_interleave(each)), iteration)
    # Averaged over pixels and then over classes: one class that collapsed is a bad trial, which scores will tell.
    spread = images.unflatten(0, (classes, each)).std(dim=1).mean().double()
    mean_spread = float(world.mean(spread))
    if not math.isfinite(mean_spread):
        raise Diverged(f"non-finite samples at iteration {iteration}")
    if mean_spread < COLLAPSED_STD:
        raise Diverged(f"collapsed samples at iteration {iteration}: standard deviation {mean_spread:.1e} in a class")


def _total_norm(tensors: list[Tensor]) -> Tensor:
    """The 2-norm over all `tensors`; not finite as soon as one element is."""
    if not tensors:
        return torch.zeros(())
    return torch.nn.utils.get_total_norm([tensor.detach() for tensor in tensors])
