"""Forwards warnings of a sweep's other processes to its driver, because nobody reads the logs of a hundred nodes.

Ray's own forwarding (`log_to_driver`) forwards everything that a process prints, including Ray and all libraries.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from gansweep.search.cluster import on_this_node

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Relay", "relay_warnings", "relayed"]

_ROOT = "gansweep"
_KEPT = 1000  # maximum number of lines that wait for the driver; older ones are dropped
_POLL_S = 2.0

log = logging.getLogger(__name__)


class Relay:
    """Actor between the processes that warn and the driver that logs."""

    def __init__(self) -> None:
        self._lines: deque[str] = deque(maxlen=_KEPT)

    def put(self, line: str) -> None:
        """Stores a line for the driver, unless it equals the previous one."""
        if not self._lines or self._lines[-1] != line:
            self._lines.append(line)

    def take(self) -> list[str]:
        """Returns the lines since the last call."""
        lines = list(self._lines)
        self._lines.clear()
        return lines


class _Handler(logging.Handler):
    def __init__(self, relay: Any) -> None:
        # Warnings only. Errors have tracebacks, and the driver gets them as the reason of a trial's end.
        super().__init__(logging.WARNING)
        self.addFilter(lambda record: record.levelno == logging.WARNING)
        self._relay = relay

    def emit(self, record: logging.LogRecord) -> None:
        # The driver may have ended.
        with suppress(Exception):
            self._relay.put.remote(record.getMessage())


def relay_warnings(relay: Any) -> None:
    """Forwards this process's warnings to the driver from now on. A further call replaces the driver.

    Args:
        relay: handle of the actor; None forwards nothing.
    """
    logger = logging.getLogger(_ROOT)
    for handler in [handler for handler in logger.handlers if isinstance(handler, _Handler)]:
        logger.removeHandler(handler)
    if relay is not None:
        logger.addHandler(_Handler(relay))


@contextmanager
def relayed() -> Iterator[Any]:
    """Logs forwarded warnings while the block runs. Yields the handle of the actor."""
    import ray

    relay = ray.remote(num_cpus=0)(Relay).options(scheduling_strategy=on_this_node()).remote()
    ended = threading.Event()

    def log_lines() -> None:
        with suppress(ray.exceptions.RayError):
            for line in ray.get(relay.take.remote(), timeout=_POLL_S * 5):
                log.warning("%s", line)

    def listen() -> None:
        while not ended.wait(_POLL_S):
            log_lines()

    thread = threading.Thread(target=listen, name="relay", daemon=True)
    thread.start()
    try:
        yield relay
    finally:
        ended.set()
        thread.join()
        log_lines()
        # If the cluster was lost, its own error must be raised, not that of this cleanup.
        with suppress(Exception):
            ray.kill(relay)
