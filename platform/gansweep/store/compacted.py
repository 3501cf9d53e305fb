"""The compacted copy of a table: the manifest in it, and what the copy still holds."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from gansweep.store.filesystem import FileEntry

__all__ = ["MANIFEST", "Compacted", "Manifest", "could_change_unseen", "manifest_of"]

MANIFEST = b"gansweep.compacted"
"""Key of the manifest in the metadata of the Parquet file."""

Manifest = dict[str, list[int]]
"""The files in a compacted copy, in the order of its rows: size, modification time and number of rows of each."""


class Compacted(NamedTuple):
    """What the compacted copy of a table still holds."""

    rows: pa.Table
    """Rows whose files did not change since they were copied."""
    manifest: Manifest
    """The files of these rows."""
    unread: list[FileEntry]
    """Files that must be read, because they are new or changed."""


def manifest_of(compacted: pq.ParquetFile) -> Manifest:
    """Returns the manifest in a compacted copy. Raises ValueError if it does not match the copy's rows."""
    manifest: Manifest = json.loads((compacted.schema_arrow.metadata or {}).get(MANIFEST, b""))
    try:
        rows = sum(length for _, _, length in manifest.values())
    except (AttributeError, TypeError):
        raise ValueError("no list of files") from None
    count = compacted.metadata.num_rows
    if rows != count:
        raise ValueError(f"{count} rows of {rows}")
    return manifest


def could_change_unseen(entry: FileEntry) -> bool:
    """Returns whether a file could still change without a new modification time.

    This is so if its modification time is recent and in whole seconds.
    """
    return entry.changed_ns % 1_000_000_000 == 0 and time.time_ns() - entry.changed_ns < 5_000_000_000
