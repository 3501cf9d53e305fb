"""Whether the cluster can hold what is asked, known before anything waits for ever."""

from __future__ import annotations

import time
from dataclasses import dataclass
from math import floor
from typing import TYPE_CHECKING

from gansweep.errors import ClusterError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Footprint", "check_capacity", "gangs_that_fit", "grown", "node_resources", "total"]


@dataclass(frozen=True)
class Footprint:
    """What one trial occupies.

    Args:
        workers: Ray Train workers.
        cpus_per_worker: CPU cores each.
        gpus_per_worker: GPUs each (a fraction shares one).
    """

    workers: int = 1
    cpus_per_worker: float = 1.0
    gpus_per_worker: float = 0.0


def node_resources() -> list[dict[str, float]]:
    """What each living node of the connected cluster has, used or not; its own address, a resource too, left out."""
    import ray

    alive = (node["Resources"] for node in ray.nodes() if node["Alive"])
    return [{key: amount for key, amount in node.items() if not key.startswith("node:")} for node in alive]


def total(nodes: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The resources of all nodes together."""
    return {key: sum(node.get(key, 0.0) for node in nodes) for key in sorted(set().union(*nodes))}


def gangs_that_fit(footprint: Footprint, nodes: Sequence[Mapping[str, float]]) -> int:
    """How many trials a cluster of these nodes can hold at once: a worker's share must lie on one node, on one GPU."""
    return sum(_workers_that_fit(footprint, node) for node in nodes) // footprint.workers


def _workers_that_fit(footprint: Footprint, node: Mapping[str, float]) -> int:
    cpus, gpus = footprint.cpus_per_worker, footprint.gpus_per_worker
    workers = _times(cpus, node.get("CPU", 0.0))
    if not gpus:
        return workers
    has = node.get("GPU", 0.0)
    return min(workers, _times(gpus, 1.0) * floor(has) if gpus < 1 else _times(gpus, has))


def _times(part: float, whole: float) -> int:
    return floor(whole / part + 1e-9)


def grown(footprint: Footprint, gangs: int, wait_s: float) -> list[dict[str, float]]:
    """The cluster's nodes, once its autoscaler has had `wait_s` seconds to make room for `gangs` trials.

    A cluster without an autoscaler stays as it is; with `wait_s` 0 nothing is asked for.
    """
    from ray.autoscaler.sdk import request_resources

    deadline = time.monotonic() + wait_s
    if wait_s:
        bundle = {"CPU": footprint.cpus_per_worker, "GPU": footprint.gpus_per_worker}
        request_resources(bundles=[{k: v for k, v in bundle.items() if v}] * (footprint.workers * gangs))
    while gangs_that_fit(footprint, node_resources()) < gangs and time.monotonic() < deadline:
        time.sleep(min(5.0, max(0.1, deadline - time.monotonic())))
    return node_resources()


def check_capacity(footprint: Footprint, nodes: Sequence[Mapping[str, float]], concurrent: int | None = None) -> int:
    """The number of trials to run at once on a cluster of these nodes.

    Raises:
        ClusterError: not even one trial fits, or fewer than `concurrent` do. Ray itself would wait for ever.
    """
    fits, resources = gangs_that_fit(footprint, nodes), total(nodes)
    has = f"{resources.get('CPU', 0):g} CPUs and {resources.get('GPU', 0):g} GPUs"
    has += f" on {len(nodes)} nodes" * (len(nodes) > 1)
    needs = f"{footprint.workers} workers x ({footprint.cpus_per_worker:g} CPU + {footprint.gpus_per_worker:g} GPU)"
    if fits < 1:
        raise ClusterError(
            f"a trial needs {needs}, the cluster has {has}", fix="ask for fewer workers per trial or add nodes"
        )
    if concurrent is not None and concurrent > fits:
        raise ClusterError(
            f"{concurrent} trials at once of {needs} each, the cluster has {has}", fix=f"--concurrent {fits} fits"
        )
    return concurrent or fits
