"""A Ray that does not answer is told in one line, and within a minute."""

import contextlib
import errno
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest
from ray._private import ray_constants
from ray.util import get_node_ip_address

from gansweep.errors import ClusterError
from gansweep.search import connection, head_watch
from gansweep.search.cluster import ray_cluster
from gansweep.search.interrupts import ending_like_interrupts


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


@pytest.mark.parametrize(("listens", "alone"), [("127.0.0.1", True), ("0.0.0.0", False)])
def test_a_cluster_that_only_this_machine_can_reach_is_known(listens: str, alone: bool) -> None:
    if get_node_ip_address().startswith("127."):
        pytest.skip("this machine has no address but the loopback one")
    with socket.create_server((listens, 0)) as server:
        port = server.getsockname()[1]
        head = threading.Thread(target=_answer, args=(server, 1.0))
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
        head = threading.Thread(target=_answer, args=(server, 1.0))
        head.start()
        connection.connect()
        head.join()
    assert keeps_loopback == [listens == "127.0.0.1"]


@pytest.mark.parametrize("address", ["", "auto", "local", "head:6379", "ray://127.0.0.1:10001"])
def test_other_addresses_are_those_of_ray(address: str) -> None:
    assert not connection._is_on_loopback(address)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_an_ending_signal_is_an_interrupt(number: signal.Signals, request: pytest.FixtureRequest) -> None:
    # Under nohup, SIGHUP would be ignored; and whoever ran in this process before may have left a handler of its own.
    request.addfinalizer(partial(signal.signal, number, signal.signal(number, signal.SIG_DFL)))
    request.addfinalizer(partial(signal.signal, signal.SIGINT, signal.getsignal(signal.SIGINT)))
    signal.signal(signal.SIGINT, signal.default_int_handler)

    came: list[threading.Event] = []

    def end() -> None:
        with ending_like_interrupts() as interrupted:
            came.append(interrupted)
            assert not interrupted.is_set()
            os.kill(os.getpid(), number)
            time.sleep(5)

    with pytest.raises(KeyboardInterrupt):
        end()
    assert came[0].is_set()
    assert signal.getsignal(number) == signal.SIG_DFL


def test_an_interrupts_own_handler_hears_it() -> None:
    heard = []
    before = signal.signal(signal.SIGINT, lambda number, _: heard.append(number))
    try:
        with ending_like_interrupts():
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.1)
    finally:
        signal.signal(signal.SIGINT, before)
    assert heard == [signal.SIGINT]


def test_under_nohup_a_closed_terminal_is_not_heard() -> None:
    code = (
        "import os, signal\n"
        "from gansweep.search.interrupts import ending_like_interrupts\n"
        "signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "with ending_like_interrupts():\n"
        "    os.kill(os.getpid(), signal.SIGHUP)\n"
        "print('went on')\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    told = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert told.stdout == "went on\n"


WATCH = """
import logging, sys, threading
from gansweep.search import head_watch
head_watch._PERIOD_S = 0.1
head_watch.PATIENCE_S = 1.0
head_watch.ENDING_PATIENCE_S = 0.3
logging.basicConfig(format="%(message)s")
over = threading.Event()
threading.Timer(float(sys.argv[2]), over.set).start()
interrupted = threading.Event()
if "interrupted" in sys.argv:
    interrupted.set()
head_watch._watch(sys.argv[1], over, interrupted)
print("over")
"""


UNREAD = """
import os, sys
reader, writer = os.pipe()
os.close(reader)
sys.stdout = os.fdopen(writer, "w")
print("this cannot be flushed")
"""


def _answer(server: socket.socket, seconds: float) -> None:
    """Answers as the head of a cluster does, for some time from the first connection on."""
    server.settimeout(30.0)
    until = None
    with contextlib.suppress(TimeoutError):
        while until is None or time.monotonic() < until:
            stream, _ = server.accept()
            until = until or time.monotonic() + seconds
            server.settimeout(max(0.1, until - time.monotonic()))
            with stream:
                stream.recv(64)
                stream.sendall(b"\0\0\0\4\0\0\0\0\0")  # a SETTINGS frame


def _watched(
    seconds: float, *, away: float | None = None, code: str = WATCH, how: str = ""
) -> tuple[str, subprocess.CompletedProcess[str]]:
    """Watches a head that is there for a second, and then away for so long; None: for ever.

    Args:
        seconds: how long it is watched.
        away: how long it is away.
        code: what watches it.
        how: "interrupted": the process that watches has been told to end.
    """
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        command = [sys.executable, "-c", code, address, str(seconds), how]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
        _answer(server, 1.0)
    if away is not None:
        time.sleep(away)
        with socket.create_server(("127.0.0.1", int(address.partition(":")[2]))) as again:
            _answer(again, seconds)
    out, said = process.communicate(timeout=60)
    return address, subprocess.CompletedProcess(command, process.returncode, out, said)


def test_a_process_whose_head_is_lost_ends_in_one_line() -> None:
    address, ended = _watched(20.0)
    assert (ended.returncode, ended.stdout) == (2, "")
    lost = f"{address}: the Ray cluster is lost (nothing answers there: Connection refused)"
    assert ended.stderr == f"{lost}; when it is back, run the command again (a sweep with --resume)\n"


def test_a_process_whose_head_and_reader_are_lost_ends_too() -> None:
    _, ended = _watched(6.0, code=UNREAD + WATCH)
    assert ended.returncode == 2


def test_a_process_that_is_told_to_end_with_its_head_is_interrupted() -> None:
    _, ended = _watched(20.0, how="interrupted")
    assert (ended.returncode, ended.stdout) == (130, "")
    assert ended.stderr == "stopped, and Ray with it; run the command again to go on (a sweep with --resume)\n"


@pytest.mark.parametrize(("late", "status"), [(1, None), (4, 130)])
def test_a_busy_head_that_is_late_once_does_not_end_a_process_that_is_told_to(
    late: int, status: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    ended: list[int] = []
    over = threading.Event()
    interrupted = threading.Event()
    interrupted.set()

    def answer(address: str) -> str:
        asked.append(address)
        if len(asked) in range(3, 3 + late):
            time.sleep(0.3)
            return "it accepts connections and has not answered"
        if len(asked) > 8:
            over.set()
        return ""

    def end(number: int) -> None:
        ended.append(number)
        over.set()

    monkeypatch.setattr(head_watch, "silence_of", answer)
    monkeypatch.setattr(head_watch, "_PERIOD_S", 0.01)
    monkeypatch.setattr(head_watch, "ENDING_PATIENCE_S", 0.2)
    monkeypatch.setattr(head_watch, "_end", end)
    head_watch._watch("head:6379", over, interrupted)
    assert ended == ([] if status is None else [status])


def test_a_process_that_is_told_to_end_has_the_time_that_it_needs() -> None:
    _, ended = _watched(1.0, how="interrupted")  # over before the head is lost
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "over\n", "")


def test_a_head_that_is_away_for_a_moment_ends_no_process() -> None:
    _, ended = _watched(3.0, away=0.4)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "over\n", "")


def test_a_head_that_cannot_be_reached_from_here_ends_no_process() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", WATCH, address, "3"]
    ended = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60, check=True)
    assert (ended.stdout, ended.stderr) == ("over\n", "")
