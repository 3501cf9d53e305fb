"""Examines the installation and the cluster, and what a sweep would use."""

from __future__ import annotations

import os
import platform
import sys
from dataclasses import dataclass, replace
from importlib import metadata
from typing import TYPE_CHECKING
from uuid import uuid4

from gansweep.cluster import machine
from gansweep.cluster.submit import connect, use_token
from gansweep.errors import GansweepError, one_line
from gansweep.search.cluster import Footprint, groups_that_fit, total

if TYPE_CHECKING:
    from collections.abc import Callable

    from gansweep.cluster.machine import Verdict

__all__ = ["Finding", "examine"]

_PACKAGES = ("ray", "torch", "optuna", "monai", "pydicom", "highdicom", "nibabel", "torchmetrics", "pyarrow", "pandas")


@dataclass(frozen=True)
class Finding:
    """The result of one check.

    Args:
        name: what was checked.
        verdict: `ok`, `warning` (a sweep runs, but not optimally) or `problem` (it does not run).
        detail: what was found, and what to do about a warning or problem.
    """

    name: str
    verdict: Verdict
    detail: str


def examine(
    footprint: Footprint, *, storage: str | None = None, address: str | None = None, cohort: str | None = None
) -> list[Finding]:
    """Tries everything that a sweep depends on. Problems become findings, not exceptions.

    Args:
        footprint: the resources of one trial.
        storage: a storage URI to write to; None: skip this check.
        address: the job server of a cluster; None: start or join Ray as a sweep would.
        cohort: a cohort to find room for on this machine; None: skip this check.
    """
    use_token()
    found = [_tried("python", _python), _tried("packages", _packages)]
    found += _of_the_machine(footprint, address, cohort)
    found += _ray_and_room(footprint, address)
    return found if storage is None else [*found, _tried("storage", lambda: _storage(storage))]


def _of_the_machine(footprint: Footprint, address: str | None, cohort: str | None) -> list[Finding]:
    """Returns what a training would use on this machine. The nodes of a cluster elsewhere may differ."""
    found = [_tried("torch devices", machine.devices), _tried("precision", machine.precisions)]
    found.append(_tried("capture", lambda: machine.capture(footprint.workers)))
    if cohort is not None:
        found.append(_tried("cohort", lambda: machine.room(cohort)))
    if address is not None:
        found = [replace(one, detail=f"on this machine: {one.detail}") for one in found]
    return found


def _tried(name: str, check: Callable[[], tuple[Verdict, str]]) -> Finding:
    try:
        return Finding(name, *check())
    except Exception as error:
        return _problem(name, error)


def _problem(name: str, error: Exception) -> Finding:
    """Returns the finding for an exception of any kind, because a broken installation may raise anything."""
    kind = "" if isinstance(error, GansweepError) else f"{type(error).__name__}: "
    return Finding(name, "problem", kind + one_line(error))


def _python() -> tuple[Verdict, str]:
    detail = f"{platform.python_version()} on {platform.system()} {platform.machine()}, {sys.executable}"
    return "ok", detail


def _packages() -> tuple[Verdict, str]:
    found: list[str] = []
    missing: list[str] = []
    for name in ("gansweep", *_PACKAGES):
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            # From a checkout that is only on the path, gansweep itself has no metadata.
            (found if name == "gansweep" else missing).append(name)
    if missing:
        return "problem", f"missing: {', '.join(missing)}; install gansweep with its dependencies"
    return "ok", ", ".join(found)


def _ray_and_room(footprint: Footprint, address: str | None) -> list[Finding]:
    """Returns the resources of the cluster, and the number of trials that it would run at once."""
    try:
        nodes = _cluster_here() if address is None else _cluster_at(address)
    except Exception as error:
        return [_problem("ray", error)]
    token = "with" if os.environ.get("RAY_AUTH_MODE") == "token" else "without"
    reached = Finding("ray", "ok", f"{len(nodes)} node(s), {_amounts(total(nodes))}, {token} token authentication")
    return [reached, _tried("a sweep", lambda: _room(footprint, nodes))]


def _cluster_here() -> list[dict[str, float]]:
    from gansweep.search.cluster import ray_cluster

    with ray_cluster() as nodes:
        return nodes


def _cluster_at(address: str) -> list[dict[str, float]]:
    from ray.util.state import list_nodes

    connect(address)
    nodes = list_nodes(address=address, filters=[("state", "=", "ALIVE")], detail=True)
    return [node.resources_total for node in nodes]


def _room(footprint: Footprint, nodes: list[dict[str, float]]) -> tuple[Verdict, str]:
    at_once = groups_that_fit(footprint, nodes)
    each = f"{footprint.workers} x ({footprint.cpus_per_worker:g} CPUs, {footprint.gpus_per_worker:g} GPUs)"
    if at_once < 1:
        return "problem", f"no trial of {each} fits; ask for fewer workers or add nodes"
    if total(nodes).get("GPU") and not footprint.gpus_per_worker:
        return "warning", f"{at_once} trials at once of {each}; the GPUs would idle, give --gpus-per-worker 1"
    return "ok", f"{at_once} trials at once of {each}"


def _amounts(resources: dict[str, float]) -> str:
    return f"{resources.get('CPU', 0):g} CPUs, {resources.get('GPU', 0):g} GPUs"


def _storage(storage: str) -> tuple[Verdict, str]:
    """Writes and deletes a file in the storage."""
    from gansweep.store.filesystem import Files

    files = Files(storage)
    name = f".gansweep-doctor-{uuid4().hex}"
    files.write_bytes(name, b"ok")
    files.delete(name)
    return "ok", f"{files.label} can be written"
