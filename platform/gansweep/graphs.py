"""CUDA graphs of training steps, compared with the eager code before they are used.

A graph repeats kernels with the memory addresses and the Python numbers of its capture. What changes from step to step
must therefore be in the same tensors at every step. Code may not keep to this. Before a graph is used, its results are
therefore compared with those of the eager code: from the same state, for the current step and for another one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import torch

from gansweep.devices import is_cuda, out_of_memory
from gansweep.errors import ConfigError, one_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from torch import Tensor, nn

__all__ = [
    "TOLERANCE",
    "CannotCaptureError",
    "Code",
    "State",
    "StepGraph",
    "Update",
    "check_optional",
    "why_eager",
]

TOLERANCE = {"float32": 1e-3, "tf32": 1e-3, "bfloat16": 3e-2}
"""Maximum difference between a captured and an eager update, relative to the 2-norm of the eager result.

Results are a loss, a network's gradients, or the change of its weights. The tolerance is not 0, because the order in
which some kernels add is not fixed.
"""
CHANGE = 10
"""Factor of `TOLERANCE` for a change of weights. It is larger, because Adam's first steps have the size of the learning
rate even where a gradient is only a rounding error."""


class CannotCaptureError(Exception):
    """Raised by code that notices itself that a graph would repeat what changes with the step."""


@dataclass(frozen=True)
class Update:
    """The results of an update, on the device. The next captured update overwrites them.

    Args:
        loss: 0-dimensional; float64 if it is summed over updates.
        scalars: further values that are logged, by name; 0-dimensional float64.
        gradients: one for each trained parameter; None if the loss does not depend on the parameter.
    """

    loss: Tensor
    scalars: Mapping[str, Tensor]
    gradients: Sequence[Tensor | None]


class Code(Protocol):
    """One update, written for eager execution, that reads the same tensors at every step."""

    def restart(self, step: int) -> None:
        """Fills these tensors with the first update's inputs, and with the numbers that depend on `step`."""

    def run(self, step: int) -> Update:
        """Computes the update.

        Raises:
            CannotCaptureError: it needs other inputs than the first update.
        """


def why_eager(execution: str, device: torch.device, obstacle: str = "") -> str:
    """Returns why a training cannot be captured; an empty string if it can.

    Args:
        execution: `TrialConfig.execution`.
        device: device of the training.
        obstacle: another reason; "" for none.

    Raises:
        ConfigError: it cannot be captured, and `execution` is `captured`.
    """
    reason = obstacle
    if execution == "eager":
        reason = "execution = eager"
    elif not is_cuda(device):
        reason = "no CUDA device"
    if reason and execution == "captured":
        raise ConfigError(f"execution = 'captured': {reason}", fix="set execution=auto")
    return reason


def check_optional(execution: str, reason: str) -> None:
    """Checks that a training whose updates could not be captured, for `reason`, may go on eagerly.

    Raises:
        ConfigError: `execution` is `captured`.
    """
    if execution == "captured":
        raise ConfigError(f"execution = 'captured', but {reason}", fix="set execution=auto")


class State:
    """A copy of everything that an update changes: weights, buffers, moments, and the state of torch's generators.

    Args:
        owners: tensors by the name of what they belong to, such as a network.
        modules: modules that could replace their buffers by new tensors.
        optimisers: the optimisers whose moments the update changes.
        device: device of the training.
    """

    def __init__(
        self,
        owners: Mapping[str, Iterable[Tensor]],
        modules: Iterable[nn.Module],
        optimisers: Sequence[torch.optim.Optimizer],
        device: torch.device,
    ) -> None:
        self.optimisers = optimisers
        self.device = device
        # By owner: each tensor with a copy of its content.
        self.tensors: dict[str, list[tuple[Tensor, Tensor]]] = {}
        for owner, tensors in owners.items():
            self.tensors[owner] = [(tensor.detach(), tensor.detach().clone()) for tensor in tensors]
        # `Module.buffers` lists the tensors. Only the dictionary says in whose place they are.
        self._buffers: list[tuple[dict[str, Tensor | None], dict[str, Tensor | None]]] = []
        for module in modules:
            for part in module.modules():
                buffers = vars(part)["_buffers"]
                self._buffers.append((buffers, dict(buffers)))
        self._moments = {id(tensor): tensor.clone() for tensor in self._all_moments()}
        self._random = torch.get_rng_state(), torch.cuda.get_rng_state(device)

    def replaced(self) -> str:
        """Returns the name of a buffer in whose place there is another tensor now, or an empty string."""
        for buffers, kept in self._buffers:
            for name, tensor in kept.items():
                if buffers[name] is not tensor:
                    return name
        return ""

    @torch.no_grad()
    def restore(self) -> None:
        """Puts replaced buffers back, and copies the contents back."""
        for buffers, kept in self._buffers:
            buffers.update(kept)
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
        torch.cuda.set_rng_state(self._random[1], self.device)

    def _all_moments(self) -> list[Tensor]:
        found = []
        for optimiser in self.optimisers:
            for moments in optimiser.state.values():
                found += [value for value in moments.values() if isinstance(value, torch.Tensor)]
        return found


class StepGraph:
    """The graph of one update.

    Args:
        code: the eager code.
        pool: memory of the graph. Graphs can share it if they never run at the same time, and each reads only its own
            input tensors.
    """

    def __init__(self, code: Code, pool: Any) -> None:
        self._code = code
        self._pool = pool
        self._graph = torch.cuda.CUDAGraph()
        self._result: Update | None = None

    def prepare(self, steps: Sequence[int], state: State, tolerance: float) -> str:
        """Captures the code at the first of `steps`, and compares graph and code at all of them.

        Afterwards `state`, and what the code reads, are as before the first step.

        Args:
            steps: numbers of updates.
            state: what the code changes, as it is now.
            tolerance: one of `TOLERANCE`.

        Returns:
            Why the graph cannot be used; an empty string if it can.
        """
        try:
            fault = self._capture_and_compare(steps, state, tolerance)
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
            fault = "out of memory while capturing"
        state.restore()
        self._code.restart(steps[0])
        return fault

    def replay(self) -> Update:
        """Runs the graph on what is in the tensors that the code reads."""
        assert self._result is not None, "the graph was not captured"
        self._graph.replay()
        return self._result

    def _capture_and_compare(self, steps: Sequence[int], state: State, tolerance: float) -> str:
        try:
            expected = self._eager_results(steps, state)
        except CannotCaptureError as error:
            return str(error)
        self._code.restart(steps[0])
        fault = self._capture(steps[0], state)
        if fault:
            return fault
        for step in steps:
            self._begin(step, steps[0])
            found = _results(state, self.replay())
            state.restore()
            fault = fault or _difference(expected[step], found, step, tolerance)
        return fault

    def _eager_results(self, steps: Sequence[int], state: State) -> dict[int, dict[str, Tensor]]:
        """Returns the results of the eager code, by step."""
        results: dict[int, dict[str, Tensor]] = {}
        # A separate stream and a run whose results are not used: the first run chooses algorithms and allocates memory,
        # which a capture must not do.
        side = torch.cuda.Stream(state.device)
        side.wait_stream(torch.cuda.current_stream(state.device))
        with torch.cuda.stream(side):
            for step in (steps[0], *steps):
                self._begin(step, steps[0])
                results[step] = _results(state, self._code.run(step))
                replaced = state.replaced()
                state.restore()
                if replaced:
                    # A graph would read the old tensor at every step.
                    raise CannotCaptureError(f"buffer {replaced} is replaced by a new tensor, not filled")
        torch.cuda.current_stream(state.device).wait_stream(side)
        return results

    def _begin(self, step: int, first: int) -> None:
        self._code.restart(step)
        if step != first:
            # A graph draws random numbers of the device anew, but repeats those that the host drew.
            torch.default_generator.manual_seed(step)

    def _capture(self, step: int, state: State) -> str:
        """Captures the code without computing anything. Returns why it could not be captured, or an empty string."""
        groups = [group for optimiser in state.optimisers for group in optimiser.param_groups]
        # Fused Adam always counts its steps on the device. The flag only disables torch's check.
        for group in groups:
            group["capturable"] = True
        try:
            # Thread-local, because the thread that writes checkpoints may wait for the device during the capture.
            with torch.cuda.graph(self._graph, pool=self._pool, capture_error_mode="thread_local"):
                self._result = self._code.run(step)
        except Exception as error:  # the code may do anything that cannot be captured
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


def _difference(expected: Mapping[str, Tensor], found: Mapping[str, Tensor], step: int, tolerance: float) -> str:
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


@torch.no_grad()
def _results(before: State, update: Update) -> dict[str, Tensor]:
    """Returns copies of what an update computed: loss, scalars, gradients, and the change of each owner's tensors."""
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
