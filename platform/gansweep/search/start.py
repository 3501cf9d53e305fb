"""The weights that trials start from, as a sweep's store keeps them.

Every worker of every node finds them there, and so do `--resume`, `repeat`, `ablate` and `confirm`.
"""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING

from gansweep.errors import StoreError

if TYPE_CHECKING:
    from gansweep.store.store import Store
    from gansweep.training.start import Start

__all__ = ["START", "kept_start"]

START = "start.pt"


def kept_start(store: Store) -> Start | None:
    """The weights that a sweep's trials start from; None if they start anew.

    Raises:
        StoreError: they cannot be read.
    """
    from gansweep.training.start import Start

    if not store.exists(START):
        return None
    try:
        return Start.from_bytes(store.read_bytes(START))
    except (RuntimeError, EOFError, ValueError, KeyError, TypeError, pickle.UnpicklingError):
        raise StoreError("is damaged", where=f"{store.label}/{START}", fix="begin the sweep anew") from None
