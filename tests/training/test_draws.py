"""Random numbers and batches: the same for any number of workers, and for a run that was resumed."""

from __future__ import annotations

import pytest
import torch

from gansweep.contracts import Phase
from gansweep.distributed import World
from gansweep.errors import ConfigError
from gansweep.seeds import seed_from
from gansweep.testing.images import shapes
from gansweep.training.batches import Batches
from gansweep.training.random import SeededStepRandom

CPU = torch.device("cpu")
DATA, _ = shapes(count=10, size=8)
CRITIC = Phase("critic", ("critic",), "critic", repeats=3)


def draws(world=World(), place=(0, "critic", 5, 1)):  # noqa: B008
    return SeededStepRandom(place, 8, world, CPU)


@pytest.mark.parametrize("workers", [2, 4, 8])
def test_workers_share_the_numbers_of_one(workers):
    shares = [draws(World(rank, workers)) for rank in range(workers)]
    whole = draws()
    for _ in range(2):
        assert torch.equal(torch.cat([share.normal(3, 2) for share in shares]), whole.normal(3, 2))
        assert torch.equal(torch.cat([share.uniform() for share in shares]), whole.uniform())
        assert torch.equal(torch.cat([share.integers(7, 2) for share in shares]), whole.integers(7, 2))


def test_steps_phases_and_draws_differ():
    places = [
        (0, "critic", 5, 1),
        (1, "critic", 5, 1),
        (0, "generator", 5, 1),
        (0, "critic", 6, 1),
        (0, "critic", 5, 2),
    ]
    numbers = [draws(place=place).normal(4) for place in places]
    one = draws()
    numbers += [one.normal(4), one.normal(4)]
    assert torch.equal(numbers[0], numbers[-2])
    assert len({tuple(n.flatten().tolist()) for n in numbers}) == len(numbers) - 1


def test_numbers_are_what_they_are_called():
    many = SeededStepRandom((0,), 20_000, World(), CPU)
    normal, uniform, integers = many.normal(), many.uniform(), many.integers(3)
    assert abs(normal.mean()) < 0.03
    assert abs(normal.std() - 1) < 0.03
    assert 0 <= uniform.min() < 0.01
    assert 0.99 < uniform.max() < 1
    assert integers.unique().tolist() == [0, 1, 2]


def test_seeds_are_stable():
    # A change here would make every stored trial unrepeatable.
    assert seed_from(0, "critic", 5, 1) == 5372716907423708888


def ids(batch):
    """Which images of DATA these are."""
    return [int((DATA.images == image).flatten(1).all(1).nonzero()) for image in batch.images]


def test_an_epoch_shows_every_image_once():
    batches = Batches(DATA, 4, 0, World(), CPU)
    seen = [index for step in range(5) for index in ids(batches.draw(CRITIC, step // 3, step % 3))]
    assert sorted(seen[:10]) == list(range(10))
    assert sorted(seen[10:]) == list(range(10))
    assert seen[:10] != seen[10:]


@pytest.mark.parametrize("size", [4, 8, 24])
def test_any_step_can_be_had_alone_and_shared(size):
    through = Batches(DATA, size, 0, World(), CPU)
    history = [through.draw(CRITIC, step // 3, step % 3) for step in range(12)]
    alone = Batches(DATA, size, 0, World(), CPU).draw(CRITIC, 3, 2)
    assert torch.equal(alone.images, history[11].images)
    halves = [Batches(DATA, size, 0, World(rank, 2), CPU).draw(CRITIC, 3, 2) for rank in range(2)]
    assert torch.equal(torch.cat([half.images for half in halves]), alone.images)
    assert torch.equal(torch.cat([half.labels for half in halves]), alone.labels)
    assert torch.equal(torch.cat([half.masks for half in halves]), alone.masks)
    assert torch.equal(torch.cat([half.paired for half in halves]), alone.paired)


def test_batches_that_cannot_be_shared():
    with pytest.raises(ConfigError, match="choose a multiple of 3"):
        Batches(DATA, 4, 0, World(0, 3), CPU)
    empty = shapes(count=2)[0]
    with pytest.raises(ConfigError, match="empty"):
        Batches(type(empty)(empty.images[:0], empty.labels[:0]), 4, 0, World(), CPU)
