"""A table kept as a folder of small Parquet files, written by many processes and readable at every instant.

`schema.parquet` has every column and no row. pyarrow and pandas take a folder's columns from its first file by name, so
it stands first (rows are in `trial-*.parquet`) and no column of a later file is lost; DuckDB reads the folder with
`union_by_name=true`. A new column is added to `schema.parquet` before the first row that has it is written.
"""

from __future__ import annotations

import io
import json
import time
from collections import Counter
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from gansweep.errors import StoreError
from gansweep.store.columns import Columns, arrow_schema, fitted, from_arrow, merged, needed

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from gansweep.store.filesystem import FileEntry, Files

__all__ = ["Table"]

_SCHEMA_FILE = "schema.parquet"
_COMPACTED = b"gansweep.compacted"
_FILE = "__filename"  # pyarrow's name for the file a row came from

Manifest = dict[str, list[int]]
"""The files a compacted copy holds, in the order of its rows: size, time of change and number of rows of each."""


class Table:
    """One table of a store.

    Args:
        files: the store's files.
        name: of the folder, and of the compacted copy (`<name>.parquet`) beside it.
        columns: the columns known beforehand.
    """

    def __init__(self, files: Files, name: str, columns: Columns) -> None:
        self._files = files
        self._name = name
        self._declared = dict(columns)
        self._known: dict[str, Any] | None = None

    def create(self) -> None:
        """Writes `schema.parquet`, keeping what an earlier one declares."""
        self._declare(self._declared)

    def put(self, key: str, records: Sequence[Mapping[str, Any]]) -> None:
        """Makes `records` the content of file `trial-<key>.parquet`; putting the same again changes nothing."""
        columns = self._declare(merged({}, _all_needed(records)))
        self._write(f"{self._name}/trial-{key}.parquet", columns, records)

    def get(self, key: str) -> list[dict[str, Any]]:
        """The records put under `key`; empty if there are none."""
        rel = f"{self._name}/trial-{key}.parquet"
        if not self._files.exists(rel):
            return []
        rows: list[dict[str, Any]] = pq.ParquetFile(pa.BufferReader(self._files.read_bytes(rel))).read().to_pylist()
        return rows

    def read(self) -> pa.Table:
        """Every row with every column, in order of file name.

        Raises:
            StoreError: a file is damaged.
        """
        columns = merged(self._declared, self._columns())  # an older gansweep's table lacks the newest columns
        kept, _, fresh = self._from_compacted(self._entries())
        return pa.concat_tables([_conformed(kept, arrow_schema(columns)), self._scan(fresh, columns)])

    def records(self) -> list[dict[str, Any]]:
        """Every row, in order of trial and attempt."""
        rows: list[dict[str, Any]] = (
            self.read().sort_by([("trial_id", "ascending"), ("attempt", "ascending")]).to_pylist()
        )
        return rows

    def compact(self) -> int:
        """Copies all rows into the one file `<name>.parquet`, which `read` then prefers; returns the number of rows.

        The folder stays as it is, so that a crash in here loses and repeats nothing. Columns that a concurrent writer
        on an object store may have dropped from `schema.parquet` are put back.
        """
        kept, manifest, fresh = self._from_compacted(self._entries())
        columns = merged(self._columns(), from_arrow(kept.schema))
        for fragment in self._dataset(fresh).get_fragments() if fresh else ():
            columns = merged(columns, from_arrow(fragment.physical_schema))
        self._declare(columns)
        settled = [entry for entry in fresh if not _could_change_unseen(entry)]
        added = self._scan(settled, columns, with_file=True)
        lengths = Counter(PurePosixPath(name).name for name in added[_FILE].to_pylist())
        manifest |= {entry.name: [entry.size, entry.changed_ns, lengths[entry.name]] for entry in settled}
        rows = pa.concat_tables([_conformed(kept, arrow_schema(columns)), added.drop_columns(_FILE)])
        buffer = io.BytesIO()
        pq.write_table(rows.replace_schema_metadata({_COMPACTED: json.dumps(manifest).encode()}), buffer)
        self._files.write_bytes(f"{self._name}.parquet", buffer.getvalue())
        return int(rows.num_rows)

    def _entries(self) -> list[FileEntry]:
        return [entry for entry in self._files.list(self._name, ".parquet") if entry.name != _SCHEMA_FILE]

    def _columns(self) -> Columns:
        rel = f"{self._name}/{_SCHEMA_FILE}"
        if not self._files.exists(rel):
            return self._declared
        return from_arrow(pq.read_schema(pa.BufferReader(self._files.read_bytes(rel))))

    def _declare(self, new: Columns) -> Columns:
        """The table's columns after making sure that they include `new`."""
        if self._known is not None and self._files.local is not None and _covers(self._known, new):
            return self._known
        with self._files.locked():
            # On object stores, which have no locks, a column lost to a concurrent writer comes back with the next row.
            before = self._columns()
            after = merged(merged(self._declared, before), new)
            rel = f"{self._name}/{_SCHEMA_FILE}"
            if after != before or not self._files.exists(rel):
                self._write(rel, after, [])
        self._known = after
        return after

    def _write(self, rel: str, columns: Columns, records: Iterable[Mapping[str, Any]]) -> None:
        rows = pa.Table.from_pylist([fitted(record, columns) for record in records], schema=arrow_schema(columns))
        buffer = io.BytesIO()
        # Statistics, dictionaries and compression cost more bytes and time than they save on a single row.
        pq.write_table(
            rows, buffer, store_schema=False, write_statistics=False, use_dictionary=False, compression="none"
        )
        self._files.write_bytes(rel, buffer.getvalue())

    def _from_compacted(self, entries: Sequence[FileEntry]) -> tuple[pa.Table, Manifest, list[FileEntry]]:
        """The compacted rows whose files have not changed since, those files, and the files to read anew."""
        rel = f"{self._name}.parquet"
        if not self._files.exists(rel):
            return pa.table({}), {}, list(entries)
        compacted = pq.read_table(pa.BufferReader(self._files.read_bytes(rel)))
        manifest: Manifest = json.loads((compacted.schema.metadata or {}).get(_COMPACTED, b"{}"))
        now = {entry.name: [entry.size, entry.changed_ns] for entry in entries}
        valid = {name: item for name, item in manifest.items() if now.get(name) == item[:2]}
        mask = [name in valid for name, item in manifest.items() for _ in range(item[2])]
        return (
            compacted.filter(pa.array(mask, pa.bool_())),
            valid,
            [entry for entry in entries if entry.name not in valid],
        )

    def _dataset(self, entries: Iterable[FileEntry], schema: pa.Schema | None = None) -> ds.Dataset:
        paths = [self._files.path(f"{self._name}/{entry.name}") for entry in entries]
        return ds.dataset(paths, schema=schema, format="parquet", filesystem=self._files.filesystem)

    def _scan(self, entries: Sequence[FileEntry], columns: Columns, *, with_file: bool = False) -> pa.Table:
        schema = arrow_schema(columns)
        extra = [_FILE] if with_file else []
        if not entries:
            return pa.schema([*schema, *(pa.field(name, pa.string()) for name in extra)]).empty_table()
        try:
            return self._dataset(entries, schema).to_table(columns=[*columns, *extra])
        except (pa.ArrowException, OSError) as error:
            reason = str(error).partition("\n")[0][:200]
            raise StoreError(f"cannot read: {reason}", where=f"{self._files.label}/{self._name}") from error


def _could_change_unseen(entry: FileEntry) -> bool:
    """Whether a file that keeps time in whole seconds is so young that a later change could bear the same time."""
    return entry.changed_ns % 1_000_000_000 == 0 and time.time_ns() - entry.changed_ns < 5_000_000_000


def _all_needed(records: Sequence[Mapping[str, Any]]) -> Columns:
    columns: Columns = {}
    for record in records:
        columns = merged(columns, needed(record))
    return columns


def _covers(known: Columns, new: Columns) -> bool:
    return all(
        name in known and merged({name: known[name]}, {name: kind})[name] == known[name] for name, kind in new.items()
    )


def _conformed(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """`table` with exactly the columns of `schema`, cast and filled with nulls."""
    arrays = [
        table[item.name].cast(item.type) if item.name in table.column_names else pa.nulls(len(table), item.type)
        for item in schema
    ]
    return pa.Table.from_arrays(arrays, schema=schema)
