"""Exponential moving averages of the generators' weights, from which samples are drawn."""

from __future__ import annotations

import copy
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["Ema", "decay"]

RAMP_UP = 0.05
"""Maximum half-life as a fraction of the images seen, so that early weights fade quickly (Karras et al. 2020, ADA)."""


def decay(half_life: float, batch_size: int, images_seen: int) -> float:
    """Returns the factor of the old average in one update.

    Args:
        half_life: half-life in thousands of generated images; 0 for no averaging.
        batch_size: number of images between two updates.
        images_seen: number of images so far, for the ramp-up.
    """
    images = min(half_life * 1000, RAMP_UP * images_seen)
    return float(0.5 ** (batch_size / images)) if images > 0 else 0.0


class Ema:
    """Exponential moving average of each network's parameters. Buffers (batch statistics) are copied.

    Args:
        networks: the live networks.
        half_life: half-life in thousands of generated images.
        batch_size: number of images in the global batch.
    """

    def __init__(self, networks: Mapping[str, nn.Module], half_life: float, batch_size: int) -> None:
        self.networks = {name: copy.deepcopy(net).requires_grad_(False) for name, net in networks.items()}
        self._live = dict(networks)
        self._half_life = half_life
        self._batch_size = batch_size
        # Flat lists, averaged and live tensors in the same order, for torch's fused operations.
        self._averaged_parameters: list[Tensor] = []
        self._live_parameters: list[Tensor] = []
        self._averaged_buffers: list[Tensor] = []
        self._live_buffers: list[Tensor] = []
        for name, averaged in self.networks.items():
            live = networks[name]
            self._averaged_parameters += averaged.parameters()
            self._live_parameters += live.parameters()
            self._averaged_buffers += averaged.buffers()
            self._live_buffers += live.buffers()

    @torch.no_grad()
    def update(self, iteration: int) -> None:
        """Updates the averages after generator iteration `iteration`, counted from 1."""
        kept = decay(self._half_life, self._batch_size, iteration * self._batch_size)
        # One fused kernel for all parameters, and one for all buffers.
        torch._foreach_lerp_(self._averaged_parameters, self._live_parameters, 1.0 - kept)
        if self._averaged_buffers:
            torch._foreach_copy_(self._averaged_buffers, self._live_buffers)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Uses the averaged weights in the live networks while the block runs. Swaps storages without copying."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def _swap(self) -> None:
        averaged_tensors = [*self._averaged_parameters, *self._averaged_buffers]
        live_tensors = [*self._live_parameters, *self._live_buffers]
        for averaged, live in zip(averaged_tensors, live_tensors, strict=True):
            averaged.data, live.data = live.data, averaged.data
