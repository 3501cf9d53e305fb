"""Batches that hold every class equally often, and phases that take place in a part of the budget only."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gansweep.config import TrialConfig
from gansweep.contracts import Batch, Condition, ImageSet, Phase, Scalars
from gansweep.distributed import World
from gansweep.errors import ConfigError
from gansweep.training.batches import Batches
from gansweep.training.loop import train
from gansweep.training.reporters import MemoryReporter

CPU = torch.device("cpu")
PHASE = Phase("critic", ("critic",), "critic", repeats=2, stratified=True)


def numbered(labels: list[int]) -> ImageSet:
    """Images that carry their own index."""
    images = torch.arange(float(len(labels)))[:, None, None, None].expand(-1, 1, 8, 8)
    return ImageSet(images, torch.tensor(labels))


def drawn(batches: Batches, iterations: int) -> list[Batch]:
    return [batches.draw(PHASE, iteration, turn) for iteration in range(iterations) for turn in range(PHASE.repeats)]


def test_classes_take_turns_and_every_image_comes_once_per_epoch_of_its_class() -> None:
    data = numbered([0] * 9 + [1] * 3)
    batches = drawn(Batches(data, 6, 0, World(), CPU), 3)
    labels, images = (
        torch.cat(parts) for parts in zip(*((b.labels, b.images[:, 0, 0, 0]) for b in batches), strict=True)
    )
    assert labels.tolist() == [0, 1] * 18
    rare, common = images[labels == 1].tolist(), images[labels == 0].tolist()
    assert all(sorted(rare[epoch : epoch + 3]) == [9, 10, 11] for epoch in range(0, 18, 3))
    assert all(sorted(common[epoch : epoch + 9]) == list(range(9)) for epoch in range(0, 18, 9))


def test_two_workers_share_the_batch_of_one() -> None:
    data = numbered([0] * 9 + [1] * 5)
    alone = drawn(Batches(data, 8, 3, World(), CPU), 4)
    shares = [drawn(Batches(data, 8, 3, World(rank, 2), CPU), 4) for rank in range(2)]
    for whole, *parts in zip(alone, *shares, strict=True):
        assert torch.equal(whole.images, torch.cat([part.images for part in parts]))


@pytest.mark.parametrize(
    ("labels", "size", "why"), [([0, 0, 1], 5, "multiple of 2"), ([0, 0, 2], 6, "no training images")]
)
def test_what_cannot_be_stratified_is_refused(labels: list[int], size: int, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        Batches(numbered(labels), size, 0, World(), CPU).draw(PHASE, 0, 0)


class Recorder:
    """Remembers which phase ran when."""

    def __init__(self) -> None:
        self.networks = {"early": nn.Conv2d(1, 1, 1), "late": nn.Conv2d(1, 1, 1)}
        self.phases = (
            Phase("early", ("early",), "generator", stop=0.4),
            Phase("late", ("late",), "generator", start=0.4),
        )
        self.averaged, self.state = ("late",), nn.Module()
        self.ran: list[tuple[str, int]] = []

    def loss(self, phase: str, batch: Batch, step: int) -> tuple[Tensor, Scalars]:
        self.ran.append((phase, step))
        return self.networks[phase](batch.images).square().mean(), {}

    def sample(self, n: int, condition: Condition, generator: torch.Generator) -> Tensor:  # noqa: ARG002
        return torch.rand(n, 1, 8, 8, generator=generator)


def test_phases_keep_to_their_part_of_the_budget() -> None:
    gan: Any = Recorder()
    config = TrialConfig(iterations=5, batch_size=2)
    data = numbered([0, 1, 0, 1])
    train(config, gan, data, MemoryReporter(), lambda _s, _i: {}, reports=1, device=CPU)
    assert gan.ran == [("early", 0), ("early", 1), ("late", 2), ("late", 3), ("late", 4)]
