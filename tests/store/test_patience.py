"""A storage that fails for a while."""

from __future__ import annotations

import atexit
import io
import logging
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from functools import partial
from typing import TYPE_CHECKING

import pytest
from pyarrow import fs

from gansweep.errors import StoreError
from gansweep.store import filesystem, waiting
from gansweep.store.filesystem import Files
from gansweep.store.store import Store
from tests.store.failing import SILENT, fill, flaky_s3, small_disk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from gansweep.store.schema import TrialRow
    from gansweep.store.sweep_info import SweepInfo


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks more often than every two seconds."""
    monkeypatch.setattr(filesystem, "_PAUSE_S", 0.1)


def _after(caplog: pytest.LogCaptureFixture, said: str, do: Callable[[], object]) -> None:
    """Does something as soon as `said` has been logged."""

    def wait() -> None:
        while said not in caplog.text:
            time.sleep(0.02)
        do()

    threading.Thread(target=wait, daemon=True).start()


def test_a_full_disk_is_waited_for(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with small_disk(tmp_path / "disk") as disk:
        files = Files(str(disk / "store"))
        files.write_bytes("a", b"before")
        ballast = fill(disk)
        with pytest.raises(StoreError, match="No space left on device"):
            files.write_bytes("a", b"after" * 4096)
        assert files.read_bytes("a") == b"before", "nothing is half written"
        files.patience_s = 0.5
        began = time.monotonic()
        with pytest.raises(StoreError, match="No space left on device"):
            files.write_bytes("a", b"after" * 4096)
        assert 0.5 <= time.monotonic() - began < 20.0
        files.patience_s = 60.0
        caplog.clear()
        _after(caplog, "waiting", ballast.unlink)
        with caplog.at_level(logging.WARNING):
            files.write_bytes("a", b"after" * 4096)
        assert files.read_bytes("a") == b"after" * 4096
        first, second = caplog.messages
        assert first.endswith("store/a: cannot write: No space left on device; waiting, 60 s at most")
        assert "works again after" in second


@pytest.mark.parametrize(("status", "verb"), [(500, "write"), (503, "read")])
def test_a_server_that_is_overloaded_is_waited_for(
    status: int, verb: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with flaky_s3(monkeypatch) as (server, storage):
        files = Files(storage)
        files.write_bytes("a", b"before")
        if verb == "read":  # without the seconds that the client's own retries take
            hasty = fs.AwsStandardS3RetryStrategy(max_attempts=1)
            files.filesystem = fs.S3FileSystem(
                endpoint_override=server.address, scheme="http", region="us-east-1", retry_strategy=hasty
            )
        files.patience_s = 100.0
        server.answer = status
        _after(caplog, "waiting", partial(setattr, server, "answer", 0))
        with caplog.at_level(logging.WARNING):
            if verb == "write":
                files.write_bytes("a", b"after")
            assert files.read_bytes("a") == (b"after" if verb == "write" else b"before")
        assert server.refused
        assert f"s3://bucket/runs/a: cannot {verb}: " in caplog.text
        assert "waiting, 100 s at most" in caplog.text


@pytest.mark.parametrize("verb", ["write", "read"])
def test_a_server_that_is_silent_is_told_and_waited_for(
    verb: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(waiting, "_SILENCE_S", 0.3)
    with flaky_s3(monkeypatch) as (server, storage):
        files = Files(storage)
        files.write_bytes("a", b"before")
        server.answer = SILENT
        _after(caplog, "waiting", partial(setattr, server, "answer", 0))
        with caplog.at_level(logging.WARNING):
            if verb == "write":
                files.write_bytes("a", b"after")
            assert files.read_bytes("a") == (b"after" if verb == "write" else b"before")
        told = [line for line in caplog.messages if line.startswith("s3://bucket/runs/a: ")]
        assert told == [
            "s3://bucket/runs/a: no answer for 0 s; waiting, 300 s at most",
            "s3://bucket/runs/a: answers again",
        ]


HASTY = """
import sys
from pathlib import Path
from gansweep.cli import main
from gansweep.store import filesystem, waiting
waiting._SILENCE_S = 0.3
filesystem.PATIENCE_S = 0.5
"""

STATUS = f"{HASTY}sys.exit(main())"

EVERY_REQUEST = f"""{HASTY}
files = filesystem.Files(sys.argv[1])
mine = Path(sys.argv[2])
for name, values in [
    ("read_bytes", ["a"]), ("write_bytes", ["a", b""]), ("upload", [mine, "a"]), ("download", ["a", mine]),
    ("exists", ["a"]), ("is_file", ["a"]), ("delete", ["a"]), ("rename", ["a", "b"]), ("list", []), ("folders", []),
    ("contents", []),
]:
    try:
        getattr(files, name)(*values)
    except Exception as error:
        print(name, error)
waiting.end_if_given_up(0)
"""


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts a process that is given the URI of a silent storage."""
    with flaky_s3(monkeypatch) as (server, storage):
        server.answer = SILENT
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}

        def start(code: str, *words: str) -> subprocess.Popen[str]:
            command = [sys.executable, "-c", code, *(word.replace("STORAGE", storage) for word in words)]
            pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
            return subprocess.Popen(command, **pipes, text=True, env=environment)

        yield start


def test_a_server_that_stays_silent_ends_the_command(silent: Callable[..., subprocess.Popen[str]]) -> None:
    with silent(STATUS, "status", "STORAGE") as process:
        said, told = process.communicate(timeout=60)
    assert not said
    assert told.splitlines() == [
        "warning: s3://bucket/runs/sweep.json: no answer for 0 s; waiting, 0 s at most",
        "error: s3://bucket/runs/sweep.json: cannot read: no answer for 1 s; check the network and the server",
    ]
    assert process.returncode == 2


def test_ctrl_c_ends_a_command_that_waits_for_a_silent_server(silent: Callable[..., subprocess.Popen[str]]) -> None:
    patient = STATUS.replace("PATIENCE_S = 0.5", "PATIENCE_S = 300.0")
    # A shell's background jobs ignore SIGINT.
    heeding = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    with silent(heeding + patient, "status", "STORAGE") as process:
        assert "waiting, 300 s at most" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=60) == ("", "interrupted\n")
    assert process.returncode == 130


def test_every_request_to_a_silent_server_ends(silent: Callable[..., subprocess.Popen[str]], tmp_path: Path) -> None:
    (tmp_path / "mine").write_bytes(b"x")
    with silent(EVERY_REQUEST, "STORAGE", str(tmp_path / "mine")) as process:
        said = process.communicate(timeout=60)[0].splitlines()
    names = ["read_bytes", "write_bytes", "upload", "download", "exists", "is_file", "delete", "rename", "list"]
    assert [line.partition(" ")[0] for line in said] == [*names, "folders", "contents"]
    assert all("no answer for 1 s; check the network and the server" in line for line in said)


def test_rows_of_a_server_that_falls_silent_are_not_waited_for(
    info: SweepInfo, trial: Callable[..., TrialRow], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "_SILENCE_S", 0.3)
    monkeypatch.setattr(filesystem, "PATIENCE_S", 0.5)
    monkeypatch.setattr(atexit, "unregister", lambda _: None)  # this server answers in the end
    each_answered = Files.each_answered
    with flaky_s3(monkeypatch) as (server, storage):
        store = Store.create(storage.replace("/runs?", f"/{uuid.uuid4().hex}?"), "first", info)
        store.write_trial(trial(0))

        def in_silence(files: Files, rel: str, items: Iterator[object]) -> Iterator[object]:
            server.answer = SILENT
            return each_answered(files, rel, items)

        monkeypatch.setattr(Files, "each_answered", in_silence)
        with pytest.raises(StoreError, match="first/trials: cannot read: no answer for 1 s"):
            store.trials()
        server.answer = 0


class SlowFile(io.BytesIO):
    """A file of ten bytes that take a second, and the file system that has it."""

    def open_input_file(self, _path: str) -> SlowFile:
        return self

    def size(self) -> int:
        return 10

    def read(self, *_: int) -> bytes:
        time.sleep(1.0)
        return b"0123456789"


def test_a_large_file_is_read_for_as_long_as_its_bytes_take(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "_SILENCE_S", 0.1)
    monkeypatch.setattr(waiting, "_SLOWEST", 0.1)
    monkeypatch.setattr(filesystem, "PATIENCE_S", 0.1)
    files = Files("memory://slow")
    files.filesystem = SlowFile()
    assert files.read_bytes("a") == b"0123456789"


def test_what_will_not_pass_is_told_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = Files(str(tmp_path))
    files.patience_s = 60.0
    began = time.monotonic()
    with pytest.raises(StoreError, match="No such file"):
        files.read_bytes("nowhere")
    with flaky_s3(monkeypatch) as (_, storage):
        away = Files(storage.replace("s3://bucket/", "s3://other/"))
        away.patience_s = 60.0
        with pytest.raises(StoreError, match="cannot write"):
            away.write_bytes("a", b"x")
    assert time.monotonic() - began < 30.0
