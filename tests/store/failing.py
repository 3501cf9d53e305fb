"""Storages that fail when they are told to: a small disk, one that breaks, and an S3 server."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
import time
from contextlib import contextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def small_disk(place: Path) -> Iterator[Path]:
    """A file system of 64 MB of its own. Skips the test where it cannot be mounted."""
    if os.getuid() != 0:
        pytest.skip("only root can mount one")
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", place], check=False)
    if mounted.returncode:
        pytest.skip("this machine does not let root mount")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", place], check=True)


class BreakingDisk:
    """A disk of its own, an ext4 file system in a file.

    Args:
        place: where it is mounted.
    """

    def __init__(self, place: Path) -> None:
        self.place = place
        self._image = place.with_suffix(".image")
        with self._image.open("wb") as image:
            image.truncate(2**26)
        subprocess.run(["mkfs.ext4", "-q", "-F", self._image], check=True)
        place.mkdir()
        self._mount()

    def _mount(self) -> None:
        subprocess.run(["mount", "-o", "loop,errors=remount-ro", self._image, self.place], check=True)

    def breaks(self) -> None:
        """Makes the disk read-only as the kernel does it after an error, whatever files are open."""
        subprocess.run(["mount", "-o", "remount,abort", self.place], check=True)

    def is_mended(self) -> None:
        """Repairs the file system and mounts it again. No file on it may be open."""
        subprocess.run(["umount", self.place], check=True)
        subprocess.run(["fsck.ext4", "-y", self._image], check=False, capture_output=True)
        self._mount()


@contextmanager
def breaking_disk(place: Path) -> Iterator[BreakingDisk]:
    """A disk that can become read-only. Skips the test where it cannot be made."""
    if os.getuid() != 0 or shutil.which("mkfs.ext4") is None:
        pytest.skip("only root can mount one, and it needs mkfs.ext4")
    try:
        disk = BreakingDisk(place)
    except subprocess.CalledProcessError:
        pytest.skip("this machine does not let root mount")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "-l", place], check=True)


def fill(disk: Path) -> Path:
    """Leaves no byte; returns the file to remove."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as stream:
        for size in (2**20, 2**12, 1):
            try:
                while True:
                    stream.write(b"x" * size)
            except OSError:
                continue
    return ballast


SILENT = -1


class FlakyS3:
    """Moto's S3 server, which answers with an error while `answer` is one, and not at all while it is `SILENT`."""

    def __init__(self) -> None:
        self.answer = 0
        self.refused = 0
        self._moto = DomainDispatcherApplication(create_backend_app)
        self._server = make_server("127.0.0.1", 0, self._respond, threaded=True)
        self.address = f"127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()

    def _respond(self, environment: dict[str, Any], start: Any) -> Any:
        if not self.answer:
            return self._moto(environment, start)
        self.refused += 1
        while self.answer == SILENT:
            time.sleep(0.1)
        if not self.answer:
            return self._moto(environment, start)
        environment["wsgi.input"].read(int(environment.get("CONTENT_LENGTH") or 0))
        start(f"{self.answer} {HTTPStatus(self.answer).phrase}", [("Content-Length", "0")])
        return [b""]


@contextmanager
def flaky_s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[FlakyS3, str]]:
    """An S3 server that can be told to fail, and a storage on it."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    server = FlakyS3()
    boto3.client("s3", endpoint_url=f"http://{server.address}", region_name="us-east-1").create_bucket(Bucket="bucket")
    try:
        yield server, f"s3://bucket/runs?endpoint_override={server.address}&scheme=http&region=us-east-1"
    finally:
        server.stop()


def objects_of(server: FlakyS3) -> dict[str, Any]:
    """Returns all objects in the bucket of `flaky_s3`, by name. They are read while the server runs."""
    client = boto3.client(
        "s3",
        endpoint_url=f"http://{server.address}",
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )
    names = [entry["Key"] for entry in client.list_objects_v2(Bucket="bucket")["Contents"]]
    return {name: client.get_object(Bucket="bucket", Key=name) for name in names}
