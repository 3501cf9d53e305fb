"""Keeps a Ray that is started on this machine, and all that its workers open, on the loopback address.

Ray listens on all addresses of a machine, and executes what it is sent.
"""

from __future__ import annotations

import ipaddress
import os
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["cluster_is_on_loopback", "is_loopback", "on_loopback"]

_OTHER_MACHINES = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
"""Variable that says whether other machines may join a Ray that is started here. A user who sets it decides."""
_INTERFACES = ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME")
"""Variables for the network interface on which the workers of a process group listen."""


@contextmanager
def on_loopback() -> Iterator[None]:
    """Lets `ray.init` use the loopback address alone: for a Ray that it starts, and to join one that listens there.

    Ray otherwise replaces a loopback address by the machine's own.
    """
    if _OTHER_MACHINES in os.environ:
        yield
        return
    from ray._private import ray_constants

    # Ray has read the variable when it was imported, perhaps long ago. Its processes read it when they start.
    before = ray_constants.ENABLE_RAY_CLUSTER
    added = {_OTHER_MACHINES: "0", **_interfaces()}
    ray_constants.ENABLE_RAY_CLUSTER = False
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            del os.environ[name]
        ray_constants.ENABLE_RAY_CLUSTER = before


def _interfaces() -> dict[str, str]:
    """Returns the variables that keep process groups on the loopback interface, without those that the user has set."""
    loopback = next((name for _, name in socket.if_nameindex() if name in ("lo", "lo0")), "")
    return {name: loopback for name in _INTERFACES if loopback and name not in os.environ}


def cluster_is_on_loopback() -> bool:
    """Returns whether all nodes of the connected cluster have a loopback address, so that they are this machine."""
    import ray

    return all(is_loopback(node["NodeManagerAddress"]) for node in ray.nodes() if node["Alive"])


def is_loopback(host: str) -> bool:
    """Returns whether a host's name or address means this machine alone."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
