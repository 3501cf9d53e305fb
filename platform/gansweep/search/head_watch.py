"""Ends this process with one line if the head of its Ray cluster is lost.

Ray ends it, too: after a minute, with a message of many lines.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from gansweep.search.connection import silence_of

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["ending_without_head"]

_PERIOD_S = 5.0
PATIENCE_S = 40.0
"""A head that is started again within this time costs nothing. Ray waits for 60 s, then ends its processes."""

_STATUS = 2  # exit status of an error that is told

log = logging.getLogger(__name__)


@contextmanager
def ending_without_head() -> Iterator[None]:
    """Watches the head of the connected cluster while the block runs.

    If it has not answered for `PATIENCE_S`, the process ends with status 2. Neither Ray nor Tune can be left in order
    then. What the sweep has stored is complete, as after SIGKILL.
    """
    import ray

    if not ray.is_initialized():
        yield
        return
    over = threading.Event()
    watch = threading.Thread(target=_watch, args=(_head(), over), daemon=True)
    watch.start()
    try:
        yield
    finally:
        over.set()


def _head() -> str:
    """Returns the address of the head as this process reaches it. A client outside the cluster knows another one."""
    import ray
    from ray.util.client import ray as client

    return os.environ.get("RAY_ADDRESS", "") if client.is_connected() else ray.get_runtime_context().gcs_address


def _watch(address: str, over: threading.Event) -> None:
    if silence_of(address):
        return  # it cannot be watched from here
    answered = time.monotonic()
    while not over.wait(_PERIOD_S):
        reason = silence_of(address)
        if not reason:
            answered = time.monotonic()
        elif time.monotonic() - answered > PATIENCE_S and not over.is_set():
            log.error(
                "%s: the Ray cluster is lost (%s); when it is back, run the command again (a sweep with --resume)",
                *(address, reason),
            )
            for stream in (sys.stdout, sys.stderr):
                with suppress(OSError, ValueError):  # its reader may have ended
                    stream.flush()
            os._exit(_STATUS)
