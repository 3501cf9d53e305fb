"""Reads the pictures that a sweep kept."""

from __future__ import annotations

import io
import logging
from typing import TYPE_CHECKING

from PIL import Image

from gansweep.errors import StoreError

if TYPE_CHECKING:
    from gansweep.store.store import Store

__all__ = ["kept_picture"]

log = logging.getLogger(__name__)


def kept_picture(store: Store, rel: str) -> bytes | None:
    """Returns the content of a PNG file of the store, or None if the file is missing or damaged.

    Logs a warning that names a damaged file, because a browser would show an empty frame.

    Args:
        store: the sweep's store.
        rel: path of the file in the store.
    """
    if not store.exists(rel):
        return None
    try:
        content = store.read_bytes(rel)
        with Image.open(io.BytesIO(content)) as picture:
            picture.load()
    except (StoreError, OSError, SyntaxError, ValueError):  # Pillow raises the last three for damaged files
        log.warning("%s/%s is damaged and left out", store.label, rel)
        return None
    return content
