"""Makes SIGTERM and SIGHUP act like Ctrl-C, so that work in progress is recorded and can be resumed."""

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
"""Signals sent by a cluster's scheduler, by `ray job stop` and by a closing terminal."""


@contextmanager
def ending_like_interrupts() -> Iterator[threading.Event]:
    """Lets these signals call the current SIGINT handler while the block runs. Yields the event that one has come.

    Tune and Ray Train install their own handlers.

    Ignored signals (`nohup`) stay ignored. Only the main thread can handle signals; in other threads this has no
    effect.
    """
    came = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield came
        return

    def interrupt(_number: int, frame: FrameType | None) -> None:
        came.set()
        _interrupt(frame)

    before = {number: signal.getsignal(number) for number in _ENDINGS}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, interrupt)
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _interrupt(frame: FrameType | None) -> None:
    handler = signal.getsignal(signal.SIGINT)
    if not callable(handler):  # background jobs of a shell ignore SIGINT
        raise KeyboardInterrupt
    handler(signal.SIGINT, frame)
