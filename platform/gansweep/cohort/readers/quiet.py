"""Silences the warnings of libraries while files are read."""

from __future__ import annotations

import threading
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["quiet"]

_lock = threading.Lock()
_saved: list[warnings.catch_warnings[None]] = []
_readers = 0


@contextmanager
def quiet() -> Iterator[None]:
    """Ignores all warnings until the last thread has left.

    pydicom and Pillow warn about every unusual value, even in attributes that are not used. `warnings.catch_warnings`
    alone is not thread-safe: it restores what another thread may have changed.
    """
    global _readers
    with _lock:
        if not _readers:
            _saved.append(warnings.catch_warnings())
            _saved[-1].__enter__()
            warnings.simplefilter("ignore")
        _readers += 1
    try:
        yield
    finally:
        with _lock:
            _readers -= 1
            if not _readers:
                _saved.pop().__exit__(None, None, None)
