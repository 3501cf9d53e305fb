"""SIGTERM and SIGHUP end like Ctrl-C: what is under way is told, and can be gone on with."""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

__all__ = ["ending_like_interrupts"]

_ENDINGS = (signal.SIGTERM, signal.SIGHUP)
"""What a cluster's scheduler, `ray job stop` and a closed terminal send."""


@contextmanager
def ending_like_interrupts() -> Iterator[None]:
    """While it lasts, these signals do what SIGINT does just then: Tune and Ray Train have handlers of their own.

    A signal that is ignored (`nohup`) stays so. Only the main thread can handle signals; elsewhere nothing is changed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in _ENDINGS}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, _interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _interrupt(_number: int, frame: FrameType | None) -> None:
    handler = signal.getsignal(signal.SIGINT)
    if not callable(handler):  # a shell's background jobs ignore SIGINT
        raise KeyboardInterrupt
    handler(signal.SIGINT, frame)
