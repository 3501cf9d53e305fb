"""What a store's URI may hold that must not be seen."""

import time

import pytest

from gansweep.errors import StoreError
from gansweep.store import uris
from gansweep.store.filesystem import Files
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


def test_google_cloud_storage_does_not_retry_in_silence_for_minutes(monkeypatch):
    monkeypatch.setattr(uris, "_GCS_RETRY_S", 1)
    began = time.monotonic()
    with pytest.raises(StoreError, match=r"^gs://bucket/x/sweep\.json: cannot read: .*Retry policy exhausted"):
        Files("gs://anonymous@bucket/x?scheme=http&endpoint_override=127.0.0.1:1").exists("sweep.json")
    assert time.monotonic() - began < 30
