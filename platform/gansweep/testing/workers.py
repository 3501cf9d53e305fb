"""Runs a function in several gloo processes on this machine, for tests of distributed training."""

from __future__ import annotations

import multiprocessing
import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch.multiprocessing.spawn import start_processes

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["run_workers"]

_PRELOADED = ["torch", "gansweep.testing.gan_contract"]
"""Imported once, by the server from which workers are forked: an import takes longer than most of their work."""


def run_workers(function: Callable[..., Any], *arguments: object, size: int = 2) -> list[Any]:
    """Runs `function(*arguments)` in `size` new processes of one process group, with one thread each.

    Args:
        function: function that can be imported by name, with picklable arguments and result.
        arguments: arguments of every process.
        size: number of processes.

    Returns:
        The workers' results, by rank.
    """
    multiprocessing.set_forkserver_preload(_PRELOADED)
    with tempfile.TemporaryDirectory() as folder:
        start_processes(
            _worker, (Path(folder), size, dict(os.environ), function, arguments), nprocs=size, start_method="forkserver"
        )
        return [torch.load(Path(folder) / f"{rank}.pt", weights_only=False) for rank in range(size)]


def _worker(
    rank: int,
    folder: Path,
    size: int,
    environment: dict[str, str],
    function: Callable[..., Any],
    arguments: tuple[object, ...],
) -> None:
    # The server may be older than a variable.
    os.environ.clear()
    os.environ.update(environment)
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=size)
    torch.save(function(*arguments), folder / f"{rank}.pt")
    dist.destroy_process_group()
    sys.stdout.flush()
    sys.stderr.flush()
    # Skips the interpreter's shutdown, which aborts if a gloo thread releases a tensor at the same time.
    os._exit(0)
