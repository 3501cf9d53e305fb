"""A Ray that does not answer is told in one line, and within a minute."""

import errno
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest
from ray._private import ray_constants
from ray.util import get_node_ip_address

from gansweep.errors import ClusterError
from gansweep.search import connection
from gansweep.search.cluster import ray_cluster
from tests.ports import answer_as_head


@pytest.fixture
def silent() -> Iterator[str]:
    """A server that accepts connections and says nothing, as a stopped head does."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits shorter than a user does, who waits for less than a minute."""
    assert connection._ATTEMPTS * (connection._ANSWER_S + connection._PAUSE_S) < 60
    monkeypatch.setattr(connection, "_ANSWER_S", 1.0)
    monkeypatch.setattr(connection, "_PAUSE_S", 0.1)


def _refused(address: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("RAY_ADDRESS", address)
    started = time.monotonic()
    with pytest.raises(ClusterError) as told, ray_cluster():
        pytest.fail("connected")
    assert time.monotonic() - started < 10
    assert "\n" not in str(told.value)
    return str(told.value)


def test_an_address_where_nothing_listens(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
    line = f"{address}: no Ray cluster: nothing answers there: Connection refused; see gansweep doctor"
    assert _refused(address, monkeypatch) == line
    assert caplog.messages == ["no Ray cluster yet (nothing answers there: Connection refused); trying once more"]


@pytest.mark.parametrize("address", ["a..b:6379", f"ray://{'a' * 70}:10001", f"127.0.0.1:{'9' * 30}"])
def test_an_address_that_cannot_be(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert f"{address}: no Ray cluster: it is no address: " in _refused(address, monkeypatch)


def test_the_address_of_another_users_cluster_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> str:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(connection, "_HERE", SimpleNamespace(is_file=lambda: True, read_text=refuse))
    assert not connection.cluster_is_up()
    assert connection._silence_here() == ""


def test_a_cluster_that_accepts_and_does_not_answer(silent: str, monkeypatch: pytest.MonkeyPatch) -> None:
    said = _refused(silent, monkeypatch)
    assert said.startswith(f"{silent}: no Ray cluster: it accepts connections and has not answered for 1 s; see")


def test_another_server_is_no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        said = _refused(f"127.0.0.1:{server.server_port}", monkeypatch)
        server.shutdown()
    assert "no Ray cluster: what listens there is no Ray cluster" in said


@pytest.mark.ray(shared=True)
def test_a_cluster_that_answers_is_connected_to() -> None:
    """Its head's own port, asked as `connect` asks before Ray's client does."""
    with ray_cluster():
        import ray

        address = ray.get_runtime_context().gcs_address
        assert connection.silence_of(address) == ""


def test_whatever_ray_raises_is_one_line_and_tried_once_more(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    tries = []

    def init(**_: object) -> None:
        tries.append(1)
        raise Exception("The current node timed out during startup.\nThis could happen because ...")

    monkeypatch.setattr(ray, "init", init)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(ClusterError, match=r"no Ray cluster: The current node timed out during startup\. This could"):
        connection.connect()
    assert len(tries) == 2


def test_another_version_of_ray_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray
    from ray._private.utils import check_version_info

    tries = []

    def init(**_: object) -> None:
        tries.append(1)
        check_version_info({"ray_version": "2.0.0", "python_version": "3.9.1"}, "node 10.0.0.1")

    monkeypatch.setattr(ray, "init", init)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(ClusterError) as told:
        connection.connect()
    assert len(tries) == 1
    assert str(told.value).startswith(
        "no Ray cluster: Version mismatch: The cluster was started with: Ray: 2.0.0 Python"
    )
    assert str(told.value).endswith("; install what the cluster has, or run the command there (gansweep submit)")


HEAD = """
import ray
ray.init(num_cpus=0, include_dashboard=False, log_to_driver=False)
print(ray.get_runtime_context().gcs_address, flush=True)
input()
"""
DRIVER = """
from gansweep.errors import ClusterError
from gansweep.search.cluster import ray_cluster
try:
    with ray_cluster():
        print("connected")
except ClusterError as error:
    print(error)
"""


@pytest.mark.ray
def test_a_driver_without_the_clusters_token_is_told_at_once(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "HOME": str(tmp_path)}
    for name in ("RAY_ADDRESS", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        environment.pop(name, None)
    ours = environment | {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "a" * 64}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", HEAD], env=ours, **pipes) as head:
        assert head.stdout is not None
        address = head.stdout.readline().strip()
        for others in (environment, ours | {"RAY_AUTH_TOKEN": "b" * 64}, ours):
            given = others | {"RAY_ADDRESS": address}
            driver = subprocess.run(
                [sys.executable, "-c", DRIVER], env=given, capture_output=True, text=True, timeout=60, check=True
            )
            if others is ours:
                assert driver.stdout == "connected\n"
                continue
            assert driver.stdout.startswith(
                f"{address}: no Ray cluster: this process does not have its token; set RAY_A"
            )
            assert driver.stdout.count("\n") == 1
            assert "aaaa" not in driver.stdout + driver.stderr
            assert "bbbb" not in driver.stdout + driver.stderr
            assert not driver.stderr
        head.communicate("\n", timeout=60)


@pytest.mark.ray
def test_a_cluster_that_is_found_here_is_joined_with_this_machines_token(tmp_path: Path) -> None:
    """Ray makes a token when it starts on this machine, and uses it where nobody says otherwise."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "HOME": str(tmp_path)}
    for name in ("RAY_ADDRESS", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        environment.pop(name, None)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", HEAD], env=environment, **pipes) as head:
        assert head.stdout is not None
        address = head.stdout.readline().strip()
        assert (tmp_path / ".ray" / "auth_token").exists()
        for given, said in (("auto", "connected\n"), (address, f"{address}: no Ray cluster: this process does not")):
            driver = subprocess.run(
                [sys.executable, "-c", DRIVER],
                env=environment | {"RAY_ADDRESS": given},
                capture_output=True,
                text=True,
                timeout=60,
                check=True,
            )
            assert driver.stdout.startswith(said)
            assert not driver.stderr
        head.communicate("\n", timeout=60)


@pytest.mark.parametrize(("listens", "alone"), [("127.0.0.1", True), ("0.0.0.0", False)])
def test_a_cluster_that_only_this_machine_can_reach_is_known(listens: str, alone: bool) -> None:
    if get_node_ip_address().startswith("127."):
        pytest.skip("this machine has no address but the loopback one")
    with socket.create_server((listens, 0)) as server:
        port = server.getsockname()[1]
        head = threading.Thread(target=answer_as_head, args=(server, 1.0))
        head.start()
        assert connection._is_on_loopback(f"127.0.0.1:{port}") is alone
        assert not connection._is_on_loopback(f"{get_node_ip_address()}:{port}")
        head.join()
    assert not connection._is_on_loopback(f"127.0.0.1:{port}"), "nothing answers there any more"


@pytest.mark.parametrize("listens", ["127.0.0.1", "0.0.0.0"])
def test_a_cluster_of_this_machine_is_joined_where_it_listens(
    listens: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if get_node_ip_address().startswith("127."):
        pytest.skip("this machine has no address but the loopback one")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.delenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", raising=False)
    monkeypatch.setattr(connection, "_HERE", tmp_path / "ray_current_cluster")
    keeps_loopback: list[bool] = []
    monkeypatch.setattr(
        connection, "_initialised", lambda: keeps_loopback.append(not ray_constants.ENABLE_RAY_CLUSTER) or ""
    )
    with socket.create_server((listens, 0)) as server:
        (tmp_path / "ray_current_cluster").write_text(f"127.0.0.1:{server.getsockname()[1]}")
        head = threading.Thread(target=answer_as_head, args=(server, 1.0))
        head.start()
        connection.connect()
        head.join()
    assert keeps_loopback == [listens == "127.0.0.1"]


@pytest.mark.parametrize("address", ["", "auto", "local", "head:6379", "ray://127.0.0.1:10001"])
def test_other_addresses_are_those_of_ray(address: str) -> None:
    assert not connection._is_on_loopback(address)
