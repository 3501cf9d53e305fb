"""Networks of one architecture trained together, as one network with stacked weights.

A small network leaves most of a GPU idle: starting its kernels takes longer than running them. Stacked, S networks need
the kernels of one (Wang et al. 2021, "Horizontally Fused Training Array").
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from gansweep.devices import device_fault, out_of_memory
from gansweep.scoring.networks.updates import Updates

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gansweep.scoring.networks.arm_batches import Feed
    from gansweep.scoring.networks.recipe import Recipe

__all__ = ["CannotStackError", "train_stacked"]


class CannotStackError(Exception):
    """Raised if networks cannot be trained together. The networks are unchanged."""


def train_stacked(
    networks: Sequence[nn.Module], recipe: Recipe, feed: Feed, losses: Callable[[Tensor, Tensor], Tensor]
) -> None:
    """Trains the networks in place, each as if it were alone.

    Args:
        networks: s networks of one architecture, in training mode and on the device of the images.
        recipe: training recipe of each network.
        feed: batches of all networks.
        losses: maps outputs `[s, b, ...]` and targets to the loss of each network, `[s]`.

    Raises:
        CannotStackError: the networks draw random numbers, replace their buffers, use operations that `torch.func.vmap`
            does not support, or do not fit into memory together.
        ConfigError: see `Updates.run`.
    """
    try:
        stacked, buffers = stack_module_state(list(networks))
    except RuntimeError as error:
        raise CannotStackError(_first_line(error)) from None
    weights = {name: nn.Parameter(tensor.detach()) for name, tensor in stacked.items()}
    base = networks[0]

    def forward(own: dict[str, Tensor], state: dict[str, Tensor], images: Tensor) -> Tensor:
        tensors = own | state
        outputs: Tensor = functional_call(base, tensors, (images,))
        # torch writes a buffer's new tensor into `tensors`, and nobody would read it at the next update.
        for name, buffer in state.items():
            if tensors[name] is not buffer:
                raise CannotStackError(f"buffer {name} is replaced by a new tensor, not filled")
        return outputs

    # randomness="error": networks alone would draw other numbers.
    together = vmap(forward, randomness="error")

    def loss(images: Tensor, targets: Tensor) -> Tensor:
        images = images.view(len(networks), -1, *images.shape[1:])
        return losses(together(dict(weights), buffers, images), targets).sum()

    updates = Updates(recipe, feed, loss, weights.values(), buffers.values())
    for step in range(recipe.steps):
        try:
            updates.run(step)
        except RuntimeError as error:
            if device_fault(error) or (step and not out_of_memory(error)):
                raise
            raise CannotStackError(_first_line(error)) from None
    for row, network in enumerate(networks):
        state = {name: tensor[row].detach() for name, tensor in (weights | buffers).items()}
        network.load_state_dict(state)


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]
