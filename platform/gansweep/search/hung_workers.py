"""Kills the processes of hung workers, each on its node."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["WorkerProcess", "kill_process", "kill_workers"]

_KILL_S = 30.0  # for a node to kill processes; a lost node never answers


@dataclass(frozen=True)
class WorkerProcess:
    """A worker's process on the cluster.

    Args:
        node: Ray's id of its node.
        pid: its process id there.
        created: when it began, in seconds since the epoch: ids are used again.
    """

    node: str
    pid: int
    created: float

    @classmethod
    def here(cls) -> WorkerProcess:
        """Returns this process, which Ray started."""
        import ray

        return cls(ray.get_runtime_context().get_node_id(), os.getpid(), psutil.Process().create_time())


def kill_workers(workers: Iterable[WorkerProcess]) -> None:
    """Kills processes on their nodes. One that is stopped, or waits in a driver, does not react to Ray."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    task = ray.remote(num_cpus=0, max_retries=0)(kill_process)
    killed = [
        task.options(
            scheduling_strategy=NodeAffinitySchedulingStrategy(worker.node, soft=False),
        ).remote(worker.pid, worker.created)
        for worker in workers
    ]
    ray.wait(killed, num_returns=len(killed), timeout=_KILL_S)


def kill_process(pid: int, created: float) -> None:
    """Kills a process of this machine and its children, unless its id now belongs to another process.

    Args:
        pid: id of the process.
        created: start of the process, in seconds since the epoch.
    """
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        if abs(process.create_time() - created) < 1.0:
            for part in (*process.children(recursive=True), process):
                with contextlib.suppress(psutil.NoSuchProcess):
                    part.kill()
