"""The images of the generators' last step: any worker holds all of them, and is given its own."""

from __future__ import annotations

import torch

from gansweep.distributed import World
from gansweep.testing.workers import run_workers
from trainables.algorithms.fake_buffer import FakeBuffer

BATCH = 4


def kept() -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """This worker's rows, and what its checkpoint holds."""
    made = FakeBuffer({"small": torch.zeros(BATCH, 1, 2, 2), "large": torch.zeros(BATCH, 3, 4, 4)})
    rows = World.current().rows(BATCH)
    for step in range(2):
        numbers = (10.0 * step + torch.arange(BATCH))[rows, None, None, None]
        made.keep({"small": numbers.expand(-1, 1, 2, 2), "large": -numbers.expand(-1, 3, 4, 4)})
    return made.local_rows(), made.state_dict()


def test_the_last_step_takes_the_place_of_the_one_before():
    mine, state = kept()
    assert mine["small"][:, 0, 0, 0].tolist() == [10, 11, 12, 13]
    assert mine["large"][:, 2, 3, 3].tolist() == [-10, -11, -12, -13]
    assert all(torch.equal(mine[name], state[name]) for name in state)


def test_two_workers_keep_what_one_does():
    alone, state = kept()
    for rank, (mine, held) in enumerate(run_workers(kept)):
        for name, images in alone.items():
            assert torch.equal(mine[name], images[2 * rank : 2 * rank + 2])
            assert torch.equal(held[name], state[name])
