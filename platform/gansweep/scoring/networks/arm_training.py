"""Training of the detectors or segmenters of an arm: one by one, or together as one network with stacked weights."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gansweep.contracts import FitsBatches
from gansweep.devices import exact_float32, is_cuda
from gansweep.scoring.networks.stacked import CannotStackError, train_stacked
from gansweep.scoring.networks.updates import Updates
from gansweep.seeds import seeded

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor, nn

    from gansweep.scoring.networks.arm_batches import Batches, Feed
    from gansweep.scoring.networks.recipe import Recipe

__all__ = ["Task", "train_arm"]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Task:
    """The task that the networks of an arm learn.

    Args:
        recipe: training recipe of each network.
        build: makes an untrained network.
        feed: called with the batches and seeds of s networks. Returns their images `[s b, C, H, W]` and targets.
        loss: maps outputs and targets of one network to its loss.
        losses: maps outputs `[s, b, ...]` of s networks and their targets to the loss of each, `[s]`.
    """

    recipe: Recipe
    build: Callable[[], nn.Module]
    feed: Callable[[Sequence[Batches], Sequence[int]], Feed]
    loss: Callable[[Tensor, Tensor], Tensor]
    losses: Callable[[Tensor, Tensor], Tensor]


def train_arm(
    task: Task, batches: Sequence[Batches], seeds: Sequence[int], *, together: bool | None = None
) -> list[nn.Module]:
    """Trains one network for each seed and returns them in evaluation mode, on the device of their batches.

    The arithmetic is exact float32 whatever torch's default is, so that all callers may share a cache.

    Args:
        task: the task that they learn.
        batches: batches of each network.
        seeds: seeds of each network's weights, augmentation and own random numbers, such as dropout.
        together: whether to train them together; None: on a GPU. Networks for which this is impossible, such as those
            with dropout, are trained one by one.

    Raises:
        ConfigError: updates cannot be captured, and the recipe's `execution` is `captured`.
    """
    device = batches[0].pool.device
    if together is None:
        together = is_cuda(device)
    with exact_float32(device, autotune=True):  # all batches have the same shape
        return _train(task, batches, seeds, together=together)


def _train(task: Task, batches: Sequence[Batches], seeds: Sequence[int], *, together: bool) -> list[nn.Module]:
    if together and len(seeds) > 1:
        try:
            return _train_together(task, batches, seeds)
        except CannotStackError as reason:
            log.info("networks are trained one by one: %s", reason)
    trained = []
    for one, seed in zip(batches, seeds, strict=True):
        network, fault = _train_alone(task, one, seed)
        trained.append(network)
        if fault:
            # The others have the same architecture.
            task = replace(task, recipe=replace(task.recipe, execution="eager"))
    return trained


def _train_together(task: Task, batches: Sequence[Batches], seeds: Sequence[int]) -> list[nn.Module]:
    device = batches[0].pool.device
    networks = []
    for seed in seeds:
        with seeded(seed, device):
            networks.append(task.build().to(device).train())
    if any(isinstance(network, FitsBatches) for network in networks):
        raise CannotStackError("they are fitted, not trained by gradients")
    if any(getattr(network, "on_features", False) for network in networks):
        # torch.func sees the network in the file, but not what TorchScript makes of it after some calls.
        raise CannotStackError("their features are those of a TorchScript file")
    train_stacked(networks, task.recipe, task.feed(batches, seeds), task.losses)
    return [network.eval() for network in networks]


def _train_alone(task: Task, batches: Batches, seed: int) -> tuple[nn.Module, str]:
    """Returns the network, and why its updates could not be captured: see `Updates.fault`."""
    device = batches.pool.device
    steps = task.recipe.steps
    feed = task.feed([batches], [seed])
    with seeded(seed, device):
        network = task.build().to(device).train()
        if isinstance(network, FitsBatches):
            network.fit_batches(feed.at(step) for step in range(steps))
            return network.eval(), ""

        def loss(images: Tensor, targets: Tensor) -> Tensor:
            return task.loss(network(images), targets)

        updates = Updates(task.recipe, feed, loss, network.parameters(), network.buffers(), network)
        for step in range(steps):
            updates.run(step)
    # Gradients would hold on to the memory of a graph.
    network.zero_grad(set_to_none=True)
    return network.eval(), updates.fault
