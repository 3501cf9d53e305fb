"""URIs of stores: opens their file systems, and hides their credentials."""

from __future__ import annotations

import re
from urllib.parse import unquote

import pyarrow as pa
from pyarrow import fs

from gansweep.errors import StoreError, printable
from gansweep.files import expanded

__all__ = ["absolute", "open_filesystem", "without_credentials"]

_CREDENTIALS = re.compile(r"(?<=://)([^/]*|[^/:]*:(?!\d*(/|$)).*)@")
"""Credentials before the host.

The match ends at the last @ before the first slash. If the text before that slash has a colon that does not introduce
a port, the match ends at the last @ of the whole URI.
"""

_GCS_RETRY_S = 20

_SCHEMES = {"s3:", "gs:", "gcs:", "abfs:", "abfss:", "hdfs:", "file:"}


def absolute(place: str) -> str:
    """Returns the absolute path of a local path, or a URI with its scheme in lower case.

    Raises:
        StoreError: a folder of the path is called like a scheme, as `pathlib` turns `s3://bucket` into `s3:/bucket`; or
            the path has bytes that are no text.
    """
    try:
        place.encode()
    except UnicodeEncodeError:
        what = "its name is not in the encoding of this locale"
        raise StoreError(what, where=printable(place), fix="set PYTHONUTF8=1, or rename it") from None
    scheme, mark, rest = place.partition("://")
    if mark:
        return f"{scheme.lower()}{mark}{rest}"
    path = expanded(place, StoreError)
    for folder in _SCHEMES.intersection(path.parts):
        after = str(path).partition(f"/{folder}/")[2]
        uri = f"{folder}//{'/' * (folder == 'file:')}{after}"
        raise StoreError(f"a URI has two slashes after {folder}", fix=f"write {without_credentials(uri)}")
    return str(path)


def without_credentials(uri: str) -> str:
    """Returns `uri` without user, password and query, for messages and logs.

    It also handles passwords with an unescaped @ or slash, which object stores' secrets can contain.
    """
    return _CREDENTIALS.sub("", uri).partition("?")[0] if "://" in uri else uri


def open_filesystem(uri: str) -> tuple[fs.FileSystem, str]:
    """Returns the file system of a URI or path, and the path in it.

    Raises:
        Exception: of pyarrow or fsspec, if the URI is not understood.
    """
    if "://" not in uri:
        return fs.LocalFileSystem(), uri
    if (path := _local_path(uri)) is not None:
        return fs.LocalFileSystem(), path
    try:
        filesystem, path = fs.FileSystem.from_uri(_impatient(uri))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        if "nrecognized filesystem type" not in str(error):
            raise
        return _open_with_fsspec(uri)
    return filesystem, path


def _local_path(uri: str) -> str | None:
    """Returns the path of a `file:` URI of this machine, also with spaces, which Arrow refuses; None for others."""
    scheme, _, rest = uri.partition("://")
    host, slash, path = rest.partition("/")
    if scheme != "file" or host not in ("", "localhost") or not slash or "?" in rest:
        return None
    return unquote(f"/{path}")


def _impatient(uri: str) -> str:
    """Limits the retries of Google Cloud Storage, whose client otherwise keeps silent for 15 minutes without a network.

    A sweep waits longer: `Files.patience_s`.
    """
    if not uri.startswith(("gs://", "gcs://")) or "retry_limit_seconds" in uri:
        return uri
    return f"{uri}{'&' if '?' in uri else '?'}retry_limit_seconds={_GCS_RETRY_S}"


def _open_with_fsspec(uri: str) -> tuple[fs.FileSystem, str]:
    from fsspec.core import url_to_fs

    filesystem, path = url_to_fs(uri)
    return fs.PyFileSystem(fs.FSSpecHandler(filesystem)), path
