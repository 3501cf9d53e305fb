"""Forwards lines of the workers' logs to the driver, because nobody reads the logs of a hundred nodes.

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

__all__ = ["Relay", "relay_log", "relayed"]

_ROOT = "gansweep"
_LONG_WORK = ("gansweep.scoring.reference", "gansweep.scoring.arms", "gansweep.scoring.mask_arms")
"""Loggers of the work before a cohort's first scores, and of the arms of `confirm`, which can take hours."""
_KEPT = 1000  # maximum number of lines that wait for the driver; older ones are dropped
_POLL_S = 2.0

log = logging.getLogger(__name__)


class Relay:
    """Actor between the workers and the driver that logs."""

    def __init__(self) -> None:
        self._lines: deque[tuple[int, str]] = deque(maxlen=_KEPT)

    def put(self, level: int, line: str) -> None:
        """Stores a line for the driver, unless it equals the previous one."""
        if not self._lines or self._lines[-1] != (level, line):
            self._lines.append((level, line))

    def take(self) -> list[tuple[int, str]]:
        """Returns levels and lines since the last call."""
        lines = list(self._lines)
        self._lines.clear()
        return lines


class _Handler(logging.Handler):
    def __init__(self, relay: Any, work: str) -> None:
        super().__init__(logging.INFO)
        self.addFilter(_for_driver)
        self._relay = relay
        self._before = f"{work}: " if work else ""

    def emit(self, record: logging.LogRecord) -> None:
        # The driver may have ended.
        with suppress(Exception):
            self._relay.put.remote(record.levelno, f"{self._before}{record.getMessage()}")


def _for_driver(record: logging.LogRecord) -> bool:
    # No errors: they have tracebacks, and the driver gets them as the reason of a trial's end.
    return record.levelno == logging.WARNING or (record.levelno == logging.INFO and record.name in _LONG_WORK)


def relay_log(relay: Any, work: str = "") -> None:
    """Forwards this process's lines for the driver from now on. A further call replaces the driver.

    Args:
        relay: handle of the actor; None forwards nothing.
        work: what this process works on. The lines begin with it.
    """
    logger = logging.getLogger(_ROOT)
    for handler in [handler for handler in logger.handlers if isinstance(handler, _Handler)]:
        logger.removeHandler(handler)
    if relay is not None:
        logger.addHandler(_Handler(relay, work))
        for name in _LONG_WORK:
            logging.getLogger(name).setLevel(logging.INFO)


@contextmanager
def relayed() -> Iterator[Any]:
    """Logs forwarded lines while the block runs. Yields the handle of the actor."""
    import ray

    relay = ray.remote(num_cpus=0)(Relay).options(scheduling_strategy=on_this_node()).remote()
    ended = threading.Event()

    def log_lines() -> None:
        with suppress(ray.exceptions.RayError):
            for level, line in ray.get(relay.take.remote(), timeout=_POLL_S * 5):
                log.log(level, "%s", line)

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
