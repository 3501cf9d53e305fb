"""The pool of earlier translations: what it shows, what it keeps, and that all workers hold the same one."""

from __future__ import annotations

import torch

from gansweep.distributed import World
from gansweep.testing.workers import run_workers
from gansweep.training.random import SeededStepRandom
from trainables.algorithms.image_pool import ImagePool

CPU = torch.device("cpu")
BATCH, PLACES = 4, 3


def numbered(step: int) -> torch.Tensor:
    """A global batch whose images carry the step and the row."""
    return (10.0 * step + torch.arange(BATCH))[:, None, None, None].expand(-1, 1, 2, 2)


def exchanged(steps: int, pool: ImagePool | None = None) -> tuple[list[torch.Tensor], dict[str, torch.Tensor]]:
    """What this worker's critic is shown in each step, and the pool at the end."""
    world = World.current()
    pool = pool or ImagePool(BATCH * PLACES - 1, BATCH, (1, 2, 2))
    shown = [
        pool.exchange(numbered(step)[world.rows(BATCH)], SeededStepRandom((7, step), BATCH, world, CPU))[:, 0, 0, 0]
        for step in range(steps)
    ]
    return shown, pool.state_dict()


def test_fresh_images_are_shown_until_it_is_full_and_then_half_of_them_are_older():
    shown, _ = exchanged(200)
    fresh = [images == numbered(step)[:, 0, 0, 0] for step, images in enumerate(shown)]
    assert torch.stack(fresh[:PLACES]).all()
    later = torch.stack(fresh[PLACES:]).float()
    assert 0.4 < later.mean() < 0.6
    assert later.mean(dim=1).unique().numel() > 2


def test_an_older_image_comes_from_its_own_row_and_leaves_the_pool():
    shown, state = exchanged(60)
    for row in range(BATCH):
        column = [int(images[row]) for images in shown]
        assert all(value % 10 == row for value in column)
        # Those that filled the pool were shown at once as well, and come a second time when they leave.
        assert all(column.count(value) <= 1 + (value < 10 * PLACES) for value in column)
        kept = {int(value) for value in state["images"][row, :, 0, 0, 0]}
        assert kept | set(column) == {10 * step + row for step in range(60)}


def test_two_workers_show_and_keep_what_one_does():
    alone, state = exchanged(20)
    (first, state_one), (second, state_two) = run_workers(exchanged, 20)
    for whole, one, two in zip(alone, first, second, strict=True):
        assert torch.equal(whole, torch.cat([one, two]))
    for name, value in state.items():
        assert torch.equal(value, state_one[name])
        assert torch.equal(value, state_two[name])


def test_no_capacity_means_no_pool():
    shown, _ = exchanged(5, ImagePool(0, BATCH, (1, 2, 2)))
    assert torch.equal(torch.stack(shown), torch.stack([numbered(step)[:, 0, 0, 0] for step in range(5)]))
