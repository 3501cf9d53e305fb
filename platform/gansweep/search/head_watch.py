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

_PERIOD_S = 2.0
PATIENCE_S = 40.0
"""A head that is started again within this time costs nothing. Ray waits for 60 s, then ends its processes."""
ENDING_PATIENCE_S = 3.0
"""Patience of a process that was told to end. Schedulers kill it after 10 to 90 s."""

_LOST = 2  # exit status of an error that is told
_INTERRUPTED = 130

log = logging.getLogger(__name__)


@contextmanager
def ending_without_head(interrupted: threading.Event) -> Iterator[None]:
    """Watches the head of the connected cluster while the block runs.

    If it has not answered for `PATIENCE_S`, the process ends with status 2. Neither Ray nor Tune can be left in order
    then: they wait for answers where no signal reaches them. What the sweep has stored is complete, as after SIGKILL.

    Args:
        interrupted: a signal has told this process to end. Slurm, systemd and `timeout` send it to all processes, also
            to a Ray that this one started. The process then ends with status 130, after `ENDING_PATIENCE_S`.
    """
    import ray

    if not ray.is_initialized():
        yield
        return
    over = threading.Event()
    watch = threading.Thread(target=_watch, args=(_head(), over, interrupted), daemon=True)
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


def _watch(address: str, over: threading.Event, interrupted: threading.Event) -> None:
    if silence_of(address):
        return  # it cannot be watched from here
    answered = time.monotonic()
    while not over.wait(_PERIOD_S):
        silent_before_s = time.monotonic() - answered
        reason = silence_of(address)
        silent_s = time.monotonic() - answered
        if not reason:
            answered = time.monotonic()
        elif over.is_set():
            return
        elif interrupted.is_set() and silent_before_s > ENDING_PATIENCE_S:  # a busy head may be late once
            log.warning("stopped, and Ray with it; run the command again to go on (a sweep with --resume)")
            _end(_INTERRUPTED)
        elif silent_s > PATIENCE_S:
            log.error(
                "%s: the Ray cluster is lost (%s); when it is back, run the command again (a sweep with --resume)",
                *(address, reason),
            )
            _end(_LOST)


def _end(status: int) -> None:
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # its reader may have ended
            stream.flush()
    os._exit(status)
