"""The updates by gradients of a detector, of a segmenter, or of several with stacked weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gansweep.scoring.networks.one_cycle import OneCycleAdamW

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from torch import Tensor, nn

    from gansweep.scoring.networks.arm_batches import Feed
    from gansweep.scoring.networks.recipe import Recipe

__all__ = ["Updates"]


class Updates:
    """Runs the updates of a training.

    Args:
        recipe: training recipe.
        feed: batches.
        loss: maps images and targets of a batch to the loss.
        weights: the trained parameters.
    """

    def __init__(
        self,
        recipe: Recipe,
        feed: Feed,
        loss: Callable[[Tensor, Tensor], Tensor],
        weights: Iterable[nn.Parameter],
    ) -> None:
        self._feed = feed
        self._loss = loss
        self._optimiser = OneCycleAdamW(weights, recipe.lr, recipe.steps)

    def run(self, step: int) -> None:
        """Runs update `step`, from 0. Updates must be run in order."""
        inputs = self._feed.inputs(step)
        self._optimiser.at(step)
        self._update(inputs)

    def _update(self, inputs: Sequence[Tensor]) -> None:
        """It must not read values from a GPU."""
        images, targets = self._feed.examples(inputs)
        loss = self._loss(images, targets)
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self._optimiser.step()
