"""Opening of stores whose results a command shows."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gansweep.store.store import Store

__all__ = ["opened"]


@contextmanager
def opened(uri: str) -> Iterator[Store]:
    """Opens a sweep's store for a block that shows its results.

    Raises:
        StoreError: there is no store; or, at the end of the block, files were left out because they are damaged. The
            rest has then been shown, and the exit status says that it is not everything.
    """
    from gansweep.search.confirmation_file import confirmation
    from gansweep.store.store import Store

    store = Store.open(uri)
    yield store
    store.check_whole()
    confirmation(store)
