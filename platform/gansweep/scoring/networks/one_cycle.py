"""AdamW with a one-cycle schedule: torch's on a CPU, and on a GPU one whose numbers are in tensors there.

The schedule changes learning rate and momentum at every update. torch's optimiser takes the momentum from Python, or
reads it back from the GPU, and a CUDA graph would repeat that of its capture.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["OneCycleAdamW"]

BETA2 = 0.999
EPS = 1e-8
WEIGHT_DECAY = 1e-2


class OneCycleAdamW(torch.optim.AdamW):
    """AdamW (Loshchilov & Hutter 2019) with the one-cycle schedule of Smith & Topin 2018, as torch computes both.

    On a GPU the number of updates, on which the correction of Adam's bias depends, is counted for all parameters
    together.

    Args:
        parameters: the trained parameters, all on one device.
        lr: maximum learning rate.
        steps: number of updates.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], lr: float, steps: int) -> None:
        trained = list(parameters)
        super().__init__(trained, lr=lr, betas=(0.9, BETA2), eps=EPS, weight_decay=WEIGHT_DECAY)
        self._schedule = _schedule(lr, steps)
        self._on_gpu = trained[0].device.type == "cuda"
        if not self._on_gpu:
            return
        self._table = torch.tensor(_numbers(self._schedule), device=trained[0].device)
        self._numbers = self._table[0].clone()
        for parameter in trained:
            self.state[parameter] = {
                "exp_avg": torch.zeros_like(parameter, memory_format=torch.preserve_format),
                "exp_avg_sq": torch.zeros_like(parameter, memory_format=torch.preserve_format),
            }

    def at(self, step: int) -> None:
        """Sets the numbers of update `step`, from 0."""
        if self._on_gpu:
            self._numbers.copy_(self._table[step])
            return
        (group,) = self.param_groups
        group["lr"], momentum = self._schedule[step]
        group["betas"] = momentum, BETA2

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Updates the parameters that have a gradient."""
        if not self._on_gpu:
            super().step(closure)
            return
        parameters = [one for one in self.param_groups[0]["params"] if one.grad is not None]
        gradients: list[Tensor] = [one.grad for one in parameters]
        means: list[Tensor] = [self.state[one]["exp_avg"] for one in parameters]
        squares: list[Tensor] = [self.state[one]["exp_avg_sq"] for one in parameters]
        decay = self._numbers[0]
        weight = self._numbers[1]
        size = self._numbers[2]
        root = self._numbers[3]
        torch._foreach_mul_(parameters, decay)
        moves = torch._foreach_sub(gradients, means)  # noqa: SLF001 (lists of tensors have no public functions)
        torch._foreach_mul_(moves, weight)
        torch._foreach_add_(means, moves)
        torch._foreach_mul_(squares, BETA2)
        torch._foreach_addcmul_(squares, gradients, gradients, 1 - BETA2)
        divisors = torch._foreach_sqrt(squares)  # noqa: SLF001
        torch._foreach_div_(divisors, root)
        torch._foreach_add_(divisors, EPS)
        steps = torch._foreach_mul(means, size)  # noqa: SLF001
        torch._foreach_addcdiv_(parameters, steps, divisors)


@lru_cache(maxsize=8)
def _schedule(lr: float, steps: int) -> tuple[tuple[float, float], ...]:
    """Returns learning rate and momentum of each update."""
    optimiser = torch.optim.AdamW([nn.Parameter(torch.zeros(()))], lr=lr, betas=(0.9, BETA2))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=lr, total_steps=steps)
    (group,) = optimiser.param_groups
    found = []
    for _ in range(steps):
        found.append((float(group["lr"]), float(group["betas"][0])))
        optimiser.step()
        schedule.step()
    return tuple(found)


def _numbers(schedule: tuple[tuple[float, float], ...]) -> list[list[float]]:
    """Returns four numbers for each update.

    They are the factor of the weight decay, the weight of a new gradient in their mean, the step size, and the square
    root of the bias of the mean square.
    """
    rows = []
    for count, (lr, momentum) in enumerate(schedule, start=1):
        size = -lr / (1 - momentum**count)
        rows.append([1 - lr * WEIGHT_DECAY, 1 - momentum, size, (1 - BETA2**count) ** 0.5])
    return rows
