"""Detects whether the process that drives a sweep is alive, without disturbing it."""

from __future__ import annotations

import platform
import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gansweep.store.store import Store

__all__ = ["driver_has_ended"]

_CLAIM = ".driver"
_LOCKS = Path("/proc/locks")


def driver_has_ended(store: Store) -> bool:
    """Returns whether the last process that drove the sweep on this machine no longer holds its lock.

    The lock ends with its process. It is looked up rather than acquired, because a process that starts at the same
    moment must not find it taken. Returns False if this cannot be known: on an object store, for a process on another
    machine, or if the system does not list locks.

    Args:
        store: the sweep's store.
    """
    claim = None if store.local is None else store.local / _CLAIM
    if claim is None or not claim.is_file() or not _LOCKS.is_file():
        return False
    holder = re.match(r"process (\d+) on (.+), since ", claim.read_text(errors="replace"))
    if holder is None or holder[2] != platform.node():
        return False
    inode = str(claim.stat().st_ino)
    # One line per lock: number, FLOCK, ADVISORY, WRITE, process, device:inode, range.
    held = (line.split() for line in _LOCKS.read_text().splitlines() if " FLOCK " in line)
    return not any(words[-3].rpartition(":")[2] == inode for words in held)
