"""A Ray of this machine stays on the loopback address, and nothing else changes."""

from __future__ import annotations

import os
import socket

import pytest
from ray._private import ray_constants

from gansweep.search.loopback import is_loopback, on_loopback

NAMES = ("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME")


@pytest.fixture(autouse=True)
def _unset(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)


def test_everything_is_as_before_afterwards() -> None:
    before = (ray_constants.ENABLE_RAY_CLUSTER, dict(os.environ))
    loopback = next(name for _, name in socket.if_nameindex() if name in ("lo", "lo0"))
    with on_loopback():
        assert [os.environ[name] for name in NAMES] == ["0", loopback, loopback]
        assert not ray_constants.ENABLE_RAY_CLUSTER
    assert (ray_constants.ENABLE_RAY_CLUSTER, dict(os.environ)) == before


def test_a_user_decides_whether_others_may_join(monkeypatch: pytest.MonkeyPatch) -> None:
    before = ray_constants.ENABLE_RAY_CLUSTER
    monkeypatch.setenv(NAMES[0], "1")
    with on_loopback():
        assert before == ray_constants.ENABLE_RAY_CLUSTER
        assert [os.environ.get(name) for name in NAMES] == ["1", None, None]


def test_a_users_network_interface_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "eth7")
    with on_loopback():
        assert os.environ["GLOO_SOCKET_IFNAME"] == "eth7"
    assert os.environ["GLOO_SOCKET_IFNAME"] == "eth7"


@pytest.mark.parametrize(
    ("host", "here"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("[::1]", True),
        ("localhost", True),
        ("10.0.0.1", False),
        ("localhost.example", False),
        ("", False),
    ],
)
def test_loopback_addresses(host: str, here: bool) -> None:
    assert is_loopback(host) is here
