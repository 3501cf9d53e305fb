"""Claims: one process at a time works on a store.

On a local disk, a claim is a lock, which ends with its process. Object stores have no locks. There, the holder writes
its claim anew every few seconds, and a claim that stays as it is for longer belongs to a process that is dead.
"""

from __future__ import annotations

import contextlib
import copy
import ctypes
import json
import logging
import os
import platform
import signal
import threading
import time
import uuid
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from gansweep.errors import StoreError, one_line
from gansweep.store.filesystem import Files, explained

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["claimed", "holder_has_ended"]

BEAT_S = 10.0
"""Time between two writes of a claim on an object store."""

SILENCE_S = 45.0
"""A claim that stays as it is for so long belongs to a dead process."""

_LOCKS = Path("/proc/locks")
_PROCESSES = Path("/proc/self/ns/pid")  # the processes that this one sees
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
    """Returns whether the last process that claimed a folder no longer holds it.

    Returns False if this cannot be known: for a process that was killed on another machine or in another container, or
    if the system does not list locks.

    Args:
        files: the folder.
        rel: file that records which process holds it.
    """
    if files.local is not None:
        return _is_unlocked(files.local / rel)
    return _is_over(_parsed(_content(files, rel)))


def _is_unlocked(path: Path) -> bool:
    """Returns whether nobody holds the lock of a process of this machine.

    It is looked up rather than acquired, because a process that starts at the same moment must not find it taken.
    """
    if not path.is_file():
        return False
    try:
        claim = _parsed(path.read_bytes())
        inode = str(path.stat().st_ino)
        locks = _LOCKS.read_text().splitlines()
    except OSError:
        return False
    # One line per lock: number, FLOCK, ADVISORY, WRITE, process, device:inode, range.
    held = (line.split() for line in locks if " FLOCK " in line)
    return claim.get("machine") == _machine() and not any(words[-3].rpartition(":")[2] == inode for words in held)


@contextmanager
def _locked(path: Path, label: str, what: str) -> Iterator[None]:
    """Holds a lock on a local file."""
    import fcntl

    with contextlib.ExitStack() as stack:
        with explained(f"{label}/{path.name}", "write"):
            claim = stack.enter_context(path.open("a+b"))
            try:
                fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                claim.seek(0)
                raise _refused(_parsed(claim.read()), what, label) from None
            stack.callback(fcntl.flock, claim, fcntl.LOCK_UN)  # a process that was forked meanwhile would keep the lock
            claim.truncate(0)
            claim.write(json.dumps(_this_process()).encode())
            claim.flush()
        yield


@contextmanager
def _kept(files: Files, rel: str, what: str) -> Iterator[None]:
    """Keeps a claim on an object store."""
    claim = _Claim(files, rel, what)
    claim.take()
    with contextlib.ExitStack() as stack:
        stack.callback(claim.leave)
        keeper = threading.Thread(target=claim.keep, daemon=True)
        keeper.start()
        stack.callback(keeper.join, BEAT_S)
        stack.callback(claim.over.set)
        yield


class _Claim:
    """A claim on an object store. See `claimed` for the arguments."""

    def __init__(self, files: Files, rel: str, what: str) -> None:
        self.over = threading.Event()
        self._files = files
        self._rel = rel
        self._what = what
        self._mine = {**_this_process(), "token": uuid.uuid4().hex}
        self._worker = threading.current_thread()
        self._beats = 0

    def take(self) -> None:
        """Claims the folder.

        Raises:
            StoreError: another process holds it, or claims it at the same time.
        """
        self._wait_until_silent()
        try:
            self._write()
            time.sleep(_SETTLE_S)
            found = _parsed(self._read())
        except KeyboardInterrupt:
            self.leave()
            raise
        if not self._is_mine(found):
            raise _refused(found, self._what, self._files.label)

    def _wait_until_silent(self) -> None:
        """Returns as soon as no other process holds the folder.

        Raises:
            StoreError: another process writes its claim anew.
        """
        first = self._read()
        if not first or _is_over(_parsed(first)):
            return
        holder = _holder(_parsed(first))
        log.warning("%s has claimed %s: waiting %.0f s for a sign of it", holder, self._files.label, SILENCE_S)
        began = time.monotonic()
        while time.monotonic() - began < SILENCE_S:
            time.sleep(min(1.0, BEAT_S))
            found = self._read()
            if not found or _is_over(_parsed(found)):
                return
            if found != first:
                raise _refused(_parsed(found), self._what, self._files.label)

    def keep(self) -> None:
        """Writes the claim anew until it is over. Interrupts its thread if another process has taken the folder."""
        self._files = copy.copy(self._files)
        self._files.patience_s = 0.0  # a write that fails is followed by the next
        while not self.over.wait(BEAT_S):
            with contextlib.suppress(StoreError):
                found = _parsed(self._read())
                if found and not self._is_mine(found):
                    log.error("%s has taken %s: this run ends", _holder(found), self._files.label)
                    _interrupt(self._worker)
                    return
                self._write()

    def leave(self) -> None:
        """Marks the claim as over, unless another process holds it."""
        with contextlib.suppress(StoreError):
            if self._is_mine(_parsed(self._read())):
                self._write(over=True)

    def _is_mine(self, claim: dict[str, Any]) -> bool:
        return bool(claim.get("token") == self._mine["token"])

    def _read(self) -> bytes:
        return _content(self._files, self._rel)

    def _write(self, *, over: bool = False) -> None:
        self._beats += 1
        claim = {**self._mine, "beats": self._beats, "over": over}
        self._files.write_bytes(self._rel, json.dumps(claim).encode())


def _content(files: Files, rel: str) -> bytes:
    """Returns the claim that is there, or b""."""
    try:
        return files.read_bytes(rel)
    except StoreError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            return b""
        raise


def _parsed(content: bytes) -> dict[str, Any]:
    """Returns the values of a claim; none if it is damaged."""
    try:
        claim = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    return claim if isinstance(claim, dict) else {}


def _this_process() -> dict[str, Any]:
    """Returns what a claim tells of its holder."""
    holder = f"process {os.getpid()} on {platform.node()}, since {datetime.now(UTC):%Y-%m-%d %H:%M} UTC,"
    return {"holder": holder, "machine": _machine(), "pid": os.getpid()}


def _machine() -> str:
    """Returns a name for what shares its process numbers: containers can have the name of their machine."""
    with contextlib.suppress(OSError):  # a system without namespaces
        return f"{platform.node()} {_PROCESSES.readlink()}"
    return platform.node()


def _interrupt(thread: threading.Thread) -> None:
    """Ends what a thread does as Ctrl-C does in the main thread."""
    if thread is not threading.main_thread():
        # It handles no signals. The exception is raised when its current call into C has returned.
        ctypes.pythonapi.PyThreadState_SetAsyncExc(
            ctypes.c_ulong(thread.ident or 0), ctypes.py_object(KeyboardInterrupt)
        )
        return
    # A shell's background jobs ignore Ctrl-C, but not the other signal.
    ignored = signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    signal.pthread_kill(thread.ident or 0, signal.SIGTERM if ignored else signal.SIGINT)


def _is_over(claim: dict[str, Any]) -> bool:
    """Returns whether the holder has left the folder, or ran on this machine and has ended."""
    pid = claim.get("pid")
    has_pid = isinstance(pid, int) and 0 < pid < 2**31
    return claim.get("over") is True or (has_pid and claim.get("machine") == _machine() and not psutil.pid_exists(pid))


def _holder(claim: dict[str, Any]) -> str:
    return one_line(claim.get("holder") or "another process", 200)


def _refused(claim: dict[str, Any], what: str, label: str) -> StoreError:
    return StoreError(f"{_holder(claim)} {what}", where=label, fix="wait for it, or end it first")
