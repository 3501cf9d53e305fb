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
        pairs = [(mine, networks[name]) for name, mine in self.networks.items()]
        self._parameters = _paired(pairs, nn.Module.parameters)
        self._buffers = _paired(pairs, nn.Module.buffers)

    @torch.no_grad()
    def update(self, iteration: int) -> None:
        """Updates the averages after generator iteration `iteration`, counted from 1."""
        kept = decay(self._half_life, self._batch_size, iteration * self._batch_size)
        # One fused kernel for all parameters, and one for all buffers.
        torch._foreach_lerp_(*self._parameters, 1.0 - kept)
        if self._buffers[0]:
            torch._foreach_copy_(*self._buffers)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Uses the averaged weights in the live networks while the block runs. Swaps storages without copying."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def _swap(self) -> None:
        for mine, live in zip(*self._parameters, strict=True):
            mine.data, live.data = live.data, mine.data
        for mine, live in zip(*self._buffers, strict=True):
            mine.data, live.data = live.data, mine.data


def _paired(pairs: list[tuple[nn.Module, nn.Module]], kind: object) -> tuple[list[Tensor], list[Tensor]]:
    assert callable(kind)
    mine = [tensor for averaged, _ in pairs for tensor in kind(averaged)]
    live = [tensor for _, network in pairs for tensor in kind(network)]
    return mine, live
