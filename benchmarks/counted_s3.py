"""An S3 server on this machine that counts what it is sent. Not a benchmark: `search_overhead.py` uses it."""

from __future__ import annotations

import itertools
import json
import multiprocessing
import os
import re
import urllib.request
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

__all__ = ["CountedS3", "Traffic", "show_traffic", "traffic"]

Traffic = dict[str, dict[str, tuple[float, float]]]
"""Requests and bytes per trial, by method and kind of file, in the `first` quarter and in the `last`."""

_BUCKET = "bucket"
_COUNTS = "/counts"
_NUMBER = re.compile(r"\d+")


class CountedS3:
    """Moto's S3 server in a process of its own, so that the memory of this one is not its memory.

    Args:
        wanted: whether there is to be one; `storage` is empty without.
    """

    def __init__(self, wanted: bool) -> None:
        self.storage = ""
        self._address = ""
        self._process: multiprocessing.process.BaseProcess | None = None
        self._wanted = wanted

    def __enter__(self) -> CountedS3:
        if not self._wanted:
            return self
        import boto3

        os.environ["AWS_ACCESS_KEY_ID"] = "test"
        os.environ["AWS_SECRET_ACCESS_KEY"] = "test"  # noqa: S105 (moto takes any)
        ours, theirs = multiprocessing.get_context("spawn").Pipe()
        self._process = multiprocessing.get_context("spawn").Process(target=_serve, args=(theirs,), daemon=True)
        self._process.start()
        self._address = f"127.0.0.1:{ours.recv()}"
        boto3.client("s3", endpoint_url=f"http://{self._address}", region_name="us-east-1").create_bucket(
            Bucket=_BUCKET
        )
        self.storage = f"s3://{_BUCKET}/runs?endpoint_override={self._address}&scheme=http&region=us-east-1"
        return self

    def __exit__(self, *_: Any) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.join()

    def counts(self) -> dict[str, tuple[int, int]]:
        """Requests and bytes so far, by method and kind of file."""
        with urllib.request.urlopen(f"http://{self._address}{_COUNTS}") as answer:
            found: dict[str, tuple[int, int]] = json.loads(answer.read())
        return found


def traffic(notes: list[dict[str, Any]]) -> Traffic:
    """What the storage received in the first quarter and in the last.

    Args:
        notes: at the begin and at the end of each quarter: trials that have `ended`, and what was `sent` by then.
    """
    found: Traffic = {}
    quarters = list(itertools.pairwise(notes))
    for label, (before, after) in (("first", quarters[0]), ("last", quarters[-1])):
        trials = after["ended"] - before["ended"]
        for what, (requests, size) in after["sent"].items():
            earlier = before["sent"].get(what, (0, 0))
            found.setdefault(what, {})[label] = ((requests - earlier[0]) / trials, (size - earlier[1]) / trials)
    return found


def show_traffic(found: Traffic) -> None:
    """Prints requests and bytes per trial."""
    sums = {"first": [0.0, 0.0], "last": [0.0, 0.0]}
    for what, both in sorted(found.items()):
        cells = []
        for label, total in sums.items():
            requests, size = both.get(label, (0.0, 0.0))
            total[0] += requests
            total[1] += size
            cells.append(f"{requests:7.2f} {size:9.0f}")
        print(f"  {what:<28}{cells[0]} in the first quarter, {cells[1]} in the last (requests and bytes per trial)")
    for label, (requests, size) in sums.items():
        print(f"  per trial in the {label} quarter: {requests:.1f} requests, {size:.0f} bytes")


def _serve(connection: Connection) -> None:
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    moto = DomainDispatcherApplication(create_backend_app)
    counts: dict[str, list[int]] = {}

    def respond(environment: dict[str, Any], start: Any) -> Any:
        path = environment["PATH_INFO"]
        if path == _COUNTS:
            start("200 OK", [("Content-Type", "application/json")])
            return [json.dumps(counts).encode()]
        count = counts.setdefault(_kind(environment["REQUEST_METHOD"], path, environment["QUERY_STRING"]), [0, 0])
        count[0] += 1
        # A body that is sent in signed chunks tells its size in a header of its own.
        size = environment.get("HTTP_X_AMZ_DECODED_CONTENT_LENGTH") or environment.get("CONTENT_LENGTH") or 0
        count[1] += int(size)
        return moto(environment, start)

    import logging

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = make_server("127.0.0.1", 0, respond, threaded=True)
    connection.send(server.server_port)
    server.serve_forever()


def _kind(method: str, path: str, query: str) -> str:
    """`PUT trials/`, `GET sweep.json`: the folder of a file in the store, or the file itself."""
    parts = path.strip("/").split("/")[3:]  # without bucket, runs and the sweep's name
    if not parts:
        found = re.search(r"prefix=([^&]*)", query)
        parts = found.group(1).replace("%2F", "/").strip("/").split("/")[2:] if found else []
        return f"{method} list {parts[0] if parts else '.'}"
    return f"{method} {parts[0]}{'/' if len(parts) > 1 else ''}"
