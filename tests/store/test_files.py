"""What a store's URI may hold that must not be seen."""

import os
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from gansweep.errors import StoreError
from gansweep.store import uris
from gansweep.store.filesystem import Files
from gansweep.store.store import Store
from gansweep.store.uris import without_credentials


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("s3://bucket/runs?region=eu-west-1", "s3://bucket/runs"),
        ("s3://KEY:secret@bucket/runs?region=eu-west-1", "s3://bucket/runs"),
        ("s3://KEY:sec@ret@bucket/runs", "s3://bucket/runs"),
        ("s3://KEY:sec/ret@bucket/runs", "s3://bucket/runs"),
        ("s3://KEY:sec?ret@bucket/runs", "s3://bucket/runs"),
        ("hdfs://namenode:8020/runs/a@b", "hdfs://namenode:8020/runs/a@b"),
        ("gs://bucket/a@b", "gs://bucket/a@b"),
        ("/home/a:b@c/runs", "/home/a:b@c/runs"),
    ],
)
def test_credentials_are_left_out(uri, shown):
    assert without_credentials(uri) == shown


@pytest.mark.parametrize("uri", ["s3://KEY:sec/ret@bucket/runs", "s3://KEY:sec@ret@bucket/runs", "s3://KEY:s ret@b/x"])
def test_a_uri_that_cannot_be_read_is_told_without_its_password(uri):
    with pytest.raises(StoreError) as told:
        Files(uri)
    assert "KEY" not in str(told.value)
    assert "ret" not in str(told.value)


@pytest.mark.parametrize(
    ("place", "fix"),
    [
        (Path("s3://bucket/runs"), "write s3://bucket/runs"),
        ("/home/me/s3:/KEY:secret@bucket/runs", "write s3://bucket/runs"),
        ("file:/tmp/runs", "write file:///tmp/runs"),
    ],
)
def test_a_uri_that_became_a_path_is_refused(place, fix):
    with pytest.raises(StoreError, match=f"^a URI has two slashes after .*; {fix}$"):
        Files(place)


def test_a_path_that_is_no_text_says_what_to_do():
    """As `f\u00e4hr` is with PYTHONUTF8=0 in a locale of ASCII."""
    with pytest.raises(
        StoreError, match=r"^runs/fhr: its name is not in the encoding of this locale; set PYTHONUTF8=1"
    ):
        Files(os.fsdecode(b"runs/f\xe4hr"))


def test_a_scheme_may_be_in_capital_letters(tmp_path):
    assert Files(f"FILE://{tmp_path}").local == tmp_path
    assert Files("Memory://runs").uri == "memory://runs"


class Failing(BaseHTTPRequestHandler):
    def do_HEAD(self):
        self.send_error(500)

    def do_GET(self):
        self.send_error(500)


def test_errors_of_a_server_are_told_without_password_and_token():
    with HTTPServer(("127.0.0.1", 0), Failing) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        host = f"127.0.0.1:{server.server_port}"
        for uri in (f"http://me:secret@{host}/runs", f"http://{host}/runs?token=secret"):
            for act in (Store.open, lambda uri: Files(uri).read_bytes("a")):
                with pytest.raises(StoreError, match=f"^http://{host}/runs.*: cannot read: ") as told:
                    act(uri)
                assert "secret" not in str(told.value)
        server.shutdown()


def test_google_cloud_storage_does_not_retry_in_silence_for_minutes(monkeypatch):
    monkeypatch.setattr(uris, "_GCS_RETRY_S", 1)
    began = time.monotonic()
    with pytest.raises(StoreError, match=r"^gs://bucket/x/sweep\.json: cannot read: .*Retry policy exhausted"):
        Files("gs://anonymous@bucket/x?scheme=http&endpoint_override=127.0.0.1:1").exists("sweep.json")
    assert time.monotonic() - began < 30
