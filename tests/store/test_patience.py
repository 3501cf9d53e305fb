"""A storage that fails for a while."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
import time
from functools import partial
from typing import TYPE_CHECKING

import pytest
from pyarrow import fs

from gansweep.errors import StoreError
from gansweep.store import filesystem
from gansweep.store.filesystem import Files
from tests.store.failing import SILENT, fill, flaky_s3, small_disk

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


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
    monkeypatch.setattr(filesystem, "_SILENCE_S", 0.3)
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


SILENCED = """
import sys
from gansweep.store import filesystem
filesystem._SILENCE_S = 0.3
filesystem.PATIENCE_S = 0.5
try:
    filesystem.Files(sys.argv[1]).read_bytes("a")
except Exception as error:
    print(error)
"""


def test_a_server_that_stays_silent_ends_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    with flaky_s3(monkeypatch) as (server, storage):
        server.answer = SILENT
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        command = [sys.executable, "-c", SILENCED, storage]
        began = time.monotonic()
        ended = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60, check=True)
        assert time.monotonic() - began < 20
    assert ended.stdout == ("s3://bucket/runs/a: cannot read: no answer for 1 s; check the network and the server\n")


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
