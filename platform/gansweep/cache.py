"""Cache of tensor files that are computed once per cohort: encoder, features of real images, baseline detectors."""

from __future__ import annotations

import hashlib
import io
import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from filelock import FileLock

from gansweep.errors import StoreError
from gansweep.files import read_tensors, write_atomically

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["key", "locked", "read", "write"]


def key(**parts: Any) -> str:
    """Returns twelve hexadecimal digits that change if any of `parts` (JSON values) changes."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:12]


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Locks `path` so that one process of this machine computes its content. The others wait and then read it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")):
        yield


def read(path: Path) -> Any:
    """Returns the content of `path`, with tensors on the CPU; None if it is missing or damaged."""
    try:
        with path.open("rb") as file:
            return read_tensors(file)
    except (OSError, ValueError):
        return None  # truncated by a full disk, for example: computed again and replaced


def write(path: Path, content: Any) -> None:
    """Writes `content` to `path` atomically.

    Raises:
        StoreError: a folder is in its place.
    """
    if path.is_dir():
        raise StoreError("a folder is where a cached file belongs", where=str(path), fix="move it away")
    buffer = io.BytesIO()
    torch.save(content, buffer)
    write_atomically(path, buffer.getvalue())
