"""The KubeRay manifests of deploy/, held against a model of their fields, Ray's own reading of them and our CLI."""

import copy
import importlib.util
import re
import shlex
from pathlib import Path

import pytest
import typer
import yaml
from packaging.requirements import Requirement
from pydantic import ValidationError
from ray.autoscaler._private.kuberay.autoscaling_config import _derive_autoscaling_config_from_ray_cr

from gansweep.cli.app import app

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "kuberay"
_SPEC = importlib.util.spec_from_file_location("kuberay_models", Path(__file__).with_name("kuberay.py"))
models = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(models)
MODELS = {"raycluster": models.RayCluster, "rayjob": models.RayJob}


def manifest(name):
    return yaml.safe_load((FOLDER / f"{name}.yaml").read_text())


def cluster_spec(name):
    spec = manifest(name)["spec"]
    return spec.get("rayClusterSpec", spec)


def key_paths(value, path=()):
    """The path of every key, through dicts and lists."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield (*path, key)
            yield from key_paths(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from key_paths(item, (*path, index))


def misspelt(value, path):
    changed = copy.deepcopy(value)
    holder = changed
    for step in path[:-1]:
        holder = holder[step]
    holder[f"{path[-1]}x"] = holder.pop(path[-1])
    return changed


@pytest.mark.parametrize("name", MODELS)
def test_has_known_fields_alone(name):
    MODELS[name].model_validate(manifest(name))


@pytest.mark.parametrize("name", MODELS)
def test_a_typo_in_any_key_is_found(name):
    paths = list(key_paths(manifest(name)))
    assert len(paths) > 60
    for path in paths:
        with pytest.raises(ValidationError):
            MODELS[name].model_validate(misspelt(manifest(name), path))


@pytest.mark.parametrize("name", MODELS)
def test_the_autoscaler_reads_workers_with_a_gpu_and_a_head_without_cpus(name):
    metadata = {"name": "gansweep", "namespace": "default"}
    config = _derive_autoscaling_config_from_ray_cr({"metadata": metadata, "spec": cluster_spec(name)})
    types = config["available_node_types"]
    assert types["headgroup"]["resources"] == {"CPU": 0, "memory": 16 * 2**30}
    assert types["gpu"]["resources"] == {"CPU": 4, "GPU": 1, "memory": 16 * 2**30}
    assert (types["gpu"]["min_workers"], types["gpu"]["max_workers"]) == (0, 8)


@pytest.mark.parametrize("name", MODELS)
def test_mounts_have_volumes_and_images_the_pinned_ray_and_python(name):
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    (ray,) = (str(Requirement(line).specifier).removeprefix("==") for line in lines if line.startswith("ray=="))
    spec = cluster_spec(name)
    assert spec["rayVersion"] == ray
    for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
        pod = group["template"]["spec"]
        (container,) = pod["containers"]
        assert container["image"] == f"YOUR-REGISTRY/gansweep:ray{ray}-py311"
        assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
    dockerfile = (FOLDER / "Dockerfile").read_text()
    assert f"FROM rayproject/ray:{ray}-py311-gpu\n" in dockerfile
    assert f"ray[default,tune,train]=={ray}" in dockerfile


def test_both_describe_one_cluster_but_for_the_dashboard():
    standing = cluster_spec("raycluster")
    own = cluster_spec("rayjob")
    assert standing["headGroupSpec"]["rayStartParams"].pop("dashboard-host") == "127.0.0.1"
    assert own["headGroupSpec"]["rayStartParams"].pop("dashboard-host") == "0.0.0.0"  # which the operator asks
    assert standing == own


def test_the_jobs_entrypoint_is_a_command_of_ours():
    words = shlex.split(manifest("rayjob")["spec"]["entrypoint"])
    assert words[:2] == ["gansweep", "sweep"]
    command = typer.main.get_command(app)
    context = command.make_context("gansweep", words[1:])
    options = command.get_command(context, "sweep").make_context("sweep", words[2:], parent=context).params
    assert options["gpus_per_worker"] == 1
    mounts = cluster_spec("rayjob")["headGroupSpec"]["template"]["spec"]["containers"][0]["volumeMounts"]
    assert re.match(mounts[0]["mountPath"] + "/", str(options["cohort"]))


def test_only_the_cluster_and_its_operator_reach_the_nodes():
    own = {"podSelector": {"matchLabels": {"app.kubernetes.io/part-of": "gansweep"}}}
    operator = {"podSelector": {"matchLabels": {"app.kubernetes.io/name": "kuberay-operator"}}, "namespaceSelector": {}}
    assert manifest("networkpolicy") == {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "gansweep"},
        "spec": {
            **own,
            "policyTypes": ["Ingress"],
            "ingress": [{"from": [own]}, {"from": [operator], "ports": [{"protocol": "TCP", "port": 8265}]}],
        },
    }
