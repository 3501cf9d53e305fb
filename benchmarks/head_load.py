"""What worker groups cost the head of a cluster, wherever they run: Ray Train's placement group cleaners.

Ray Train starts one for each group, always on the head. Once a second it asks whether the group's controller is alive.
Here they watch an actor in its place. Memory is proportional (PSS); processor seconds are those of all of Ray's
processes on this machine, per second.

    python benchmarks/head_load.py [--groups 4 8 16]
"""

from __future__ import annotations

import argparse
import json
import time

import psutil
import ray
from ray._common.constants import HEAD_NODE_RESOURCE_NAME
from ray.train.v2._internal.execution.controller.placement_group_cleaner import PlacementGroupCleaner

MEGABYTE = 2**20
_SETTLE_S = 5.0
_LOOK_S = 20.0


class Watched:
    """Stands for a controller."""

    def name(self) -> str:
        """Returns its id."""
        return str(ray.get_runtime_context().get_actor_id())


def load() -> tuple[float, float]:
    """PSS of Ray's processes in megabytes, and the processor seconds that they have used."""
    memory = 0.0
    seconds = 0.0
    for process in psutil.Process().children(recursive=True):
        try:
            memory += process.memory_full_info().pss / MEGABYTE
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        seconds += times.user + times.system
    return memory, seconds


def measured() -> tuple[float, float]:
    """PSS in megabytes, and processor seconds per second."""
    time.sleep(_SETTLE_S)
    _, before = load()
    began = time.monotonic()
    time.sleep(_LOOK_S)
    memory, after = load()
    return memory, (after - before) / (time.monotonic() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--groups", nargs="+", type=int, default=[4, 8, 16])
    arguments = parser.parse_args()
    ray.init(num_cpus=1, include_dashboard=True, log_to_driver=False)
    watched = ray.remote(num_cpus=0)(Watched).remote()
    name = ray.get(watched.name.remote())
    cleaner = ray.remote(num_cpus=0)(PlacementGroupCleaner).options(resources={HEAD_NODE_RESOURCE_NAME: 0.001})
    cleaners = []
    found = {}
    for groups in [0, *sorted(arguments.groups)]:
        while len(cleaners) < groups:
            cleaners.append(
                cleaner.remote(controller_actor_id=name, check_interval_s=1.0, get_actor_timeout_s=10, stop_timeout=12)
            )
            ray.get(cleaners[-1].start_monitoring.remote())
        found[groups] = measured()
        print(f"{groups:4} groups: PSS {found[groups][0]:6.0f} MB, {found[groups][1]:.2f} cores", flush=True)
    print(json.dumps({"benchmark": "head_load", "groups": found}))


if __name__ == "__main__":
    main()
