"""Checks that the data files of a cohort are those that ingest wrote.

A cohort may be very large, and every worker of every trial opens it. A file is therefore hashed once per machine. The
result is stored with the file's size, times and inode, and is valid while these are unchanged.
"""

from __future__ import annotations

import hashlib
import json
import time
from typing import TYPE_CHECKING

from filelock import FileLock

from gansweep.files import cache_folder, sha256_of, write_atomically

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["changed_file"]

SMALL = 2**20
"""Size in bytes below which files are hashed each time."""
RECENT = 2.0
"""Seconds after a change in which the result is not stored: a further change might not change the file's time."""


def changed_file(folder: Path, files: Mapping[str, str], *, anew: bool = False) -> str:
    """Returns the name of the first file whose content has changed, or "".

    Args:
        folder: folder of the files.
        files: expected SHA-256 by name.
        anew: whether to hash all files again.

    Raises:
        OSError: a file is missing or cannot be read.
    """
    large = {name: digest for name, digest in files.items() if (folder / name).stat().st_size >= SMALL}
    small = {name: digest for name, digest in files.items() if name not in large}
    changed = _first_changed(folder, small)
    if changed or not large:
        return changed
    place = hashlib.sha256(str(folder.resolve()).encode("utf-8", "surrogateescape")).hexdigest()[:24]
    record = cache_folder() / "verified" / f"{place}.json"
    if not anew and _recorded(record) == _stamps(folder, large):
        return ""
    try:
        record.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(record.with_suffix(".lock"))
    except OSError:
        # The cache cannot be written, so the result is not stored.
        return _first_changed(folder, large)
    with lock:  # the other workers of this machine wait, and then read the result
        if not anew and _recorded(record) == _stamps(folder, large):
            return ""
        before = _stamps(folder, large)
        changed = _first_changed(folder, large)
        unchanged_meanwhile = _stamps(folder, large) == before
        newest = max((folder / name).stat().st_ctime for name in large)
        is_old = time.time() - newest > RECENT
        if not changed and unchanged_meanwhile and is_old:
            write_atomically(record, json.dumps(before).encode())
        return changed


def _first_changed(folder: Path, files: Mapping[str, str]) -> str:
    """Hashes files until one differs. Returns its name, or ""."""
    for name, digest in files.items():
        if sha256_of(folder / name) != digest:
            return name
    return ""


def _stamps(folder: Path, files: Mapping[str, str]) -> dict[str, list[str | int]]:
    """Returns, by name, the expected hash and everything that changes with the content: size, times and inode."""
    stamps: dict[str, list[str | int]] = {}
    for name, digest in files.items():
        found = (folder / name).stat()
        stamps[name] = [digest, found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino, found.st_dev]
    return stamps


def _recorded(record: Path) -> object:
    try:
        return json.loads(record.read_text())
    except (OSError, ValueError):
        return None
