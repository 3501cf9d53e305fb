"""A sweep on a cluster whose autoscaler adds nodes and takes them away: Ray's own, with nodes on this machine."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from tests.ports import free_port
from tests.search.faults import MARK, ROOT, Driver, assert_accounted_for, assert_nothing_left, until

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.ray, pytest.mark.acceptance, pytest.mark.timeout(900)]

HEAD = "f" * 51 + "00000"
"""The head's id, as Ray's provider of local nodes wants it."""

_COMMANDS = (
    "initialization_commands",
    "setup_commands",
    "head_setup_commands",
    "worker_setup_commands",
    "head_start_ray_commands",
    "worker_start_ray_commands",
    "cluster_synced_files",
)
"""What the configuration of real nodes would have more."""


@contextmanager
def autoscaling(folder: Path, most: int) -> Iterator[str]:
    """A head without CPUs, whose autoscaler starts up to `most` nodes of one CPU and ends idle ones after 20 s.

    Yields:
        Its address.
    """
    import ray

    port = free_port()
    own = ray.util.get_node_ip_address()
    worker = {"CPU": 1, "object_store_memory": 100 * 2**20}
    config = {
        "cluster_name": "local",
        "max_workers": most,
        "idle_timeout_minutes": 1 / 3,
        "provider": {
            "type": "external",
            "module": "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider",
            "gcs_address": f"{own}:{port}",
            "head_node_id": HEAD,
            "launch_multiple": True,
        },
        "available_node_types": {
            "ray.head.default": {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
            "worker": {"resources": worker, "node_config": {}, "min_workers": 0, "max_workers": most},
        },
        "head_node_type": "ray.head.default",
        **{key: {} for key in ("auth", "docker", "file_mounts")},
        **{key: [] for key in _COMMANDS},
        "upscaling_speed": 1.0,
    }
    written = folder / "autoscaler.json"
    written.write_text(json.dumps(config))
    # Sockets' paths must be short, so not under pytest's own folder. Started in the foreground, Ray ends with it.
    place = Path(f"/tmp/gansweep-ray-{os.getpid()}")
    start = [str(Path(sys.executable).with_name("ray")), "start", "--head", "--block", "--num-cpus=0"]
    head = subprocess.Popen(
        [
            *start,
            f"--port={port}",
            f"--autoscaling-config={written}",
            f"--temp-dir={place}",
            "--include-dashboard=false",
        ],
        env={
            **os.environ,
            "AUTOSCALER_UPDATE_INTERVAL_S": "1",
            "RAY_FAKE_CLUSTER": "1",
            "RAY_enable_autoscaler_v2": "1",
            "RAY_CLOUD_INSTANCE_ID": HEAD,
            "RAY_OVERRIDE_NODE_ID_FOR_TESTING": HEAD,
            "PYTHONPATH": os.pathsep.join([str(ROOT / "platform"), str(ROOT)]),
        },
        stdout=(folder / "head.log").open("w"),
        stderr=subprocess.STDOUT,
    )
    try:
        until(lambda: "Ray runtime started" in (folder / "head.log").read_text(), 60)
        yield f"{own}:{port}"
    finally:
        head.terminate()
        head.wait(60)
        for process in _raylets():
            process.kill()
        shutil.rmtree(place, ignore_errors=True)


def _raylets() -> list[psutil.Process]:
    """Returns this test's raylets."""
    found = []
    for process in psutil.process_iter(["name"]):
        try:
            if process.info["name"] == "raylet" and process.environ().get(MARK) == os.environ[MARK]:
                found.append(process)
        except psutil.Error:
            continue
    return found


def test_the_cluster_grows_for_a_sweep_and_nothing_holds_it_afterwards(
    tmp_path: Path, cohort_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")  # the driver would need the cluster's token
    options: list[Any] = ["--trials=4", "--set=iterations=300", "--concurrent=2", "--wait-for-nodes=120"]
    with autoscaling(tmp_path, most=2) as address:
        assert len(_raylets()) == 1
        driver = Driver(tmp_path, cohort_path, *options, environment={"RAY_ADDRESS": address})
        driver.says(r"trial 0001 report 1/6")
        assert len(_raylets()) == 3, "a node for each of two trials"
        assert driver.ends() == 0, driver.log
        # A request that was left would hold both nodes. The raylet of the other one may call itself busy for longer,
        # with all its resources free and no worker left.
        until(lambda: len(_raylets()) < 3, 120, (tmp_path / "head.log").read_text)
    assert_accounted_for(driver.store, 4)
    assert_nothing_left()
