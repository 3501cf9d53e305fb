"""The Ray cluster: connecting to it, what fits on it, and the one place that builds a `TorchTrainer`."""

from __future__ import annotations

import logging
import os
import time
from contextlib import contextmanager
from dataclasses import dataclass
from math import ceil, floor
from typing import TYPE_CHECKING, Any

from gansweep.errors import ClusterError
from gansweep.search.connection import cluster_is_up, connect
from gansweep.search.interrupts import ending_like_interrupts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from gansweep.options import Placement

__all__ = [
    "ACCELERATOR",
    "Footprint",
    "check_capacity",
    "expected_nodes",
    "groups_that_fit",
    "grown",
    "node_resources",
    "ray_cluster",
    "torch_trainer",
    "total",
]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Footprint:
    """What one trial occupies.

    Args:
        workers: Ray Train workers.
        cpus_per_worker: CPU cores each.
        gpus_per_worker: GPUs each (a fraction shares one with other trials).
        placement: whether its workers are on one machine where they fit, or on as many as there are.
        accelerator: what their nodes must have, by Ray's name for it; None: anything.

    Raises:
        ClusterError: several workers with a fraction of a GPU each, or a number above 1 that is not whole.
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
        """GPUs over all workers."""
        return self.workers * self.gpus_per_worker

    @property
    def per_worker(self) -> dict[str, float]:
        """A worker's resources as Ray names them; what it does not use is left out."""
        wanted = {"CPU": self.cpus_per_worker, "GPU": self.gpus_per_worker}
        return {name: amount for name, amount in wanted.items() if amount}

    @property
    def bundle(self) -> dict[str, float]:
        """What one worker asks of its node, the accelerator too, which any number of workers can share."""
        kind = {f"{ACCELERATOR}{self.accelerator}": 0.001} if self.accelerator else {}
        return {**self.per_worker, **kind}


ACCELERATOR = "accelerator_type:"
"""How Ray's resource begins that a node with an accelerator has."""


def node_resources() -> list[dict[str, float]]:
    """What each living node of the connected cluster has, used or not; its own address, a resource too, left out."""
    import ray

    alive = (node["Resources"] for node in ray.nodes() if node["Alive"])
    return [{key: amount for key, amount in node.items() if not key.startswith("node:")} for node in alive]


def expected_nodes() -> tuple[list[dict[str, float]], bool]:
    """The nodes that a sweep would find, and whether they are a cluster's; none is started for it.

    Raises:
        ClusterError: a cluster is named that does not answer.
    """
    if cluster_is_up():
        with ray_cluster() as nodes:
            return nodes, True
    return [_own_resources()], False


def _own_resources() -> dict[str, float]:
    import torch
    from ray._private.accelerators import get_accelerator_manager_for_resource
    from ray._private.utils import get_num_cpus  # what Ray would count itself, limits of a container included

    kind = get_accelerator_manager_for_resource("GPU").get_current_node_accelerator_type()
    named = {f"{ACCELERATOR}{kind}": 1.0} if kind else {}
    return {"CPU": float(get_num_cpus()), "GPU": float(torch.cuda.device_count()), **named}


def total(nodes: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The resources of all nodes together."""
    return {key: sum(node.get(key, 0.0) for node in nodes) for key in sorted(set().union(*nodes))}


def groups_that_fit(footprint: Footprint, nodes: Sequence[Mapping[str, float]]) -> int:
    """How many trials a cluster of these nodes can hold at once: a worker's share must lie on one node, on one GPU."""
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
    """The cluster's nodes, once its autoscaler has had `wait_s` seconds to make room for `groups` trials.

    A cluster without an autoscaler stays as it is; with `wait_s` 0 nothing is asked for. What was asked for is
    withdrawn before this returns or raises: the autoscaler would keep it for ever, also when nobody uses it any more.
    The trials' own demand then holds the nodes that they use.
    """
    from ray.autoscaler.sdk import request_resources

    if not wait_s:
        return node_resources()
    deadline = time.monotonic() + wait_s
    try:
        request_resources(bundles=[footprint.bundle] * (footprint.workers * groups))
        while groups_that_fit(footprint, node_resources()) < groups and time.monotonic() < deadline:
            time.sleep(min(5.0, max(0.1, deadline - time.monotonic())))
        return node_resources()
    finally:
        request_resources(bundles=[])


def check_capacity(footprint: Footprint, nodes: Sequence[Mapping[str, float]], concurrent: int | None = None) -> int:
    """The number of trials to run at once on a cluster of these nodes.

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
    kinds = sorted({key.removeprefix(ACCELERATOR) for node in nodes for key in node if key.startswith(ACCELERATOR)})
    if footprint.accelerator and footprint.accelerator not in kinds:
        raise ClusterError(
            f"no node has accelerator {footprint.accelerator}, the cluster has {', '.join(kinds) or 'none'}",
            fix=f"--accelerator {kinds[0]}, or leave it out" if kinds else "leave --accelerator out, or add nodes",
        )


def torch_trainer(
    work: Callable[[dict[str, Any]], None],
    config: dict[str, Any],
    footprint: Footprint,
    *,
    name: str,
    storage: str,
    max_failures: int,
) -> Any:
    """A Ray Train `TorchTrainer` whose workers run `work(config)`.

    Args:
        work: the workers' function.
        config: its argument.
        footprint: number of workers and what each occupies.
        name: of the run, used once. Ray Train silently loads an old run's state that it finds under the same name.
        storage: folder or URI for Ray Train's own files.
        max_failures: how often Ray Train restarts the workers. Its controller is never restarted: by default it would
            be tried for ever.
    """
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    on_gpus = footprint.gpus_per_worker > 0
    return TorchTrainer(
        work,
        train_loop_config=config,
        # Ray's default for GPUs is NCCL alone, which refuses tensors on the CPU.
        torch_config=TorchConfig(backend="cpu:gloo,cuda:nccl" if on_gpus else "gloo"),
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
    """A Ray cluster, as the resources of its nodes.

    The one already connected to, else one found by Ray's own rules, else this machine. While it lasts, SIGTERM and
    SIGHUP end like Ctrl-C.

    Raises:
        ClusterError: it does not answer, or none can be started here.
    """
    # Ray reads these when it is first imported. Tune's own result files repeat what the store keeps, at a cost.
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    os.environ.setdefault("RAY_TRAIN_ENABLE_CONTROLLER_STRUCTURED_LOGGING", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    # A diverged trial ends without the scheduler's metric; Tune's check would end the whole sweep with it.
    os.environ.setdefault("TUNE_DISABLE_STRICT_METRIC_CHECKING", "1")
    import ray

    ours = not ray.is_initialized()
    if ours:
        log.info("starting Ray, or joining the cluster that it finds")
        connect()
    try:
        # Now, not before: Ray handles SIGTERM by itself once it is connected.
        with ending_like_interrupts():
            yield node_resources()
    finally:
        if ours:
            ray.shutdown()
