"""Files of a store, addressed by relative name, on a local disk or any file system that pyarrow or fsspec supports.

Writes are atomic: they use a temporary file and a rename where the file system can rename, and a single upload on
object stores.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import re
import stat
import time
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, NamedTuple, TypeVar, cast

from pyarrow import fs

from gansweep.errors import GansweepError, StoreError
from gansweep.files import temporary_name, write_atomically
from gansweep.store.uris import absolute, open_filesystem, without_credentials
from gansweep.store.waiting import answered

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

__all__ = ["PATIENCE_S", "FileEntry", "Files", "explained"]

_UPLOADS_WHOLE = frozenset({"s3", "gcs", "abfs"})
"""pyarrow file systems where an object becomes visible only when its upload is complete."""

PATIENCE_S = 300.0
"""How long a sweep waits for a failing storage. It must be shorter than the silence after which a worker is ended."""

_PAUSE_S = 2.0
_TRANSIENT = frozenset({errno.ENOSPC, errno.EDQUOT, errno.ESTALE, errno.ETIMEDOUT, errno.EAGAIN, errno.EBUSY})
_TRANSIENT_WORDS = re.compile(
    r"SLOW_DOWN|SERVICE_UNAVAILABLE|INTERNAL_FAILURE|REQUEST_TIMEOUT|THROTTLING|NETWORK_CONNECTION"
    r"|Retry policy exhausted"
    r"|HTTP (response|status)( code)? (code: ?)?(5\d\d|429)|curlCode|timed? ?out",
    re.IGNORECASE,
)
"""Words for transient failures in the messages of pyarrow's S3, GCS and Azure clients, after their own retries."""

_WRONG_KIND = {
    "read": re.compile(r"(is|not) a directory", re.IGNORECASE),
    "write": re.compile(r"is a directory|file exists", re.IGNORECASE),
}
"""Words, by what was tried, for a folder in the place of a file, or a file in that of a folder."""

log = logging.getLogger(__name__)

Result = TypeVar("Result")

_LEFTOVER_SECONDS = 3600.0
"""No write takes this long: a temporary file of this age was left by a process that died."""


class FileEntry(NamedTuple):
    """A file: its name in the listed folder, its size in bytes and its modification time in nanoseconds."""

    name: str
    size: int
    changed_ns: int


class Files:
    """The files in one folder.

    Args:
        uri: local path, or a URI such as `s3://bucket/folder?region=eu-west-1`.

    Raises:
        StoreError: no installed file system supports the URI, or it is a path that was a URI.
    """

    patience_s: float
    """Longest wait for a transient failure such as a full disk or an overloaded server, in seconds. 0: no wait."""

    def __init__(self, uri: str | os.PathLike[str]) -> None:
        self.uri = absolute(os.fspath(uri))
        self.label = without_credentials(self.uri)
        with explained(self.label, "read", uri=self.uri):
            self.filesystem, self.root = open_filesystem(self.uri)
        self.patience_s = 0.0
        is_local = isinstance(self.filesystem, fs.LocalFileSystem)
        self.local: Path | None = Path(self.root) if is_local else None

    def child(self, name: str) -> Files:
        """Returns the subfolder `name`."""
        base, query = self._split_query()
        return Files(f"{base}/{name}{query}")

    def parent(self) -> Files:
        """Returns the folder that contains this one."""
        base, query = self._split_query()
        return Files(base.rpartition("/")[0] + query)

    def _split_query(self) -> tuple[str, str]:
        """Returns the URI without its query and last slash, and the query with its question mark."""
        if "://" not in self.uri:
            return self.uri.rstrip("/"), ""
        base, mark, query = self.uri.partition("?")
        return base.rstrip("/"), mark + query

    def path(self, rel: str) -> str:
        """Returns the path of `rel` in the form that `filesystem` expects."""
        return f"{self.root.rstrip('/')}/{rel}" if rel else self.root

    def read_bytes(self, rel: str) -> bytes:
        """Returns the content of a file.

        Raises:
            StoreError: the file is missing, cannot be read, or is a pipe or device, which could keep a reader for ever.
        """
        self._refuse_pipe(rel)
        size = 0

        def read() -> bytes:
            nonlocal size
            with self.filesystem.open_input_file(self.path(rel)) as stream:
                size = stream.size() if stream.seekable() else 0
                content: bytes = stream.read()
                return content

        return self._patiently(rel, "read", read, lambda: size)

    def write_bytes(self, rel: str, data: bytes) -> None:
        """Writes `data` to `rel` and replaces an existing file. Readers see the old or the new content, never a part.

        Raises:
            StoreError: the destination cannot be written.
        """

        def write() -> None:
            if self.local is not None:
                write_atomically(self.local / rel, data)
            elif self.filesystem.type_name in _UPLOADS_WHOLE:
                self._put(self.path(rel), data)
            else:
                self._put_and_move(rel, data)

        self._patiently(rel, "write", write, lambda: len(data))

    def upload(self, source: Path, rel: str) -> None:
        """Copies a file from this machine to `rel`. The file may be larger than memory.

        Raises:
            StoreError: the destination cannot be written.
        """

        def copy() -> None:
            if self.filesystem.type_name not in _UPLOADS_WHOLE:
                self.filesystem.create_dir(str(PurePosixPath(self.path(rel)).parent), recursive=True)
            fs.copy_files(str(source), self.path(rel), fs.LocalFileSystem(), self.filesystem)

        self._patiently(rel, "write", copy, lambda: source.stat().st_size)

    def download(self, rel: str, target: Path) -> None:
        """Copies a file to this machine. The file may be larger than memory.

        Raises:
            StoreError: the file is missing, cannot be read, or is a pipe or device.
        """
        self._refuse_pipe(rel)
        size = 0

        def copy() -> None:
            nonlocal size
            size = self.filesystem.get_file_info(self.path(rel)).size or 0
            fs.copy_files(self.path(rel), str(target), self.filesystem, fs.LocalFileSystem())

        self._patiently(rel, "read", copy, lambda: size)

    def exists(self, rel: str) -> bool:
        """Returns whether a file or folder `rel` exists."""
        return bool(self._kind(rel) != fs.FileType.NotFound)

    def delete(self, rel: str) -> None:
        """Deletes a file. A missing file is not an error."""

        def delete() -> None:
            with contextlib.suppress(FileNotFoundError):
                self.filesystem.delete_file(self.path(rel))

        self._patiently(rel, "delete", delete)

    def rename(self, rel: str, new: str) -> None:
        """Renames a file and replaces an existing file `new`. Object stores copy the file and delete the original.

        Raises:
            StoreError: the file is missing, or the folder cannot be written.
        """
        self._patiently(rel, "write", lambda: self.filesystem.move(self.path(rel), self.path(new)))

    def list(self, rel: str = "", suffix: str = "") -> tuple[FileEntry, ...]:
        """Lists the files directly in the folder `rel`, by name. Omits temporary files; a missing folder is empty."""
        entries = (
            FileEntry(item.base_name, item.size, item.mtime_ns or 0)
            for item in self._listed(rel)
            if item.type == fs.FileType.File and item.base_name.endswith(suffix) and item.base_name[:1] != "."
        )
        return tuple(sorted(entries))

    def misfits(self, rel: str, suffix: str) -> tuple[str, ...]:
        """Lists what `list` omits although its name ends like a file's: folders, and links that lead to no file.

        Object stores have neither, so there the result is empty.
        """
        if self.local is None or not (self.local / rel).is_dir():
            return ()
        with explained(f"{self.label}/{rel}", "read"), os.scandir(self.local / rel) as entries:
            named = (entry for entry in entries if entry.name.endswith(suffix) and not entry.name.startswith("."))
            # Most are files, which the listing tells. For a link that leads to itself, DirEntry.is_file raises, and
            # Path.is_file does not.
            others = (entry for entry in named if not entry.is_file(follow_symlinks=False))
            return tuple(sorted(entry.name for entry in others if not Path(entry.path).is_file()))

    def is_file(self, rel: str) -> bool:
        """Returns whether `rel` is a file, or a link to one."""
        return bool(self._kind(rel) == fs.FileType.File)

    def folders(self) -> tuple[str, ...]:
        """Lists the names of the direct subfolders."""
        if self.is_file(""):
            return ()
        return tuple(sorted(item.base_name for item in self._listed() if item.type == fs.FileType.Directory))

    def contents(self) -> tuple[str, ...]:
        """Lists the names of all files and folders directly in this folder, including hidden ones."""
        return tuple(sorted(item.base_name for item in self._listed()))

    def each_answered(self, rel: str, items: Iterator[Result]) -> Iterator[Result]:
        """Yields `items`, each of which is read from the folder `rel`.

        Raises:
            StoreError: an object store no longer answers. Other errors of the reading are raised as they are.
        """
        end = object()

        def following() -> Result | object:
            return next(items, end)

        while (item := self._answered(self._where(rel), "read", following, lambda: 0)) is not end:
            yield cast("Result", item)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Holds the folder's lock against other processes. Has no effect on file systems without locks.

        Raises:
            StoreError: the folder cannot be written.
        """
        if self.local is None:
            yield
            return
        import fcntl

        with contextlib.ExitStack() as stack:
            with explained(self.label, "write"):
                self.local.mkdir(parents=True, exist_ok=True)
                lock = stack.enter_context((self.local / ".lock").open("a"))
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def remove_leftovers(self) -> None:
        """Deletes temporary files that killed processes left on a local disk, if they are at least an hour old."""
        if self.local is None:
            return
        for leftover in self.local.rglob(".*.tmp"):
            with contextlib.suppress(FileNotFoundError):
                if time.time() - leftover.stat().st_mtime > _LEFTOVER_SECONDS:
                    leftover.unlink()

    def _where(self, rel: str) -> str:
        """Returns the name of a file or folder for messages."""
        return f"{self.label}/{rel}" if rel else self.label

    def _kind(self, rel: str) -> fs.FileType:
        return self._patiently(rel, "read", lambda: self.filesystem.get_file_info(self.path(rel)).type)

    def _listed(self, rel: str = "") -> Sequence[fs.FileInfo]:
        """Returns what is directly in the folder `rel`. A missing folder is empty."""
        selector = fs.FileSelector(self.path(rel), allow_not_found=True)
        found: Sequence[fs.FileInfo] = self._patiently(rel, "read", lambda: self.filesystem.get_file_info(selector))
        return found

    def _refuse_pipe(self, rel: str) -> None:
        if self.local is None:
            return
        with contextlib.suppress(OSError):
            mode = (self.local / rel).stat().st_mode
            if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
                where = f"{self.label}/{rel}"
                raise StoreError("is no regular file", where=where, fix="put back a copy of it, or move it away")

    def _patiently(
        self, rel: str, verb: str, action: Callable[[], Result], size: Callable[[], int] = lambda: 0
    ) -> Result:
        """Calls `action`, and repeats it for at most `patience_s` seconds if it fails for a transient reason.

        Args:
            rel: the file or folder.
            verb: what is tried.
            action: the access to it.
            size: returns the number of bytes that it sends or receives.
        """
        where = self._where(rel)
        began = time.monotonic()
        waited = False
        while True:
            try:
                with explained(where, verb):
                    result = self._answered(where, verb, action, size)
            except StoreError as error:
                left = began + self.patience_s - time.monotonic()
                if left <= 0 or not _is_transient(error.__cause__):
                    raise
                if not waited:
                    log.warning("%s: %s; waiting, %.0f s at most", error.where, error.what, self.patience_s)
                waited = True
                time.sleep(min(_PAUSE_S, left))
                continue
            if waited:
                log.warning("%s: works again after %.0f s", where, time.monotonic() - began)
            return result

    def _answered(self, where: str, verb: str, action: Callable[[], Result], size: Callable[[], int]) -> Result:
        """Calls `action`, and limits how long an object store may be silent. See `_patiently` for the arguments."""
        if self.local is not None:
            return action()
        return answered(action, where, verb, max(self.patience_s, PATIENCE_S), size)

    def _put(self, path: str, data: bytes) -> None:
        with self.filesystem.open_output_stream(path) as stream:
            stream.write(data)

    def _put_and_move(self, rel: str, data: bytes) -> None:
        target = PurePosixPath(self.path(rel))
        self.filesystem.create_dir(str(target.parent), recursive=True)
        temporary = str(target.with_name(temporary_name(target.name)))
        self._put(temporary, data)
        self.filesystem.move(temporary, str(target))


def _is_transient(cause: BaseException | None) -> bool:
    """Returns whether a failure may end by itself, such as a full disk or an overloaded server."""
    if isinstance(cause, OSError) and cause.errno in _TRANSIENT:
        return True
    return bool(_TRANSIENT_WORDS.search(str(cause)))


@contextlib.contextmanager
def explained(where: str, verb: str, uri: str = "") -> Iterator[None]:
    """Converts a file system's exception to a one-line error without the credentials of the URIs in it.

    Args:
        where: name of the file.
        verb: what is tried: `read`, `write`, `list`, ...
        uri: URI that may be in the message and may have spaces.

    Raises:
        StoreError: the block raised an error of the file system.
    """
    try:
        yield
    except (GansweepError, MemoryError):
        raise
    except Exception as error:  # those of fsspec are of any class
        text = str(error).replace(uri, where) if uri else str(error)
        text = re.sub(r"\S+://\S+", lambda found: without_credentials(found[0]), text)
        first_line = text.partition("\n")[0][:200] or type(error).__name__
        detail = re.search(r"\[errno \d+\] ([^\n]+)", text, re.IGNORECASE)
        reason = detail.group(1) if detail else first_line
        fixes = {"write": "choose a place that can be written", "read": "check the path and the permissions"}
        fix = fixes.get(verb, "")
        if verb in _WRONG_KIND and _WRONG_KIND[verb].search(text):
            fix = "a folder is where a file belongs, or a file where a folder does: move it away"
        raise StoreError(f"cannot {verb}: {reason}", where=where, fix=fix) from error
