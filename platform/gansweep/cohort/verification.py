"""Checks that the data files of a cohort are those that ingest wrote.

A cohort may be as large as a disk, and every worker of every trial opens it. So a file is hashed once per machine; the
result is kept with the file's size, times and place on the disk, and counts as long as these are the same.
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

SMALL = 2**20  # bytes: smaller files are hashed each time
RECENT = 2.0  # seconds: a file that changed so recently may change again without another time


def changed_file(folder: Path, files: Mapping[str, str], *, anew: bool = False) -> str:
    """The name of the first file that is not what it was, or "".

    Args:
        folder: of the files.
        files: SHA-256 by name.
        anew: hash all files, whatever was found before.

    Raises:
        OSError: a file is missing or cannot be read.
    """
    large = {name: digest for name, digest in files.items() if (folder / name).stat().st_size >= SMALL}
    small = next((name for name, digest in files.items() if name not in large and _differs(folder, name, digest)), "")
    if small or not large:
        return small
    place = hashlib.sha256(str(folder.resolve()).encode("utf-8", "surrogateescape")).hexdigest()[:24]
    record = cache_folder() / "verified" / f"{place}.json"
    if not anew and _recorded(record) == _stamps(folder, large):
        return ""
    try:
        record.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(record.with_suffix(".lock"))
    except OSError:  # nowhere to keep the result
        return next((name for name, digest in large.items() if _differs(folder, name, digest)), "")
    with lock:  # the other workers of this machine wait, and then read the result
        if not anew and _recorded(record) == _stamps(folder, large):
            return ""
        stamps = _stamps(folder, large)
        changed = next((name for name, digest in large.items() if _differs(folder, name, digest)), "")
        newest = max((folder / name).stat().st_ctime for name in large)
        if not changed and stamps == _stamps(folder, large) and time.time() - newest > RECENT:
            write_atomically(record, json.dumps(stamps).encode())
        return changed


def _differs(folder: Path, name: str, digest: str) -> bool:
    return sha256_of(folder / name) != digest


def _stamps(folder: Path, files: Mapping[str, str]) -> dict[str, list[str | int]]:
    """By name the expected hash, and what changes with the content: size, times and the place on the disk."""
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
