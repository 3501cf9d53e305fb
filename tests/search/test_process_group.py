"""How workers on one machine find each other, without Ray."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from gansweep.search.process_group import _join
from gansweep.testing.workers import run_workers


def _sum(folder: str) -> tuple[float, list[str]]:
    rank = dist.get_rank()
    dist.destroy_process_group()
    group = {"backend": "gloo", "world_size": 2, "timeout": timedelta(seconds=60)}
    _join(group, f"{folder}/store", rank)
    total = torch.ones(1)
    dist.all_reduce(total)
    return float(total), [path.name for path in Path(folder).iterdir()]


@pytest.mark.parametrize("name", ["plain", "job#1", "what?", "a b", "123[4]"])
def test_workers_meet_in_a_file_of_any_name(name: str, tmp_path: Path) -> None:
    folder = tmp_path / name
    folder.mkdir()
    assert run_workers(_sum, str(folder)) == [(2.0, ["store"])] * 2
