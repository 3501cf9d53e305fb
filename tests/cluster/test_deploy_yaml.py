"""The cluster YAMLs of deploy/, held against Ray's own schema and checks; a typo in any key is found."""

import copy
import shlex
from pathlib import Path

import pytest
import yaml
from click import ClickException
from jsonschema import ValidationError
from packaging.requirements import Requirement
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.scripts.scripts import start

ROOT = Path(__file__).parents[2]
NAMES = ("gcp", "on-premises")
# Ray's schema lets any key pass in these places.
PROVIDERS = {
    "gcp": {"type", "region", "availability_zone", "project_id"},
    "local": {"type", "head_ip", "worker_ips"},
}
NODE_KEYS = {"machineType", "disks", "scheduling", "serviceAccounts"}
DISK_KEYS = {"boot", "autoDelete", "type", "initializeParams"}
SPOT = {
    "provisioningModel": "SPOT",
    "instanceTerminationAction": "DELETE",
    "onHostMaintenance": "TERMINATE",
    "automaticRestart": False,
}


def read(name):
    return yaml.safe_load((ROOT / "deploy" / f"{name}.yaml").read_text())


def check(cluster):
    validate_config(cluster | {"cluster_synced_files": [], "max_workers": cluster.get("max_workers", 2)})
    validate_config(prepare_config(cluster))
    assert {"auth", "setup_commands", "head_start_ray_commands", "worker_start_ray_commands"} <= set(cluster)
    assert set(cluster["provider"]) == PROVIDERS[cluster["provider"]["type"]]
    assert set(cluster["file_mounts"]) == {"/home/ubuntu/gansweep-dist", "/home/ubuntu/.ray/auth_token"}
    types = cluster.get("available_node_types", {})
    assert set(types) in (set(), {"head", "gpu"})
    for name, kind in types.items():
        assert kind["resources"] == ({"CPU": 0} if name == "head" else {"CPU": 4, "GPU": 1})
        node = kind["node_config"]
        assert {"machineType", "disks"} <= set(node) <= NODE_KEYS
        (disk,) = node["disks"]
        assert set(disk) == DISK_KEYS
        assert set(disk["initializeParams"]) == {"diskSizeGb", "sourceImage"}
        if name == "gpu":
            assert node["scheduling"] == SPOT
            assert [set(account) for account in node["serviceAccounts"]] == [{"email", "scopes"}]


def key_paths(value, path=()):
    """The path of every key, through dicts and lists."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        if isinstance(value, dict):
            yield (*path, key)
        yield from key_paths(item, (*path, key))


@pytest.mark.parametrize("name", NAMES)
def test_passes_rays_checks_and_ours(name):
    check(read(name))


@pytest.mark.parametrize("name", NAMES)
def test_a_typo_in_any_key_is_found(name):
    for path in key_paths(read(name)):
        changed = copy.deepcopy(read(name))
        holder = changed
        for step in path[:-1]:
            holder = holder[step]
        holder[f"{path[-1]}x"] = holder.pop(path[-1])
        with pytest.raises((ValidationError, ClickException, ValueError, KeyError, AssertionError)):
            check(changed)


@pytest.mark.parametrize("name", NAMES)
def test_nodes_start_with_the_token_and_options_that_ray_knows(name):
    cluster = read(name)
    for commands in (cluster["head_start_ray_commands"], cluster["worker_start_ray_commands"]):
        begin, _, words = commands[-1].partition("/ray start ")
        assert "RAY_AUTH_MODE=token" in begin
        options = start.make_context("start", shlex.split(words)).params
        assert options["dashboard_host"] == "127.0.0.1"
    assert "0.0.0.0" not in (ROOT / "deploy" / f"{name}.yaml").read_text()


@pytest.mark.parametrize("name", NAMES)
def test_ray_is_pinned_to_the_version_we_test_with(name):
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    (ray,) = (str(Requirement(line).specifier) for line in lines if line.startswith("ray=="))
    commands = " ".join(read(name)["setup_commands"])
    assert f"ray[default,tune,train]{ray}" in commands
    assert "python3.11 -m venv" in commands
    assert "nightly" not in commands
