"""Claims: one process at a time works on a store.

On a local disk, a claim is a lock, which ends with its process. Object stores have no locks. There, the holder writes
its claim anew every few seconds, and a claim that stays as it is for longer belongs to a process that is dead.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import platform
import re
import signal
import threading
import time
import uuid
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from gansweep.errors import StoreError
from gansweep.store.filesystem import Files, explained

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["claimed", "holder_has_ended"]

BEAT_S = 10.0
"""Time between two writes of a claim on an object store."""

SILENCE_S = 45.0
"""A claim that stays as it is for so long belongs to a dead process."""

_LOCKS = Path("/proc/locks")
_SETTLE_S = 1.0
"""Two processes that claim a store at once have both written after this time; the last one has it."""

log = logging.getLogger(__name__)


def claimed(files: Files, rel: str, what: str) -> AbstractContextManager[None]:
    """Reserves a folder for this process while the block runs.

    A claim on a local disk ends with its process. On an object store, the claim of a process that was killed ends after
    `SILENCE_S`, or at once if the process ran on this machine.

    Args:
        files: the folder.
        rel: file that records which process holds it.
        what: what the holder does, for the error message.

    Raises:
        StoreError: another process holds it, or the folder cannot be written.
    """
    return _kept(files, rel, what) if files.local is None else _locked(files.local / rel, files.label, what)


def holder_has_ended(files: Files, rel: str) -> bool:
    """Returns whether the last process of this machine that claimed a folder no longer holds it.

    Returns False if this cannot be known: for a process on another machine, or if the system does not list locks.

    Args:
        files: the folder.
        rel: file that records which process holds it.
    """
    if files.local is not None:
        return _is_unlocked(files.local / rel)
    return files.exists(rel) and _is_dead(files.read_bytes(rel))


def _is_unlocked(path: Path) -> bool:
    """Returns whether nobody holds the lock of a process of this machine.

    It is looked up rather than acquired, because a process that starts at the same moment must not find it taken.
    """
    if not path.is_file() or not _LOCKS.is_file():
        return False
    holder = re.match(r"process (\d+) on (.+), since ", path.read_text(errors="replace"))
    if holder is None or holder[2] != platform.node():
        return False
    inode = str(path.stat().st_ino)
    # One line per lock: number, FLOCK, ADVISORY, WRITE, process, device:inode, range.
    held = (line.split() for line in _LOCKS.read_text().splitlines() if " FLOCK " in line)
    return not any(words[-3].rpartition(":")[2] == inode for words in held)


@contextmanager
def _locked(path: Path, label: str, what: str) -> Iterator[None]:
    """Holds a lock on a local file."""
    import fcntl

    with contextlib.ExitStack() as stack:
        with explained(f"{label}/{path.name}", "write"):
            claim = stack.enter_context(path.open("a+"))
            try:
                fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                claim.seek(0)
                raise _refused(claim.read(), what, label) from None
            claim.truncate(0)
            claim.write(_this_process())
            claim.flush()
        yield


@contextmanager
def _kept(files: Files, rel: str, what: str) -> Iterator[None]:
    """Keeps a claim on an object store."""
    claim = _Claim(files, rel, what)
    claim.take()
    keeper = threading.Thread(target=claim.keep, daemon=True)
    keeper.start()
    try:
        yield
    finally:
        claim.over.set()
        keeper.join(BEAT_S)
        claim.leave()


class _Claim:
    """A claim on an object store. See `claimed` for the arguments."""

    def __init__(self, files: Files, rel: str, what: str) -> None:
        self.over = threading.Event()
        self._files = files
        self._rel = rel
        self._what = what
        self._holder = _this_process()
        self._token = uuid.uuid4().hex
        self._beats = 0

    def take(self) -> None:
        """Claims the folder.

        Raises:
            StoreError: another process holds it, or claims it at the same time.
        """
        self._wait_until_silent()
        self._write()
        time.sleep(_SETTLE_S)
        found = self._read()
        if self._token.encode() not in found:
            raise _refused(_field(found, "holder"), self._what, self._files.label)

    def _wait_until_silent(self) -> None:
        """Returns as soon as no other process holds the folder.

        Raises:
            StoreError: another process writes its claim anew.
        """
        first = self._read()
        if not first or _is_dead(first):
            return
        holder = _field(first, "holder")
        log.warning("%s has claimed %s: waiting %.0f s for a sign of it", holder, self._files.label, SILENCE_S)
        began = time.monotonic()
        while time.monotonic() - began < SILENCE_S:
            time.sleep(min(1.0, BEAT_S))
            found = self._read()
            if not found:
                return
            if found != first:
                raise _refused(_field(found, "holder"), self._what, self._files.label)

    def keep(self) -> None:
        """Writes the claim anew until it is over. Ends this process's work if another one has taken the folder."""
        self._files = Files(self._files.uri)  # without patience: a write that fails is followed by the next
        while not self.over.wait(BEAT_S):
            with contextlib.suppress(StoreError):
                found = self._read()
                if found and self._token.encode() not in found:
                    log.error("%s has taken %s: this process ends", _field(found, "holder"), self._files.label)
                    _end_this_process()
                    return
                self._write()

    def leave(self) -> None:
        """Deletes the claim, unless another process holds it."""
        with contextlib.suppress(StoreError):
            if self._token.encode() in self._read():
                self._files.delete(self._rel)

    def _read(self) -> bytes:
        """Returns the claim that is there, or b""."""
        try:
            return self._files.read_bytes(self._rel)
        except StoreError as error:
            if isinstance(error.__cause__, FileNotFoundError):
                return b""
            raise

    def _write(self) -> None:
        self._beats += 1
        claim = {
            "holder": self._holder,
            "host": platform.node(),
            "pid": os.getpid(),
            "token": self._token,
            "beats": self._beats,
        }
        self._files.write_bytes(self._rel, json.dumps(claim).encode())


def _this_process() -> str:
    return f"process {os.getpid()} on {platform.node()}, since {datetime.now(UTC):%Y-%m-%d %H:%M} UTC,"


def _end_this_process() -> None:
    """Ends the main thread as Ctrl-C does. A shell's background jobs ignore that, but not the other signal."""
    ignored = signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    number = signal.SIGTERM if ignored else signal.SIGINT
    signal.pthread_kill(threading.main_thread().ident or 0, number)


def _field(claim: bytes, name: str) -> str:
    """Returns a value of a claim, or "" if it is damaged."""
    try:
        return str(json.loads(claim)[name])
    except (ValueError, KeyError, TypeError):
        return ""


def _is_dead(claim: bytes) -> bool:
    """Returns whether the holder ran on this machine and has ended."""
    pid = _field(claim, "pid")
    return _field(claim, "host") == platform.node() and pid.isdigit() and not psutil.pid_exists(int(pid))


def _refused(holder: str, what: str, label: str) -> StoreError:
    return StoreError(f"{holder or 'another process'} {what}", where=label, fix="wait for it, or end it first")
