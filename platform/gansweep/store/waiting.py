"""Waiting for the answers of object stores. Their clients wait for ever, even at the end of the process."""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import sys
import threading
from concurrent.futures import Future, wait
from typing import TYPE_CHECKING, TypeVar

from pyarrow import fs

from gansweep.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["answered", "end_if_given_up"]

_SILENCE_S = 30.0
"""An object store that has not answered for so long is told."""

_SLOWEST = 1e6  # bytes per second of a connection that is slow rather than dead

log = logging.getLogger(__name__)

Result = TypeVar("Result")

_given_up = threading.Event()


def answered(request: Callable[[], Result], where: str, verb: str, limit_s: float, size: Callable[[], int]) -> Result:
    """Returns the result of `request`. Tells if it takes long, and gives up in the end.

    Args:
        request: function that waits for an object store.
        where: name of the file, for messages.
        verb: what is tried: `read`, `write`, ...
        limit_s: how long to wait for the answer after it was told to be missing, besides the time for the bytes.
        size: returns the number of bytes that the request sends or receives.

    Raises:
        StoreError: there is no answer. It is not tried again: the request may still be carried out, and must not
            replace newer content.
    """
    future = _begun(request)
    try:
        if not wait([future], timeout=_SILENCE_S).done:
            limit_s += size() / _SLOWEST
            log.warning("%s: no answer for %.0f s; waiting, %.0f s at most", where, _SILENCE_S, limit_s)
            if not wait([future], timeout=limit_s).done:
                what = f"cannot {verb}: no answer for {_SILENCE_S + limit_s:.0f} s"
                raise StoreError(what, where=where, fix="check the network and the server")
            log.warning("%s: answers again", where)
    finally:
        if not future.done():  # also after Ctrl-C
            _given_up.set()
            atexit.unregister(fs.ensure_s3_finalized)  # it waits for the answer at the end of the process
    return future.result()


def end_if_given_up(status: int) -> None:
    """Ends this process at once if it gave a request up. Arrow would complain of the request, and may crash.

    Args:
        status: exit status.
    """
    if not _given_up.is_set():
        return
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(status)


def _begun(request: Callable[[], Result]) -> Future[Result]:
    """Starts `request` in a thread that keeps no process alive."""
    future: Future[Result] = Future()

    def run() -> None:
        try:
            future.set_result(request())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future
