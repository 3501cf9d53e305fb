"""The initial weights of a sweep's trials, in its store.

They are read from there by every worker, and by `--resume`, `repeat`, `ablate` and `confirm`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gansweep.errors import StoreError

if TYPE_CHECKING:
    from gansweep.store.store import Store
    from gansweep.training.start import Start

__all__ = ["START", "kept_start"]

START = "start.pt"


def kept_start(store: Store) -> Start | None:
    """Reads the initial weights of a sweep's trials; None if trials start from random weights.

    Raises:
        StoreError: the file is damaged.
    """
    from gansweep.training.start import Start

    if not store.exists(START):
        return None
    try:
        return Start.from_bytes(store.read_bytes(START))
    except (ValueError, KeyError, TypeError):
        raise StoreError("is damaged", where=f"{store.label}/{START}", fix="begin the sweep anew") from None
