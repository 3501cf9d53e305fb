"""Runs the updates of a training: eagerly, or as CUDA graphs that were captured from the eager code.

A graph repeats kernels on the memory, and with the numbers, of its capture. Images and random numbers are therefore
copied into the same tensors for every update, and what depends on the step lies in buffers (`contracts.Scheduled`).
Whether that holds for a family is not taken on trust: before a graph is used, its results are compared with those of
the eager code, from the same state, for the step at hand and for another one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import torch

from gansweep.contracts import Scheduled
from gansweep.devices import out_of_memory
from gansweep.errors import ConfigError
from gansweep.training.fixed_random import FixedRandom, OtherDrawsError

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence

    from torch import Tensor

    from gansweep.config import TrialConfig
    from gansweep.contracts import Batch, Gan, Phase
    from gansweep.distributed import World

__all__ = ["TOLERANCE", "Execution", "Update", "UpdateFunction", "why_eager"]

TOLERANCE = {"float32": 1e-3, "tf32": 1e-3, "bfloat16": 3e-2}
"""Largest difference between a captured and an eager update, relative to the 2-norm of what the update computes: of a
loss, of a network's gradients, or of a change of its weights. Not 0, because some kernels add in any order."""
CHANGE = 10
"""How many times `TOLERANCE` a change of weights may differ: Adam's first steps have the size of the learning rate even
where a gradient is a rounding error."""


@dataclass(frozen=True)
class Update:
    """What an update leaves behind, on the device. The next captured update overwrites it.

    Args:
        loss: 0-dimensional float64.
        scalars: what else the family logs, by name, likewise.
        gradients: one for each parameter of the phase's networks; None where the loss does not reach it.
    """

    loss: Tensor
    scalars: Mapping[str, Tensor]
    gradients: Sequence[Tensor | None]


class UpdateFunction(Protocol):
    """One update of a phase's networks, written for eager execution."""

    def __call__(self, phase: Phase, batch: Batch, step: int) -> Update:
        """Computes the loss at generator iteration `step` and takes the optimisers' steps."""


def why_eager(execution: str, device: torch.device, world: World) -> str:
    """Why a training cannot be captured here; empty if it can.

    Args:
        execution: `TrialConfig.execution`.
        device: where it computes.
        world: its workers.

    Raises:
        ConfigError: it cannot, and `execution` is `captured`.
    """
    reason = ""
    if execution == "eager":
        reason = "execution = eager"
    elif device.type != "cuda":
        reason = "no CUDA device"
    elif world.size > 1:
        # NCCL's collectives can be captured, but not gloo's, and every worker would have to capture alike.
        reason = f"{world.size} workers: collectives are not captured"
    if reason and execution == "captured":
        raise ConfigError(f"execution = 'captured': {reason}", fix="set execution=auto")
    return reason


class Execution:
    """Runs updates. Each phase, and each value of `Scheduled.schedule`, has a graph of its own.

    Args:
        update: the eager code.
        gan: whose networks and state it changes.
        optimisers: whose moments it changes.
        config: the trial.
        device: where to compute.
        world: the trial's workers.

    Attributes:
        reason: why updates run eagerly; empty while they are captured.

    Raises:
        ConfigError: as `why_eager`.
    """

    def __init__(
        self,
        update: UpdateFunction,
        gan: Gan,
        optimisers: Mapping[str, torch.optim.Optimizer],
        config: TrialConfig,
        device: torch.device,
        world: World,
    ) -> None:
        self.reason = why_eager(config.execution, device, world)
        self._update = update
        self._gan = gan
        self._optimisers = optimisers
        self._config = config
        self._device = device
        self._graphs: dict[Hashable, _Graph] = {}
        # Graphs can share memory: they never run at the same time, and each begins with what it is given.
        self._pool = None if self.reason else torch.cuda.graph_pool_handle()

    @property
    def name(self) -> str:
        """`captured` or `eager`."""
        return "eager" if self.reason else "captured"

    @property
    def graphs(self) -> int:
        """Number of graphs so far."""
        return len(self._graphs)

    def run(self, phase: Phase, batch: Batch, step: int) -> Update:
        """One update.

        Raises:
            ConfigError: it cannot be captured, and `TrialConfig.execution` is `captured`.
        """
        if self.reason:
            return self._update(phase, batch, step)
        key = phase.name, self._schedule(step)
        graph = self._graphs.get(key)
        if graph is not None:
            graph.fill(batch)
            return graph.replay()
        graph = _Graph(self._update, phase, batch)
        self._prepare(graph, phase, step)
        if self.reason:
            return graph.run_eagerly(step)
        self._graphs[key] = graph
        return graph.replay()

    def _schedule(self, step: int) -> Hashable:
        return self._gan.schedule(step) if isinstance(self._gan, Scheduled) else None

    def _prepare(self, graph: _Graph, phase: Phase, step: int) -> None:
        """Captures and checks a graph, or turns to eager execution. Leaves the training as it was."""
        state = _State(self._gan, self._optimisers, self._device)
        steps = [step, *self._another(step)]
        expected: dict[int, dict[str, Tensor]] = {}
        fault = ""
        try:
            # On a stream of their own: the first runs choose algorithms and allocate what a capture must not.
            side = torch.cuda.Stream(self._device)
            side.wait_stream(torch.cuda.current_stream(self._device))
            with torch.cuda.stream(side):
                for one in (step, *steps):
                    self._schedule(one)
                    expected[one] = _computed(self._gan, state, graph.run_eagerly(one))
                    state.restore()
            torch.cuda.current_stream(self._device).wait_stream(side)
            self._schedule(step)
            fault = self._capture(graph, step)
            for one in () if fault else steps:
                self._schedule(one)
                graph.restart()
                found = _computed(self._gan, state, graph.replay())
                state.restore()
                fault = fault or self._difference(expected[one], found, one)
        except OtherDrawsError:
            fault = f"the random numbers of iteration {one} are others than those of iteration {step}"
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
            fault = "out of memory while capturing"
        state.restore()
        self._schedule(step)
        graph.restart()
        if not fault:
            return
        self._graphs.clear()
        self._pool = None
        self.reason = f"{phase.name} at iteration {step}: {fault}"
        if self._config.execution == "captured":
            raise ConfigError(f"execution = 'captured', but {self.reason}", fix="set execution=auto")

    def _capture(self, graph: _Graph, step: int) -> str:
        """Captures `graph`; returns why it could not be, or nothing."""
        groups = [group for optimiser in self._optimisers.values() for group in optimiser.param_groups]
        # Fused Adam keeps its count of steps on the device either way: the flag only lifts torch's check.
        for group in groups:
            group["capturable"] = True
        try:
            graph.capture(step, self._pool)
        except Exception as error:  # whatever a family does that cannot be captured
            if out_of_memory(error):
                raise
            # The end of a failed capture raises an error of its own.
            while isinstance(error.__context__, Exception):
                error = error.__context__
            return " ".join(str(error).split())[:200] or type(error).__name__
        finally:
            for group in groups:
                group["capturable"] = False
        return ""

    def _another(self, step: int) -> list[int]:
        """A step that has the graph of `step`, as far away as possible; none if there is no other."""
        key = self._schedule(step)
        last = self._config.iterations - 1
        candidates = (last, (step + last) // 2, step + 1)
        found = [other for other in candidates if step < other <= last and self._schedule(other) == key][:1]
        self._schedule(step)
        return found

    def _difference(self, expected: Mapping[str, Tensor], found: Mapping[str, Tensor], step: int) -> str:
        tolerance = TOLERANCE[self._config.precision]
        if expected.keys() != found.keys():
            return f"the graph computes other values than the eager code for iteration {step}"
        for name, value in expected.items():
            allowed = tolerance * (CHANGE if name.startswith("change ") else 1)
            error = float((found[name].double() - value.double()).norm())
            size = float(value.double().norm())
            if not error <= allowed * size:
                return f"the graph's {name} for iteration {step} is off by {error / max(size, 1e-300):.1e}"
        return ""


class _Graph:
    """The graph of one phase, with the tensors that it reads.

    Args:
        update: the eager code.
        phase: the phase.
        batch: a batch of the size of all others.
    """

    def __init__(self, update: UpdateFunction, phase: Phase, batch: Batch) -> None:
        self._update = update
        self._phase = phase
        self._draws = FixedRandom(batch.draws)
        self._original = batch
        copies: dict[str, Any] = {
            name: None if tensor is None else tensor.clone() for name, tensor in _tensors(batch).items()
        }
        self._batch = replace(batch, draws=self._draws, **copies)
        self._graph = torch.cuda.CUDAGraph()
        self._result: Update | None = None

    def fill(self, batch: Batch) -> None:
        """Gives the graph another batch."""
        self._fill_images(batch)
        self._draws.refill(batch.draws)

    def restart(self) -> None:
        """Gives the graph its first batch again."""
        self._fill_images(self._original)
        self._draws.restart()

    def run_eagerly(self, step: int) -> Update:
        """The eager code on the first batch."""
        self.restart()
        return self._update(self._phase, self._batch, step)

    def capture(self, step: int, pool: Any) -> None:
        """Captures the eager code, which must have run before. Nothing is computed."""
        self.restart()
        # The thread that writes checkpoints may wait for the device meanwhile.
        with torch.cuda.graph(self._graph, pool=pool, capture_error_mode="thread_local"):
            self._result = self._update(self._phase, self._batch, step)

    def replay(self) -> Update:
        """Runs the graph on the batch that it has."""
        assert self._result is not None, "the graph was not captured"
        self._graph.replay()
        return self._result

    def _fill_images(self, batch: Batch) -> None:
        for name, tensor in _tensors(batch).items():
            if tensor is not None:
                getattr(self._batch, name).copy_(tensor)


class _State:
    """What an update changes, copied to be put back: weights, buffers, moments, and torch's own random numbers."""

    def __init__(self, gan: Gan, optimisers: Mapping[str, torch.optim.Optimizer], device: torch.device) -> None:
        self._optimisers = optimisers
        self._device = device
        modules = {**gan.networks, "state": gan.state}
        tensors = {
            f"{owner} {name}": tensor
            for owner, module in modules.items()
            for name, tensor in (*module.named_parameters(), *module.named_buffers())
        }
        self.tensors = {name: (tensor.detach(), tensor.detach().clone()) for name, tensor in tensors.items()}
        self._moments = {id(tensor): tensor.clone() for tensor in self._all_moments()}
        self._random = torch.get_rng_state(), torch.cuda.get_rng_state(device)

    @torch.no_grad()
    def restore(self) -> None:
        """Puts it back."""
        for tensor, content in self.tensors.values():
            tensor.copy_(content)
        for tensor in self._all_moments():
            # Moments that were made meanwhile begin at zero, as new ones do.
            before = self._moments.get(id(tensor))
            if before is None:
                tensor.zero_()
            else:
                tensor.copy_(before)
        torch.set_rng_state(self._random[0])
        torch.cuda.set_rng_state(self._random[1], self._device)

    def _all_moments(self) -> list[Tensor]:
        return [
            value
            for optimiser in self._optimisers.values()
            for moments in optimiser.state.values()
            for value in moments.values()
            if isinstance(value, torch.Tensor)
        ]


@torch.no_grad()
def _computed(gan: Gan, before: _State, update: Update) -> dict[str, Tensor]:
    """What an update computed, copied: losses, gradients, and how each network and the state changed."""
    found = {name: value.clone() for name, value in {"loss": update.loss, **update.scalars}.items()}
    present = [gradient.flatten().float() for gradient in update.gradients if gradient is not None]
    if present:
        found["gradient"] = torch.cat(present)
    for owner in (*gan.networks, "state"):
        changes = [
            tensor.double().flatten() - content.double().flatten()
            for name, (tensor, content) in before.tensors.items()
            if name.startswith(f"{owner} ")
        ]
        if changes:
            found[f"change of {owner}"] = torch.cat(changes)
    return found


def _tensors(batch: Batch) -> dict[str, Tensor | None]:
    return {"images": batch.images, "labels": batch.labels, "masks": batch.masks, "paired": batch.paired}
