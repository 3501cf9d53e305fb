"""Whether the cluster can hold what is asked, known before anything waits for ever."""

from __future__ import annotations

import time
from dataclasses import dataclass
from math import floor
from typing import TYPE_CHECKING

from gansweep.errors import ClusterError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Footprint", "check_capacity", "gangs_that_fit", "grown"]


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


def gangs_that_fit(footprint: Footprint, resources: Mapping[str, float]) -> int:
    """How many trials `resources` (as of `ray.cluster_resources()`) can hold at once."""
    limits = [floor(resources.get("CPU", 0.0) / (footprint.workers * footprint.cpus_per_worker) + 1e-9)]
    if footprint.gpus_per_worker:
        limits.append(floor(resources.get("GPU", 0.0) / (footprint.workers * footprint.gpus_per_worker) + 1e-9))
    return min(limits)


def grown(footprint: Footprint, gangs: int, wait_s: float) -> dict[str, float]:
    """The cluster's resources, once its autoscaler has had `wait_s` seconds to make room for `gangs` trials.

    A cluster without an autoscaler stays as it is; with `wait_s` 0 nothing is asked for.
    """
    import ray
    from ray.autoscaler.sdk import request_resources

    deadline = time.monotonic() + wait_s
    if wait_s:
        bundle = {"CPU": footprint.cpus_per_worker, "GPU": footprint.gpus_per_worker}
        request_resources(bundles=[{k: v for k, v in bundle.items() if v}] * (footprint.workers * gangs))
    while gangs_that_fit(footprint, ray.cluster_resources()) < gangs and time.monotonic() < deadline:
        time.sleep(min(5.0, max(0.1, deadline - time.monotonic())))
    return dict(ray.cluster_resources())


def check_capacity(footprint: Footprint, resources: Mapping[str, float], concurrent: int | None = None) -> int:
    """The number of trials to run at once.

    Raises:
        ClusterError: not even one trial fits, or fewer than `concurrent` do. Ray itself would wait for ever.
    """
    fits = gangs_that_fit(footprint, resources)
    has = f"{resources.get('CPU', 0):g} CPUs and {resources.get('GPU', 0):g} GPUs"
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
