"""Runs the updates of a training: eagerly, or as CUDA graphs that were captured from the eager code.

Images and random numbers are copied into the same tensors for every update, and values that change with the step are in
buffers (`contracts.Scheduled`). A family may not keep to this, so each graph is compared with the eager code before it
is used: see `gansweep.graphs`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

import torch

from gansweep import graphs
from gansweep.contracts import Scheduled
from gansweep.graphs import TOLERANCE, CannotCaptureError, State, StepGraph, Update
from gansweep.training.fixed_random import FixedRandom, OtherDrawsError

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

    from torch import Tensor

    from gansweep.config import TrialConfig
    from gansweep.contracts import Batch, Gan, Phase
    from gansweep.distributed import World

__all__ = ["Execution", "UpdateFunction", "several_workers", "why_eager"]


class UpdateFunction(Protocol):
    """One update of a phase's networks, written for eager execution."""

    def __call__(self, phase: Phase, batch: Batch, step: int) -> Update:
        """Computes the loss at generator iteration `step` and takes the optimisers' steps."""


def why_eager(execution: str, device: torch.device, world: World) -> str:
    """Returns why a training cannot be captured; an empty string if it can.

    Args:
        execution: `TrialConfig.execution`.
        device: device of the training.
        world: workers of the training.

    Raises:
        ConfigError: it cannot be captured, and `execution` is `captured`.
    """
    return graphs.why_eager(execution, device, several_workers(world.size))


def several_workers(workers: int) -> str:
    """Returns why a training of so many workers cannot be captured; an empty string for one."""
    # Collectives of NCCL can be captured, but not those of gloo, and all workers would have to decide alike.
    return f"{workers} workers: collectives are not captured" if workers > 1 else ""


class Execution:
    """Runs updates. Each phase, and each value of `Scheduled.schedule`, has its own graph.

    Args:
        update: the eager code.
        gan: the GAN whose networks and state the updates change.
        optimisers: the optimisers whose moments the updates change.
        config: the trial's configuration.
        device: device of the training.
        world: the trial's workers.

    Attributes:
        reason: why updates run eagerly; empty while they are captured.

    Raises:
        ConfigError: see `why_eager`.
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
        self._graphs: dict[Hashable, tuple[_Code, StepGraph]] = {}
        # Graphs can share memory: they never run at the same time, and each reads only its own input tensors.
        self._pool = None if self.reason else torch.cuda.graph_pool_handle()

    @property
    def name(self) -> str:
        """How updates run: `captured` or `eager`."""
        return "eager" if self.reason else "captured"

    @property
    def graphs(self) -> int:
        """Number of graphs captured so far."""
        return len(self._graphs)

    def run(self, phase: Phase, batch: Batch, step: int) -> Update:
        """Runs one update at generator iteration `step`.

        Raises:
            ConfigError: the update cannot be captured, and `TrialConfig.execution` is `captured`.
        """
        if self.reason:
            return self._update(phase, batch, step)
        key = phase.name, self._schedule(step)
        known = self._graphs.get(key)
        if known is not None:
            code, graph = known
            code.fill(batch)
            return graph.replay()
        code = _Code(self._update, self._gan, phase, batch, step)
        graph = StepGraph(code, self._pool)
        self._prepare(graph, phase, step)
        if self.reason:
            return code.run(step)
        self._graphs[key] = code, graph
        return graph.replay()

    def _schedule(self, step: int) -> Hashable:
        return _scheduled(self._gan, step)

    def _prepare(self, graph: StepGraph, phase: Phase, step: int) -> None:
        """Captures and checks a graph, or switches to eager execution. The training's state does not change."""
        modules = {**self._gan.networks, "state": self._gan.state}
        owners = {owner: (*module.parameters(), *module.buffers()) for owner, module in modules.items()}
        state = State(owners, modules.values(), list(self._optimisers.values()), self._device)
        steps = [step]
        other = self._other_step(step)
        if other is not None:
            steps.append(other)
        fault = graph.prepare(steps, state, TOLERANCE[self._config.precision])
        if not fault:
            return
        self._graphs.clear()
        self._pool = None
        self.reason = f"{phase.name} at iteration {step}: {fault}"
        graphs.check_optional(self._config.execution, self.reason)

    def _other_step(self, step: int) -> int | None:
        """Returns a later step that uses the same graph as `step`, far away if possible; None if there is none."""
        key = self._schedule(step)
        last = self._config.iterations - 1
        found = None
        for candidate in (last, (step + last) // 2, step + 1):
            if step < candidate <= last and self._schedule(candidate) == key:
                found = candidate
                break
        self._schedule(step)
        return found


class _Code:
    """The update of one phase, with the tensors that its graph reads.

    Args:
        update: the eager code.
        gan: has the buffers that depend on the step.
        phase: the phase.
        batch: the first batch. All batches have the same shapes.
        first: generator iteration of this batch.
    """

    def __init__(
        self,
        update: UpdateFunction,
        gan: Gan,
        phase: Phase,
        batch: Batch,
        first: int,
    ) -> None:
        self._update = update
        self._gan = gan
        self._phase = phase
        self._first = first
        self._draws = FixedRandom(batch.draws)
        self._original = batch
        copies: dict[str, Any] = {}
        for name, tensor in _tensors(batch).items():
            copies[name] = None if tensor is None else tensor.clone()
        self._batch = replace(batch, draws=self._draws, **copies)

    def fill(self, batch: Batch) -> None:
        """Copies another batch into the tensors that the graph reads."""
        self._fill_images(batch)
        self._draws.refill(batch.draws)

    def restart(self, step: int) -> None:
        """Copies the first batch into the tensors that the graph reads, and sets the buffers for `step`."""
        _scheduled(self._gan, step)
        self._fill_images(self._original)
        self._draws.restart()

    def run(self, step: int) -> Update:
        """Runs the eager code on these tensors.

        Raises:
            CannotCaptureError: it draws other random numbers than for the first batch.
        """
        try:
            return self._update(self._phase, self._batch, step)
        except OtherDrawsError as error:
            raise CannotCaptureError(
                f"iteration {step} draws other random numbers than iteration {self._first}"
            ) from error

    def _fill_images(self, batch: Batch) -> None:
        for name, tensor in _tensors(batch).items():
            if tensor is not None:
                getattr(self._batch, name).copy_(tensor)


def _scheduled(gan: Gan, step: int) -> Hashable:
    return gan.schedule(step) if isinstance(gan, Scheduled) else None


def _tensors(batch: Batch) -> dict[str, Tensor | None]:
    return {"images": batch.images, "labels": batch.labels, "masks": batch.masks, "paired": batch.paired}
