"""Runs the updates of a training: eagerly, or as CUDA graphs that were captured from the eager code.

A graph repeats kernels with the memory addresses and the Python numbers of its capture. Images and random numbers are
therefore copied into the same tensors for every update, and values that change with the step are in buffers
(`contracts.Scheduled`). A family may not keep to this. Before a graph is used, its results are therefore compared with
those of the eager code: from the same state, for the current step and for another one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import torch

from gansweep.contracts import Scheduled
from gansweep.devices import is_cuda, out_of_memory
from gansweep.errors import ConfigError, one_line
from gansweep.training.fixed_random import FixedRandom, OtherDrawsError

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence

    from torch import Tensor

    from gansweep.config import TrialConfig
    from gansweep.contracts import Batch, Gan, Phase
    from gansweep.distributed import World

__all__ = ["TOLERANCE", "Execution", "Update", "UpdateFunction", "why_eager"]

TOLERANCE = {"float32": 1e-3, "tf32": 1e-3, "bfloat16": 3e-2}
"""Maximum difference between a captured and an eager update, relative to the 2-norm of the eager result.

Results are a loss, a network's gradients, or the change of its weights. The tolerance is not 0, because the order in
which some kernels add is not fixed.
"""
CHANGE = 10
"""Factor of `TOLERANCE` for a change of weights. It is larger, because Adam's first steps have the size of the learning
rate even where a gradient is only a rounding error."""


@dataclass(frozen=True)
class Update:
    """The results of an update, on the device. The next captured update overwrites them.

    Args:
        loss: 0-dimensional float64.
        scalars: further values that the family logs, by name; 0-dimensional float64.
        gradients: one for each parameter of the phase's networks; None if the loss does not depend on the parameter.
    """

    loss: Tensor
    scalars: Mapping[str, Tensor]
    gradients: Sequence[Tensor | None]


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
    reason = ""
    if execution == "eager":
        reason = "execution = eager"
    elif not is_cuda(device):
        reason = "no CUDA device"
    elif world.size > 1:
        # Collectives of NCCL can be captured, but not those of gloo, and all workers would have to decide alike.
        reason = f"{world.size} workers: collectives are not captured"
    if reason and execution == "captured":
        raise ConfigError(f"execution = 'captured': {reason}", fix="set execution=auto")
    return reason


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
        self._graphs: dict[Hashable, _Graph] = {}
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
        """Captures and checks a graph, or switches to eager execution. The training's state does not change."""
        state = _State(self._gan, self._optimisers, self._device)
        steps = [step]
        other = self._other_step(step)
        if other is not None:
            steps.append(other)
        try:
            fault = self._capture_and_compare(graph, state, steps)
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

    def _capture_and_compare(self, graph: _Graph, state: _State, steps: Sequence[int]) -> str:
        """Captures `graph` at the first of `steps`, and compares it with the eager code at all of them.

        Returns:
            Why the graph cannot be used; an empty string if it can.
        """
        first = steps[0]
        try:
            expected = self._eager_results(graph, state, steps)
        except OtherDrawsError as error:
            return str(error)
        self._schedule(first)
        fault = self._capture(graph, first)
        if fault:
            return fault
        for step in steps:
            self._schedule(step)
            graph.restart()
            found = _results(state, graph.replay())
            state.restore()
            fault = fault or self._difference(expected[step], found, step)
        return fault

    def _eager_results(self, graph: _Graph, state: _State, steps: Sequence[int]) -> dict[int, dict[str, Tensor]]:
        """Returns the results of the eager code, by step.

        Raises:
            OtherDrawsError: a later step draws other random numbers than the first.
        """
        first = steps[0]
        results: dict[int, dict[str, Tensor]] = {}
        # A separate stream and a run whose results are not used: the first run chooses algorithms and allocates memory,
        # which a capture must not do.
        side = torch.cuda.Stream(self._device)
        side.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(side):
            for step in (first, *steps):
                self._schedule(step)
                try:
                    update = graph.run_eagerly(step)
                except OtherDrawsError as error:
                    raise OtherDrawsError(
                        f"iteration {step} draws other random numbers than iteration {first}"
                    ) from error
                results[step] = _results(state, update)
                state.restore()
        torch.cuda.current_stream(self._device).wait_stream(side)
        return results

    def _capture(self, graph: _Graph, step: int) -> str:
        """Captures `graph`. Returns why it could not be captured, or an empty string."""
        groups = [group for optimiser in self._optimisers.values() for group in optimiser.param_groups]
        # Fused Adam always counts its steps on the device. The flag only disables torch's check.
        for group in groups:
            group["capturable"] = True
        try:
            graph.capture(step, self._pool)
        except Exception as error:  # a family may do anything that cannot be captured
            if out_of_memory(error):
                raise
            # The end of a failed capture raises another error. The first one has the reason.
            while isinstance(error.__context__, Exception):
                error = error.__context__
            return one_line(error, 200) or type(error).__name__
        finally:
            for group in groups:
                group["capturable"] = False
        return ""

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

    def _difference(self, expected: Mapping[str, Tensor], found: Mapping[str, Tensor], step: int) -> str:
        tolerance = TOLERANCE[self._config.precision]
        if expected.keys() != found.keys():
            return f"the graph computes other values than the eager code for iteration {step}"
        for name, value in expected.items():
            factor = CHANGE if name.startswith("change ") else 1
            error = float((found[name].double() - value.double()).norm())
            size = float(value.double().norm())
            # Negated, so that an error that is NaN counts as a difference.
            if not error <= tolerance * factor * size:
                return f"the graph's {name} for iteration {step} is off by {error / max(size, 1e-300):.1e}"
        return ""


class _Graph:
    """The graph of one phase, with the tensors that it reads.

    Args:
        update: the eager code.
        phase: the phase.
        batch: the first batch. All batches have the same shapes.
    """

    def __init__(self, update: UpdateFunction, phase: Phase, batch: Batch) -> None:
        self._update = update
        self._phase = phase
        self._draws = FixedRandom(batch.draws)
        self._original = batch
        copies: dict[str, Any] = {}
        for name, tensor in _tensors(batch).items():
            copies[name] = None if tensor is None else tensor.clone()
        self._batch = replace(batch, draws=self._draws, **copies)
        self._graph = torch.cuda.CUDAGraph()
        self._result: Update | None = None

    def fill(self, batch: Batch) -> None:
        """Copies another batch into the tensors that the graph reads."""
        self._fill_images(batch)
        self._draws.refill(batch.draws)

    def restart(self) -> None:
        """Copies the first batch into the tensors that the graph reads."""
        self._fill_images(self._original)
        self._draws.restart()

    def run_eagerly(self, step: int) -> Update:
        """Runs the eager code on the first batch."""
        self.restart()
        return self._update(self._phase, self._batch, step)

    def capture(self, step: int, pool: Any) -> None:
        """Captures the eager code without computing anything. The eager code must have run before."""
        self.restart()
        # Thread-local, because the thread that writes checkpoints may wait for the device during the capture.
        with torch.cuda.graph(self._graph, pool=pool, capture_error_mode="thread_local"):
            self._result = self._update(self._phase, self._batch, step)

    def replay(self) -> Update:
        """Runs the graph on its current batch."""
        assert self._result is not None, "the graph was not captured"
        self._graph.replay()
        return self._result

    def _fill_images(self, batch: Batch) -> None:
        for name, tensor in _tensors(batch).items():
            if tensor is not None:
                getattr(self._batch, name).copy_(tensor)


class _State:
    """A copy of everything that an update changes: weights, buffers, moments, and the state of torch's generators."""

    def __init__(self, gan: Gan, optimisers: Mapping[str, torch.optim.Optimizer], device: torch.device) -> None:
        self._optimisers = optimisers
        self._device = device
        # By owner: each tensor with a copy of its content.
        self.tensors: dict[str, list[tuple[Tensor, Tensor]]] = {}
        for owner, module in {**gan.networks, "state": gan.state}.items():
            tensors = (*module.parameters(), *module.buffers())
            self.tensors[owner] = [(tensor.detach(), tensor.detach().clone()) for tensor in tensors]
        self._moments = {id(tensor): tensor.clone() for tensor in self._all_moments()}
        self._random = torch.get_rng_state(), torch.cuda.get_rng_state(device)

    @torch.no_grad()
    def restore(self) -> None:
        """Copies the contents back."""
        for tensors in self.tensors.values():
            for tensor, content in tensors:
                tensor.copy_(content)
        for tensor in self._all_moments():
            # Moments that did not exist before are set to zero, their initial value.
            before = self._moments.get(id(tensor))
            if before is None:
                tensor.zero_()
            else:
                tensor.copy_(before)
        torch.set_rng_state(self._random[0])
        torch.cuda.set_rng_state(self._random[1], self._device)

    def _all_moments(self) -> list[Tensor]:
        found = []
        for optimiser in self._optimisers.values():
            for moments in optimiser.state.values():
                found += [value for value in moments.values() if isinstance(value, torch.Tensor)]
        return found


@torch.no_grad()
def _results(before: _State, update: Update) -> dict[str, Tensor]:
    """Returns copies of what an update computed: loss, scalars, gradients, and the change of each network."""
    found = {"loss": update.loss.clone()}
    found |= {name: value.clone() for name, value in update.scalars.items()}
    present = [gradient.flatten().float() for gradient in update.gradients if gradient is not None]
    if present:
        found["gradient"] = torch.cat(present)
    for owner, tensors in before.tensors.items():
        changes = [tensor.double().flatten() - content.double().flatten() for tensor, content in tensors]
        if changes:
            found[f"change of {owner}"] = torch.cat(changes)
    return found


def _tensors(batch: Batch) -> dict[str, Tensor | None]:
    return {"images": batch.images, "labels": batch.labels, "masks": batch.masks, "paired": batch.paired}
