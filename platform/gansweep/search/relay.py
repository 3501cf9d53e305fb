"""Warnings of a sweep's other processes, brought to its driver: nobody reads the logs of a hundred nodes.

Ray's own forwarding (`log_to_driver`) brings everything that a process prints, of Ray and of every library.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Relay", "relay_warnings", "relayed"]

_ROOT = "gansweep"
_KEPT = 1000  # lines that wait for the driver; of more, the last
_POLL_S = 2.0

log = logging.getLogger(__name__)


class Relay:
    """Actor between the processes that warn and the driver that logs."""

    def __init__(self) -> None:
        self._lines: deque[str] = deque(maxlen=_KEPT)

    def put(self, line: str) -> None:
        """Keeps a line for the driver; the same line twice in a row is one."""
        if not self._lines or self._lines[-1] != line:
            self._lines.append(line)

    def take(self) -> list[str]:
        """The lines that came since the last call."""
        lines = list(self._lines)
        self._lines.clear()
        return lines


class _Handler(logging.Handler):
    def __init__(self, relay: Any) -> None:
        # Errors come with tracebacks, and reach the driver as the reason of a trial's end.
        super().__init__(logging.WARNING)
        self.addFilter(lambda record: record.levelno == logging.WARNING)
        self._relay = relay

    def emit(self, record: logging.LogRecord) -> None:
        # Without a driver nobody reads them.
        with suppress(Exception):
            self._relay.put.remote(record.getMessage())


def relay_warnings(relay: Any) -> None:
    """From now on this process's warnings go to the driver; called again, to another one.

    Args:
        relay: handle of the actor; None: nowhere.
    """
    logger = logging.getLogger(_ROOT)
    for handler in [handler for handler in logger.handlers if isinstance(handler, _Handler)]:
        logger.removeHandler(handler)
    if relay is not None:
        logger.addHandler(_Handler(relay))


@contextmanager
def relayed() -> Iterator[Any]:
    """While it lasts, logs what comes through the actor, whose handle it gives."""
    import ray

    relay = ray.remote(num_cpus=0)(Relay).remote()
    over = threading.Event()

    def pass_on() -> None:
        with suppress(ray.exceptions.RayError):
            for line in ray.get(relay.take.remote(), timeout=_POLL_S * 5):
                log.warning("%s", line)

    def listen() -> None:
        while not over.wait(_POLL_S):
            pass_on()

    thread = threading.Thread(target=listen, name="relay", daemon=True)
    thread.start()
    try:
        yield relay
    finally:
        over.set()
        thread.join()
        pass_on()
        with suppress(Exception):  # a cluster that was lost; what ended the sweep is told, and not this
            ray.kill(relay)
