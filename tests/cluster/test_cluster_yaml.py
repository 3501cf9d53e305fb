"""cluster.yaml, held against Ray's own schema and its own checks."""

import json
from importlib import resources
from pathlib import Path

import jsonschema
import pytest
import yaml
from packaging.requirements import Requirement
from ray.autoscaler._private.util import prepare_config, validate_config

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def cluster():
    return yaml.safe_load((ROOT / "cluster.yaml").read_text())


@pytest.fixture(scope="module")
def pins():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    found = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return {requirement.name.lower(): str(requirement.specifier) for requirement in found}


def test_follows_rays_schema(cluster):
    jsonschema.validate(cluster, json.loads((resources.files("ray.autoscaler") / "ray-schema.json").read_text()))


def test_passes_rays_own_checks(cluster):
    validate_config(prepare_config(cluster))


def test_head_type_exists_and_workers_have_gpus(cluster):
    # Ray's schema accepts a head type that is not there, and fractions that it later refuses.
    types = cluster["available_node_types"]
    assert cluster["head_node_type"] in types
    amounts = [amount for kind in types.values() for amount in kind["resources"].values()]
    assert all(isinstance(amount, int) for amount in amounts)
    workers = [kind for name, kind in types.items() if name != cluster["head_node_type"]]
    assert any(kind["resources"].get("GPU", 0) > 0 and kind["max_workers"] > kind["min_workers"] for kind in workers)


def test_ray_is_pinned_to_the_version_we_test_with(cluster, pins):
    commands = " ".join(cluster["setup_commands"])
    assert f"ray[default,tune,train]{pins['ray']}" in commands
    assert "nightly" not in commands
    assert "-c ~/gansweep-dist/constraints.txt" in commands


def test_every_node_wants_the_token_and_the_dashboard_stays_private(cluster):
    for start in (cluster["head_start_ray_commands"], cluster["worker_start_ray_commands"]):
        assert any("RAY_AUTH_MODE=token" in command and "ray start" in command for command in start)
    assert "--dashboard-host=127.0.0.1" in " ".join(cluster["head_start_ray_commands"])
    assert "0.0.0.0" not in (ROOT / "cluster.yaml").read_text()
