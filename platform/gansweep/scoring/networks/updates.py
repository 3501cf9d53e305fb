"""The updates by gradients of a detector, of a segmenter, or of several with stacked weights.

On a GPU they run as a CUDA graph that was captured from the eager code, because launching the kernels of a small
network takes longer than running them. A network may do what a graph would get wrong, so the graph is compared with the
eager code before it is used: see `gansweep.graphs`.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from gansweep.graphs import TOLERANCE, State, StepGraph, Update, check_optional, why_eager
from gansweep.scoring.networks.one_cycle import OneCycleAdamW

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from torch import Tensor, nn

    from gansweep.scoring.networks.arm_batches import Feed
    from gansweep.scoring.networks.recipe import Recipe

__all__ = ["Updates"]

log = logging.getLogger(__name__)


class Updates:
    """Runs the updates of a training.

    Args:
        recipe: training recipe.
        feed: batches.
        loss: maps images and targets of a batch to the loss.
        weights: the trained parameters.
        buffers: other tensors that an update changes, such as running statistics.
        network: whose they are; None if they are stacked.

    Attributes:
        fault: why updates could not be captured; empty if they were, or were not to be.

    Raises:
        ConfigError: `recipe.execution` is `captured`, and there is no GPU.
    """

    def __init__(
        self,
        recipe: Recipe,
        feed: Feed,
        loss: Callable[[Tensor, Tensor], Tensor],
        weights: Iterable[nn.Parameter],
        buffers: Iterable[Tensor],
        network: nn.Module | None = None,
    ) -> None:
        self.fault = ""
        self._recipe = recipe
        self._feed = feed
        trained = list(weights)
        self._changed = [*trained, *buffers]
        self._modules = [] if network is None else [network]
        self._optimiser = OneCycleAdamW(trained, recipe.lr, recipe.steps)
        self._code = _Code(feed, loss, self._optimiser)
        self._captures = not why_eager(recipe.execution, feed.device)
        self._graph: StepGraph | None = None

    def run(self, step: int) -> None:
        """Runs update `step`, from 0. Updates must be run in order.

        Raises:
            ConfigError: the update cannot be captured, and `recipe.execution` is `captured`.
        """
        inputs = self._feed.inputs(step)
        if self._graph is not None:
            self._code.fill(inputs, step)
        else:
            self._code.begin(inputs, step)
            if self._captures:
                self._graph = self._captured(step)
        if self._graph is not None:
            self._graph.replay()
        else:
            self._code.run(step)

    def _captured(self, step: int) -> StepGraph | None:
        """Returns the graph of the updates, or None if there cannot be one. The training's state does not change."""
        self._captures = False
        self._code.keep()
        graph = StepGraph(self._code, pool=None)
        state = State({"weights": self._changed}, self._modules, [self._optimiser], self._feed.device)
        # The last update has another learning rate and another momentum.
        steps = sorted({step, self._recipe.steps - 1})
        self.fault = graph.prepare(steps, state, TOLERANCE["float32"])
        if not self.fault:
            return graph
        reason = f"updates of a detector or segmenter: {self.fault}"
        check_optional(self._recipe.execution, reason)
        log.info("not captured as a CUDA graph: %s", reason)
        return None


class _Code:
    """One update, with the tensors that it reads.

    Args:
        feed: computes examples from these tensors.
        loss: maps images and targets to the loss.
        optimiser: has the numbers of the step.
    """

    def __init__(self, feed: Feed, loss: Callable[[Tensor, Tensor], Tensor], optimiser: OneCycleAdamW) -> None:
        self._feed = feed
        self._loss = loss
        self._optimiser = optimiser
        self._inputs: Sequence[Tensor] = []
        self._first: Sequence[Tensor] = []

    def begin(self, inputs: Sequence[Tensor], step: int) -> None:
        """Reads other tensors from now on."""
        self._inputs = inputs
        self._optimiser.at(step)

    def keep(self) -> None:
        """Reads copies from now on, which can be filled anew."""
        self._first = [tensor.clone() for tensor in self._inputs]
        self._inputs = [tensor.clone() for tensor in self._inputs]

    def fill(self, inputs: Sequence[Tensor], step: int) -> None:
        """Copies the inputs of update `step` to where a graph reads them."""
        for tensor, content in zip(self._inputs, inputs, strict=True):
            tensor.copy_(content)
        self._optimiser.at(step)

    def restart(self, step: int) -> None:
        """Copies the first inputs there, and the numbers of `step`."""
        self.fill(self._first, step)

    def run(self, step: int) -> Update:
        """Runs the eager code. It must not read values from a GPU, where it may be captured."""
        del step  # its numbers are in the optimiser
        images, targets = self._feed.examples(self._inputs)
        loss = self._loss(images, targets)
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self._optimiser.step()
        gradients = [one.grad for one in self._optimiser.param_groups[0]["params"]]
        return Update(loss.detach(), {}, gradients)
