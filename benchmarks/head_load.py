"""What waiting worker groups cost the head of a cluster when they are on another node.

The cluster is a head that has room for no group and a node that has room for all, both on this machine. Memory is
proportional (PSS) and processor seconds are per second, each of the head's own processes: those that Ray started there
and their children. The driver is not among them.

    python benchmarks/head_load.py [--groups 2 4 6]
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
import ray
from ray.cluster_utils import Cluster

from gansweep.search.cluster import ray_cluster

sys.path.insert(0, str(Path(__file__).parent))
from group_memory import MEGABYTE, Groups

_GROUP_GB = 2
_LOOK_S = 20.0


def processes(node: Any) -> list[psutil.Process]:
    """The processes of one of the cluster's nodes."""
    started = [psutil.Process(info.process.pid) for infos in node.all_processes.values() for info in infos]
    return [*started, *(child for process in started for child in process.children(recursive=True))]


def load(node: Any) -> tuple[int, float, float]:
    """Number of a node's processes, their PSS in megabytes, and the processor seconds that they have used."""
    count = 0
    memory = 0.0
    seconds = 0.0
    for process in processes(node):
        try:
            memory += process.memory_full_info().pss / MEGABYTE
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        count += 1
        seconds += times.user + times.system
    return count, memory, seconds


def measured(node: Any) -> tuple[int, float, float]:
    """Number of processes, PSS in megabytes, and processor seconds per second."""
    _, _, before = load(node)
    began = time.monotonic()
    time.sleep(_LOOK_S)
    count, memory, after = load(node)
    return count, memory, (after - before) / (time.monotonic() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--groups", nargs="+", type=int, default=[2, 4, 6])
    arguments = parser.parse_args()
    most = max(arguments.groups)
    head = {"num_cpus": 0, "memory": 2**28, "object_store_memory": 2**27, "include_dashboard": True}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    node = cluster.add_node(num_cpus=most, memory=most * _GROUP_GB * 2**30, object_store_memory=2**27)
    cluster.wait_for_nodes()
    ray.init(address=cluster.address, log_to_driver=False)
    found = {}
    try:
        with tempfile.TemporaryDirectory() as name, ray_cluster():
            groups = Groups(Path(name), workers=1)
            for number in range(most + 1):
                if number:
                    groups.add()
                if number in (0, *arguments.groups):
                    found[number] = (*measured(cluster.head_node), *load(node)[:2])
                    count, memory, cores, others, elsewhere = found[number]
                    print(
                        f"{number:4} groups: head {count} processes, PSS {memory:.0f} MB, {cores:.2f} cores; "
                        f"node {others} processes, PSS {elsewhere:.0f} MB",
                        flush=True,
                    )
            groups.close()
    finally:
        ray.shutdown()
        cluster.shutdown()
    print(json.dumps({"benchmark": "head_load", "groups": found}))


if __name__ == "__main__":
    main()
