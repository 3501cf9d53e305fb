"""Connects to the Ray cluster, computes what fits on it, and builds every `TorchTrainer`."""

from __future__ import annotations

import logging
import os
import time
from contextlib import contextmanager
from dataclasses import dataclass
from math import ceil, floor
from typing import TYPE_CHECKING, Any

from gansweep.errors import ClusterError
from gansweep.search import placement_groups
from gansweep.search.connection import cluster_is_up, connect
from gansweep.search.head_watch import ending_without_head
from gansweep.search.interrupts import ending_like_interrupts
from gansweep.search.placement_groups import removal_of_abandoned

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from gansweep.options import Placement

__all__ = [
    "ACCELERATOR",
    "MOST_LOST_NODES",
    "Footprint",
    "check_capacity",
    "expected_nodes",
    "groups_that_fit",
    "grown",
    "memory_beside_workers",
    "node_resources",
    "on_this_node",
    "ray_cluster",
    "torch_trainer",
    "total",
]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Footprint:
    """Resources of one trial.

    Args:
        workers: number of Ray Train workers.
        cpus_per_worker: CPU cores of each worker.
        gpus_per_worker: GPUs of each worker. With a fraction, trials share a GPU.
        placement: whether workers are packed on as few nodes as possible, or spread over many.
        accelerator: accelerator that their nodes must have, by Ray's name for it; None for any node.

    Raises:
        ClusterError: several workers have a fraction of a GPU each, or a number above 1 is not an integer.
    """

    workers: int = 1
    cpus_per_worker: float = 1.0
    gpus_per_worker: float = 0.0
    placement: Placement = "pack"
    accelerator: str | None = None

    def __post_init__(self) -> None:
        gpus = self.gpus_per_worker
        if gpus > 1 and gpus != floor(gpus):
            raise ClusterError(
                f"{gpus:g} GPUs per worker: Ray gives out a part of one GPU or whole ones",
                fix=f"--gpus-per-worker {floor(gpus)} or {ceil(gpus)}",
            )
        if self.workers > 1 and 0 < gpus < 1:
            raise ClusterError(
                f"{self.workers} workers with {gpus:g} GPUs each: workers of one trial cannot share a GPU (NCCL)",
                fix="give each a whole one (--gpus-per-worker 1), or use one worker with a part of a GPU",
            )

    @property
    def gpus(self) -> float:
        """Number of GPUs over all workers."""
        return self.workers * self.gpus_per_worker

    @property
    def per_worker(self) -> dict[str, float]:
        """Returns a worker's resources by Ray's names. Omits unused resources."""
        wanted = {"CPU": self.cpus_per_worker, "GPU": self.gpus_per_worker}
        return {name: amount for name, amount in wanted.items() if amount}

    @property
    def bundle(self) -> dict[str, float]:
        """Returns what one worker requests from its node, including the accelerator, which workers can share."""
        kind = {f"{ACCELERATOR}{self.accelerator}": 0.001} if self.accelerator else {}
        return {**self.per_worker, **kind}


MOST_LOST_NODES = 20
"""Nodes that may be lost to the same work, one after the other. It may be what ends them."""

ACCELERATOR = "accelerator_type:"
"""Prefix of Ray's resource for the accelerator of a node."""

_BESIDE_WORKERS = 2**30
"""Bytes that a worker group needs beside its workers: its trial's actor, its mailbox and Ray Train's own processes.

Measured by `benchmarks/group_memory.py`. With less than this reserved, Ray puts more groups on a small head than its
memory holds.
"""


def memory_beside_workers(nodes: Sequence[Mapping[str, float]]) -> int:
    """Returns the bytes to reserve for a worker group beside its workers.

    No more than the largest node has: a trial must fit somewhere.
    """
    has = max((node.get("memory", 0.0) for node in nodes), default=0.0)
    return int(min(_BESIDE_WORKERS, has)) or _BESIDE_WORKERS


def node_resources() -> list[dict[str, float]]:
    """Returns each living node's total resources, without the resource that stands for its own address."""
    import ray

    found = []
    for node in ray.nodes():
        if node["Alive"]:
            resources = node["Resources"].items()
            found.append({key: amount for key, amount in resources if not key.startswith("node:")})
    return found


def expected_nodes() -> tuple[list[dict[str, float]], bool]:
    """Returns the nodes that a sweep would find, and whether they are those of a cluster. Starts no cluster.

    Raises:
        ClusterError: the configured cluster does not respond.
    """
    if cluster_is_up():
        with ray_cluster() as nodes:
            return nodes, True
    return [_own_resources()], False


def _own_resources() -> dict[str, float]:
    import torch
    from ray._private.accelerators import get_accelerator_manager_for_resource
    from ray._private.utils import get_num_cpus  # Ray's own count, which respects the limits of a container

    kind = get_accelerator_manager_for_resource("GPU").get_current_node_accelerator_type()
    named = {f"{ACCELERATOR}{kind}": 1.0} if kind else {}
    return {"CPU": float(get_num_cpus()), "GPU": float(torch.cuda.device_count()), **named}


def total(nodes: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Returns the summed resources of all nodes."""
    sums: dict[str, float] = {}
    for node in nodes:
        for key, amount in node.items():
            sums[key] = sums.get(key, 0.0) + amount
    return dict(sorted(sums.items()))


def groups_that_fit(footprint: Footprint, nodes: Sequence[Mapping[str, float]]) -> int:
    """Returns how many trials fit on these nodes at once.

    Each worker must fit on one node, and its fraction on one GPU.
    """
    return sum(_workers_that_fit(footprint, node) for node in nodes) // footprint.workers


def _workers_that_fit(footprint: Footprint, node: Mapping[str, float]) -> int:
    if footprint.accelerator and f"{ACCELERATOR}{footprint.accelerator}" not in node:
        return 0
    cpus = footprint.cpus_per_worker
    gpus = footprint.gpus_per_worker
    workers = _times(cpus, node.get("CPU", 0.0))
    if not gpus:
        return workers
    has = node.get("GPU", 0.0)
    return min(workers, _times(gpus, 1.0) * floor(has) if gpus < 1 else _times(gpus, has))


def _times(part: float, whole: float) -> int:
    return floor(whole / part + 1e-9)


def grown(footprint: Footprint, groups: int, wait_s: float) -> list[dict[str, float]]:
    """Returns the cluster's nodes after giving its autoscaler `wait_s` seconds to make room for the first trial.

    Room for `groups` trials is requested. A cluster without an autoscaler stays unchanged. With `wait_s` 0, nothing is
    requested. The request is withdrawn before this function returns or raises, because the autoscaler would keep it
    forever, even for unused nodes. After that, the trials' own demand holds the nodes they use, and a `Demand` asks for
    more.
    """
    from ray.autoscaler.sdk import request_resources

    if not wait_s:
        return node_resources()
    deadline = time.monotonic() + wait_s
    try:
        request_resources(bundles=[footprint.bundle] * (footprint.workers * groups))
        while not groups_that_fit(footprint, node_resources()) and time.monotonic() < deadline:
            time.sleep(min(5.0, max(0.1, deadline - time.monotonic())))
        return node_resources()
    finally:
        request_resources(bundles=[])


def check_capacity(footprint: Footprint, nodes: Sequence[Mapping[str, float]], concurrent: int | None = None) -> int:
    """Returns the number of trials to run at once on these nodes.

    Raises:
        ClusterError: not even one trial fits, or fewer than `concurrent` do; or no node has the accelerator. Ray itself
            would wait for ever.
    """
    _check_accelerator(footprint, nodes)
    fits = groups_that_fit(footprint, nodes)
    resources = total(nodes)
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


def _check_accelerator(footprint: Footprint, nodes: Sequence[Mapping[str, float]]) -> None:
    resources: set[str] = set().union(*nodes)
    kinds = sorted(key.removeprefix(ACCELERATOR) for key in resources if key.startswith(ACCELERATOR))
    if footprint.accelerator and footprint.accelerator not in kinds:
        raise ClusterError(
            f"no node has accelerator {footprint.accelerator}, the cluster has {', '.join(kinds) or 'none'}",
            fix=f"--accelerator {kinds[0]}, or leave it out" if kinds else "leave --accelerator out, or add nodes",
        )


def on_this_node() -> Any:
    """Returns a scheduling strategy for an actor that shall live as long as this process's node, and no shorter.

    Ray places an actor without resources on any node. If that node is lost, so is the actor.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    return NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)


def torch_trainer(
    work: Callable[[dict[str, Any]], None],
    config: dict[str, Any],
    footprint: Footprint,
    *,
    name: str,
    storage: str,
    max_failures: int,
) -> Any:
    """Builds a Ray Train `TorchTrainer` whose workers run `work(config)`.

    Args:
        work: function that each worker runs.
        config: argument of `work`.
        footprint: number of workers, and the resources of each.
        name: unique name of the run. Ray Train silently loads the state of an older run with the same name.
        storage: folder or URI for Ray Train's own files.
        max_failures: how often Ray Train restarts the workers. Its controller is never restarted; by default Ray would
            retry it forever.
    """
    from ray.train import FailureConfig, RunConfig, ScalingConfig

    from gansweep.distributed import GPU_BACKEND
    from gansweep.search.lean_trainer import LeanTrainer
    from gansweep.search.process_group import ProcessGroupConfig

    on_gpus = footprint.gpus_per_worker > 0
    # It is a process of each group that tells a training function of a coming preemption. Here a trial goes on from its
    # checkpoint, whether it was told or not.
    os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")
    return LeanTrainer(
        work,
        train_loop_config=config,
        torch_config=ProcessGroupConfig(backend=GPU_BACKEND if on_gpus else "gloo"),
        scaling_config=ScalingConfig(
            num_workers=footprint.workers,
            use_gpu=on_gpus,
            resources_per_worker=footprint.per_worker,
            accelerator_type=footprint.accelerator,
            # Packed by default: every step waits for the slowest link between the workers.
            placement_strategy=footprint.placement.upper(),
        ),
        run_config=RunConfig(
            name=name,
            storage_path=storage,
            failure_config=FailureConfig(max_failures=max_failures, controller_failure_limit=0),
        ),
    )


@contextmanager
def ray_cluster() -> Iterator[list[dict[str, float]]]:
    """Provides a Ray cluster, as the resources of its nodes.

    It uses the cluster already connected to, else one found by Ray's own rules, else this machine. Inside the context,
    SIGTERM and SIGHUP act like Ctrl-C. Afterwards, nothing that the block reserved on the cluster is left. If the
    cluster's head is lost, this process ends.

    Raises:
        ClusterError: the cluster does not respond, or none can be started here.
    """
    # Ray reads these when it is first imported. Tune's own result files would duplicate the store, at a cost.
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    # A sweep is resumed from its store. Tune would write the state of all its trials again and again, and keep it.
    os.environ.setdefault("TUNE_GLOBAL_CHECKPOINT_S", "1e9")
    os.environ.setdefault("RAY_TRAIN_ENABLE_CONTROLLER_STRUCTURED_LOGGING", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    # A worker group has more processes than CPUs, which all but sleep. Ray would warn of them on a small machine.
    os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", "PYTHON worker processes have been started on node")
    # A diverged trial ends without the scheduler's metric. Tune's check would abort the whole sweep because of it.
    os.environ.setdefault("TUNE_DISABLE_STRICT_METRIC_CHECKING", "1")
    import ray

    ours = not ray.is_initialized()
    joined = ours and cluster_is_up()
    # Ray installs its own SIGTERM handler when it connects. What is here before must be there again afterwards.
    with ending_like_interrupts():
        if ours:
            log.info("starting Ray, or joining the cluster that it finds")
            connect()
        with (
            ending_like_interrupts() as interrupted,
            _connected(ours=ours, joined=joined),
            ending_without_head(interrupted),
            removal_of_abandoned(),
        ):
            yield node_resources()


@contextmanager
def _connected(*, ours: bool, joined: bool) -> Iterator[None]:
    """Leaves nothing reserved on the cluster after the block.

    Args:
        ours: whether this process has just connected, and so disconnects again.
        joined: whether it then joined a cluster that was there before.
    """
    import ray

    try:
        if joined:
            placement_groups.remove(placement_groups.forgotten())
        reserved = set() if ours else placement_groups.of_this_job()
        try:
            yield
        finally:
            if not ours or joined:
                # Ray Train forgets one if its controller is ended while it starts workers.
                placement_groups.remove(placement_groups.of_this_job() - reserved)
    finally:
        if ours:
            ray.shutdown()
