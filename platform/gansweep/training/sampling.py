"""Samples of a trained generator: averaged weights, evaluation mode, and a function of the seed alone."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gansweep.contracts import ChoosesConditions, Condition, Gan, ImageSet, Sampler
from gansweep.training.draws import seed_from

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gansweep.training.ema import Averages

__all__ = ["choose", "condition_for", "make_sampler"]

CHUNK = 32
"""Images generated at once. Every chunk is filled up, so that an image does not depend on how many are asked for."""


def make_sampler(gan: Gan, averages: Averages | None, data: ImageSet, device: torch.device) -> Sampler:
    """A sampler of `gan`.

    The first k images of a seed are the same, bit for bit on a CPU, however many are asked for.

    Args:
        gan: its networks may be in training; they are left as found.
        averages: weights to sample with; None: the networks' own.
        data: training images that conditions without sources or masks are completed from.
        device: where the networks live.
    """
    data = data.to(device)

    @torch.no_grad()
    def sample(condition: Condition, seed: int) -> Tensor:
        if not len(condition.labels):
            raise ValueError("a sample of no images was asked for")
        with averages.applied() if averages else nullcontext(), _evaluating(gan):
            chunks = [
                gan.sample(CHUNK, _completed(gan, chunk, data, generator), generator).float().cpu()
                for chunk, generator in _chunks(condition, seed, device)
            ]
        return torch.cat(chunks)[: len(condition.labels)].contiguous()

    return sample


def condition_for(labels: Tensor, data: ImageSet, generator: torch.Generator) -> Condition:
    """The condition of families that do not choose their own.

    Args:
        labels: `[n]` wanted classes.
        data: training images, on the device of `labels` and `generator`.
        generator: of the choice.

    Returns:
        The labels; as sources random training images of *other* classes (of any where there is one class only); as
        masks those of random training images of the wanted class, where the cohort has masks.
    """
    same = labels[:, None] == data.labels[None]
    sources = data.images[choose(~same, generator)]
    masks = None if data.masks is None else data.masks[choose(same, generator)]
    return Condition(labels, sources, masks)


def choose(allowed: Tensor, generator: torch.Generator) -> Tensor:
    """One column index `[n]` per row of `allowed` `[n, m]` bool among the allowed ones; among all where none is."""
    weights = allowed.double()
    weights[weights.sum(1) == 0] = 1.0
    return torch.multinomial(weights, 1, generator=generator).squeeze(1)


def _completed(gan: Gan, condition: Condition, data: ImageSet, generator: torch.Generator) -> Condition:
    """`condition` with sources and masks, where it has none, chosen from the training images."""
    choose = gan.condition if isinstance(gan, ChoosesConditions) else condition_for
    # Chosen even when nothing is missing: what is drawn afterwards must not depend on it.
    chosen = choose(condition.labels, data, generator)
    return replace(
        condition,
        sources=chosen.sources if condition.sources is None else condition.sources,
        masks=chosen.masks if condition.masks is None else condition.masks,
    )


def _chunks(condition: Condition, seed: int, device: torch.device) -> Iterator[tuple[Condition, torch.Generator]]:
    """Full chunks (the last one filled up with its first rows), each with its own generator."""
    n = len(condition.labels)
    for number, start in enumerate(range(0, n, CHUNK)):
        rows = torch.arange(start, start + CHUNK)
        rows[rows >= n] = start
        labels, sources, masks = (
            None if part is None else part[rows.to(part.device)].to(device)
            for part in (condition.labels, condition.sources, condition.masks)
        )
        assert labels is not None
        yield Condition(labels, sources, masks), torch.Generator(device).manual_seed(seed_from(seed, "sample", number))


@contextmanager
def _evaluating(gan: Gan) -> Iterator[None]:
    """Evaluation mode inside, and afterwards each module's own mode (a frozen teacher stays in evaluation)."""
    modes = {module: module.training for network in gan.networks.values() for module in network.modules()}
    for network in gan.networks.values():
        network.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training
