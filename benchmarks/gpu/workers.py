"""The section on two GPUs: whether two workers under NCCL end where one does, and how much faster they are."""

from __future__ import annotations

import tempfile
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch.multiprocessing.spawn import start_processes

from benchmarks.gpu.bench import Bench, NotAvailableError, Row
from gansweep.distributed import GPU_BACKEND
from gansweep.testing.images import shapes

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["two_workers"]

PATIENCE = timedelta(seconds=60)


def two_workers(bench: Bench) -> Iterator[Row]:
    """One worker and two, on the same global batch. Two run eagerly, so one does, too, where they are compared."""
    if not bench.on_gpu:
        raise NotAvailableError("there is no GPU")
    if torch.cuda.device_count() < 2:
        raise NotAvailableError("there is one GPU; NCCL needs two")
    data, spec = shapes(bench.sizes.images, bench.sizes.pixels)
    eager = bench.config(execution="eager")
    alone = bench.trained(eager, spec, data, 2).state
    assert alone is not None
    one = bench.step_seconds(lambda count: bench.trained(eager, spec, data, count))
    captured = bench.step_seconds(lambda count: bench.trained(bench.config(), spec, data, count))
    with tempfile.TemporaryDirectory() as folder:
        start_processes(_worker, (Path(folder), bench), nprocs=2, start_method="spawn")
        found = [torch.load(Path(folder) / f"{rank}.pt", weights_only=False) for rank in range(2)]
    worst = max(
        float((tensor - other["networks"][network][name]).abs().max())
        for other in found
        for network, tensors in alone["networks"].items()
        for name, tensor in tensors.items()
    )
    two = max(other["seconds"] for other in found)
    yield Row("weights after 2 iterations, two workers against one", worst, "largest difference", "float32")
    yield Row("one worker, captured", captured * 1e3, "ms an iteration", f"batch {bench.sizes.batch}")
    yield Row("one worker, eager", one * 1e3, "ms an iteration", f"batch {bench.sizes.batch}")
    yield Row("two workers, eager", two * 1e3, "ms an iteration", f"batch {bench.sizes.batch}, NCCL")
    yield Row("scaling", one / two / 2, "of twice one worker", "eager against eager")


def _worker(rank: int, folder: Path, bench: Bench) -> None:
    torch.cuda.set_device(rank)
    dist.init_process_group(
        GPU_BACKEND, init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2, timeout=PATIENCE
    )
    mine = Bench(torch.device("cuda", rank), bench.sizes)
    data, spec = shapes(bench.sizes.images, bench.sizes.pixels)
    state: Any = mine.trained(mine.config(), spec, data, 2).state
    seconds = mine.step_seconds(lambda count: mine.trained(mine.config(), spec, data, count))
    torch.save({"networks": state["networks"], "seconds": seconds}, folder / f"{rank}.pt")
    dist.destroy_process_group()
