"""Compacts a growing store and mirrors its study, at a cost that does not grow with each trial."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import threading
from typing import TYPE_CHECKING

from gansweep.errors import GansweepError
from gansweep.store.store import Store

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["Upkeep"]

log = logging.getLogger(__name__)

_LEAST = 50  # trials between two compactions: reading this many row files takes half a second
_SHARE = 100  # at least 1/100 of all trials, because a compaction writes all rows
_REMOTE_SHARE = 20  # 1/20 on an object store, where each compaction is an upload


class Upkeep:
    """Compacts the tables and mirrors the study from time to time, in its own thread. Used by the sweep's driver.

    Each row is written to its own file immediately. This work only makes reading fast, so losing it does no harm.

    Args:
        store: the sweep's store.
        ended: number of trials that have already ended.
    """

    def __init__(self, store: Store, ended: int) -> None:
        self._uri = store.uri
        self._share = _SHARE if store.local is not None else _REMOTE_SHARE
        self._ended = ended
        self._since = 0
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Upkeep:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._thread is not None:
            self._thread.join()

    def trial_ended(self) -> None:
        """Counts one trial. Starts the work if it is due and not already running."""
        self._ended += 1
        self._since += 1
        busy = self._thread is not None and self._thread.is_alive()
        if busy or self._since < max(_LEAST, self._ended // self._share):
            return
        self._since = 0
        self._thread = threading.Thread(target=self._work, name="upkeep", daemon=True)
        self._thread.start()

    def _work(self) -> None:
        try:
            store = Store.open(self._uri)  # its own tables, because the driver uses the others
            store.compact()
            store.sync_study()
        except GansweepError as error:
            log.info("the store was not compacted: %s", error)
        _return_memory()


def _return_memory() -> None:
    """Returns memory that a compaction has freed to the operating system. Arrow and glibc keep it otherwise."""
    import pyarrow as pa

    pa.default_memory_pool().release_unused()
    with contextlib.suppress(AttributeError, OSError):  # the C library is not glibc
        ctypes.CDLL(None).malloc_trim(0)
