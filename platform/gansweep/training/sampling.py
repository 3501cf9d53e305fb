"""Samples of a trained generator, with averaged weights in evaluation mode, as a function of the seed."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gansweep.contracts import ChoosesConditions, Condition, Gan, ImageSet, Sampler
from gansweep.devices import exact_float32
from gansweep.seeds import seed_from
from gansweep.training.placement import within_reach

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gansweep.training.ema import Ema

__all__ = ["choose", "condition_for", "make_sampler"]

CHUNK = 32
"""Number of images generated at once.

Chunks are always full, so that an image does not depend on the number requested.
"""


def make_sampler(gan: Gan, ema: Ema | None, data: ImageSet, device: torch.device) -> Sampler:
    """Returns a sampler of `gan`.

    The first k images of a seed do not depend on the number of images requested, bit for bit on a CPU.

    Args:
        gan: the GAN. Its networks may be in training mode; their mode and weights are restored.
        ema: averaged weights for sampling; None uses the networks' own.
        data: training images, from which missing sources and masks of a condition are chosen.
        device: device of the networks.

    Returns:
        A function from a condition and a seed to images `[n, C, H, W]` float32 on the CPU. It raises ValueError if the
        condition has no labels. It is a `StartsFromImages`.
    """
    return _Sampler(gan, ema, within_reach(data, device), device)


@dataclass(frozen=True)
class _Sampler:
    gan: Gan
    ema: Ema | None
    data: ImageSet
    device: torch.device

    @torch.no_grad()
    def __call__(self, condition: Condition, seed: int) -> Tensor:
        if not len(condition.labels):
            raise ValueError("cannot draw a sample of 0 images")
        images = []
        averaged = self.ema.applied() if self.ema else nullcontext()
        with averaged, _evaluating(self.gan), exact_float32(self.device):
            for chunk, generator in _chunks(condition, seed, self.device):
                completed = _completed(self.gan, chunk, self.data, generator)
                images.append(self.gan.sample(CHUNK, completed, generator).float().cpu())
        return torch.cat(images)[: len(condition.labels)].contiguous()

    def starting_from(self, data: ImageSet) -> Sampler:
        return make_sampler(self.gan, self.ema, data, self.device)


def condition_for(labels: Tensor, data: ImageSet, generator: torch.Generator) -> Condition:
    """Returns the default condition of a sample, for families that do not choose their own.

    Args:
        labels: requested classes `[n]`.
        data: training images, on the device of `labels` and `generator`.
        generator: random generator.

    Returns:
        A condition with the labels. Its sources are random training images of *other* classes (of any class if there is
        only one). Its masks, if the cohort has masks, are those of random training images of the requested class.
    """
    same = labels[:, None] == data.labels[None]
    sources = data.images[choose(~same, generator)]
    masks = None if data.masks is None else data.masks[choose(same, generator)]
    return Condition(labels, sources, masks)


def choose(allowed: Tensor, generator: torch.Generator) -> Tensor:
    """Returns a random allowed column per row of `allowed` `[n, m]` bool, or any column if none is; `[n]`."""
    weights = allowed.double()
    weights[weights.sum(1) == 0] = 1.0
    return torch.multinomial(weights, 1, generator=generator).squeeze(1)


def _completed(gan: Gan, condition: Condition, data: ImageSet, generator: torch.Generator) -> Condition:
    """Returns `condition` with missing sources and masks chosen from the training images."""
    choose = gan.condition if isinstance(gan, ChoosesConditions) else condition_for
    # Chosen even if nothing is missing, so that the generator's state afterwards is the same.
    chosen = choose(condition.labels, data, generator)
    return replace(
        condition,
        sources=chosen.sources if condition.sources is None else condition.sources,
        masks=chosen.masks if condition.masks is None else condition.masks,
    )


def _chunks(condition: Condition, seed: int, device: torch.device) -> Iterator[tuple[Condition, torch.Generator]]:
    """Yields chunks of `CHUNK` rows, each with its own generator. The last one is padded with its first row."""
    count = len(condition.labels)
    for number, start in enumerate(range(0, count, CHUNK)):
        rows = torch.arange(start, start + CHUNK)
        rows[rows >= count] = start
        chunk = Condition(
            condition.labels[rows.to(condition.labels.device)].to(device),
            _rows_of(condition.sources, rows, device),
            _rows_of(condition.masks, rows, device),
        )
        generator = torch.Generator(device).manual_seed(seed_from(seed, "sample", number))
        yield chunk, generator


def _rows_of(images: Tensor | None, rows: Tensor, device: torch.device) -> Tensor | None:
    return None if images is None else images[rows.to(images.device)].to(device)


@contextmanager
def _evaluating(gan: Gan) -> Iterator[None]:
    """Sets evaluation mode while the block runs, then restores each module's mode (a frozen teacher stays frozen)."""
    modes = {module: module.training for network in gan.networks.values() for module in network.modules()}
    for network in gan.networks.values():
        network.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training
