"""A table stored as a folder of small Parquet files. Many processes can write it, and it is readable at any time.

`schema.parquet` has every column and no rows. pyarrow and pandas take a folder's columns from its first file by name.
Rows are in `trial-*.parquet`, so `schema.parquet` sorts first and no column of a later file is lost. DuckDB reads the
folder with `union_by_name=true`. A new column is added to `schema.parquet` before the first row that has it.

The row files are the record. `schema.parquet` and the compacted copy are derived from them and are rebuilt if they are
damaged. A damaged row file affects only its own rows: the log names it, and the other files are read.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import logging
from collections import Counter
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from gansweep.errors import StoreError, one_line
from gansweep.store.columns import (
    Columns,
    arrow_schema,
    conformed,
    fitted,
    from_arrow,
    needed,
    reconciled,
)
from gansweep.store.compacted import MANIFEST, Compacted, could_change_unseen, manifest_of
from gansweep.store.faults import FILE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    import pandas as pd

    from gansweep.store.filesystem import FileEntry, Files

__all__ = ["Table"]

log = logging.getLogger(__name__)

_SCHEMA_FILE = "schema.parquet"
_NO_FILE = "it is a folder, or a link that leads to no file"
_FORMAT = ds.ParquetFileFormat(
    default_fragment_scan_options=ds.ParquetFragmentScanOptions(page_checksum_verification=True)
)

_UNREADABLE = (pa.ArrowException, OSError, ValueError, KeyError)
"""Exceptions that pyarrow raises for damaged files: an OSError for some damage, a KeyError for a column given twice."""


class Table:
    """One table of a store.

    Args:
        files: files of the store.
        name: name of the folder, and of the compacted copy (`<name>.parquet`) beside it.
        columns: the columns known in advance.
        faults: function that returns what is wrong with each unusable row of a table, by row index.
        cure: how to restore the rows of a damaged file, for the message.
        scores: names of columns that are numbers wherever they are found.
    """

    def __init__(
        self,
        files: Files,
        name: str,
        columns: Columns,
        faults: Callable[[pa.Table], Mapping[int, str]],
        cure: str = "put back a copy of it",
        scores: Iterable[str] = (),
    ) -> None:
        self._files = files
        self._name = name
        self._declared = dict(columns)
        self._types: Columns = {**dict.fromkeys(scores, "float64"), **columns}
        self._faults = faults
        self._cure = cure
        self._known: Columns | None = None
        self._damaged: set[str] = set()
        self._broken_copy = False

    def create(self) -> None:
        """Writes `schema.parquet`. Keeps the columns that an existing one declares."""
        self._declare(self._declared)

    def put(self, key: str, records: Sequence[Mapping[str, Any]]) -> None:
        """Writes `records` to the file `trial-<key>.parquet`, replacing its content."""
        columns = self._declare(needed(records))
        self._write(f"{self._name}/trial-{key}.parquet", columns, records)
        self._damaged.discard(f"trial-{key}.parquet")

    def update(self, key: str, record: Mapping[str, Any], by: str) -> None:
        """Adds a record to those under `key`, or replaces the one with the same value in column `by`.

        A damaged file is renamed first. What is left in it can be recovered.
        """
        name = f"trial-{key}.parquet"
        self._damaged.discard(name)  # it may have been put back since it was read
        records: dict[Any, Mapping[str, Any]] = {kept[by]: kept for kept in self.get(key)}
        if name in self._damaged:
            where = f"{self._files.label}/{self._name}/{name}"
            log.warning("%s was damaged and is kept as %s", where, self._set_aside(name))
        records[record[by]] = record
        self.put(key, [records[value] for value in sorted(records)])

    def get(self, key: str) -> list[dict[str, Any]]:
        """Returns the usable records stored under `key`; empty if there are none or their file is damaged."""
        name = f"trial-{key}.parquet"
        if not self._has_file(f"{self._name}/{name}"):
            return []
        columns = self._known or self._all_columns()
        for rows in self._readable([name], lambda schema: arrow_schema({**from_arrow(schema), **columns})):
            records: list[dict[str, Any]] = self._usable(rows).drop_columns(FILE).to_pylist()
            return records
        return []

    @property
    def damaged(self) -> tuple[str, ...]:
        """Paths in the store of the row files that were left out so far, because they are damaged."""
        return tuple(f"{self._name}/{name}" for name in sorted(self._damaged))

    def read(self, names: Sequence[str] | None = None, *, without: str = "") -> pa.Table:
        """Returns all readable rows, ordered by file name.

        Args:
            names: the wanted columns, for large tables. Columns that the table does not have are left out. None: all.
            without: the columns whose names begin so are left out, "": none is.
        """
        columns = self._all_columns()
        wanted = columns if names is None else {name: columns[name] for name in names if name in columns}
        if without:
            wanted = {name: kind for name, kind in wanted.items() if not name.startswith(without)}
        compacted = self._from_compacted(self._entries(), wanted)
        # Row files are read whole, so that every reader leaves the same damaged files out.
        added = self._scan(compacted.unread, columns).select(list(wanted))
        return pa.concat_tables([conformed(compacted.rows, arrow_schema(wanted)), added])

    def frame(self, order: list[str], *, without: str = "") -> pd.DataFrame:
        """Returns all readable rows, sorted by the columns `order`. See `read` for `without`."""
        frame: pd.DataFrame = self.read(without=without).to_pandas()
        return frame.sort_values(order, kind="stable", ignore_index=True)

    def records(self) -> list[dict[str, Any]]:
        """Returns every row, ordered by trial and attempt."""
        rows: list[dict[str, Any]] = (
            self.read().sort_by([("trial_id", "ascending"), ("attempt", "ascending")]).to_pylist()
        )
        return rows

    def set_aside_damaged(self) -> tuple[str, ...]:
        """Renames damaged row files, so that they are no longer read. Returns their new names.

        Called by the process that drives the sweep, which then retrains what is missing.
        """
        self.read()
        misfits = self._files.misfits(self._name, ".parquet")
        found = [n for n in sorted(self._damaged) if n in misfits or self._files.exists(f"{self._name}/{n}")]
        self._damaged.clear()
        return tuple(map(self._set_aside, found))

    def _set_aside(self, name: str) -> str:
        # pyarrow, pandas and DuckDB do not read a file with this name as part of the table.
        for number in itertools.count(1):
            kept = f"{self._name}/_{name}{f'.{number}' * (number > 1)}.damaged"
            if not self._files.exists(kept):
                break
        self._files.rename(f"{self._name}/{name}", kept)
        return kept

    def compact(self) -> int:
        """Copies all rows to the single file `<name>.parquet`, which `read` then prefers. Returns the number of rows.

        The folder stays unchanged, so a crash here neither loses nor duplicates rows. It also restores columns that a
        concurrent writer on an object store may have dropped from `schema.parquet`.
        """
        compacted = self._from_compacted(self._entries())
        columns = self._declare(from_arrow(compacted.rows.schema), *self._columns_of(compacted.unread))
        scanned = self._scan([entry for entry in compacted.unread if not could_change_unseen(entry)], columns)
        lengths = Counter(scanned[FILE].to_pylist())
        # A file with a damaged row is not copied: after it is mended, all of its rows are read again.
        whole = [entry for entry in compacted.unread if entry.name in lengths and entry.name not in self._damaged]
        in_whole_file = pc.is_in(scanned[FILE], pa.array([entry.name for entry in whole], pa.string()))
        added = scanned.filter(in_whole_file).drop_columns(FILE)
        manifest = compacted.manifest | {
            entry.name: [entry.size, entry.changed_ns, lengths[entry.name]] for entry in whole
        }
        rows = pa.concat_tables([conformed(compacted.rows, arrow_schema(columns)), added])
        buffer = io.BytesIO()
        rows_with_manifest = rows.replace_schema_metadata({MANIFEST: json.dumps(manifest).encode()})
        pq.write_table(rows_with_manifest, buffer, write_page_checksum=True)
        self._files.write_bytes(f"{self._name}.parquet", buffer.getvalue())
        return int(rows.num_rows)

    def _entries(self) -> list[FileEntry]:
        for name in self._files.misfits(self._name, ".parquet"):
            self._warn_once(name, _NO_FILE)
        return [entry for entry in self._files.list(self._name, ".parquet") if entry.name != _SCHEMA_FILE]

    def _has_file(self, rel: str) -> bool:
        found = self._files.is_file(rel)
        if not found and self._files.exists(rel):
            self._warn_once(rel, _NO_FILE)
        return found

    def _columns(self) -> Columns:
        """Returns the columns that `schema.parquet` declares.

        If it is damaged or missing, takes the columns of the rows.
        """
        rel = f"{self._name}/{_SCHEMA_FILE}"
        if not self._has_file(rel):
            return self._reconciled(self._declared, *self._columns_of(self._entries()))
        content = self._files.read_bytes(rel)
        try:
            return self._reconciled(_columns_in(content))
        except _UNREADABLE:
            columns = self._reconciled(self._declared, *self._columns_of(self._entries()))
        with contextlib.suppress(StoreError):  # a reader may lack permission to write
            self._write(rel, columns, [])
        log.warning("%s/%s was damaged; it was built again from the rows", self._files.label, rel)
        return columns

    def _all_columns(self) -> Columns:
        """Returns all columns. Tables of earlier versions lack some of the declared ones."""
        return self._reconciled(self._declared, self._columns())

    def _columns_of(self, entries: Iterable[FileEntry]) -> Iterator[Columns]:
        """Yields the columns of each row file, skipping damaged files."""
        for entry in entries:
            content = self._files.read_bytes(f"{self._name}/{entry.name}")
            try:
                yield _columns_in(content)
            except _UNREADABLE as error:
                self._warn_once(entry.name, str(error))

    def _reconciled(self, *found: Columns) -> Columns:
        return reconciled(self._types, *found)

    def _declare(self, *new: Columns) -> Columns:
        """Adds `new` to the table's columns and returns all of them."""
        known = self._known
        if known is not None and self._files.local is not None and self._reconciled(known, *new) == known:
            return known
        with self._files.locked():
            # Object stores have no locks: a column lost to a concurrent writer is restored with the next row.
            before = self._columns()
            after = self._reconciled(self._declared, before, *new)
            rel = f"{self._name}/{_SCHEMA_FILE}"
            if after != before or not self._files.exists(rel):
                self._write(rel, after, [])
        self._known = after
        return after

    def _write(self, rel: str, columns: Columns, records: Iterable[Mapping[str, Any]]) -> None:
        rows = pa.Table.from_pylist([fitted(record, columns) for record in records], schema=arrow_schema(columns))
        buffer = io.BytesIO()
        # For a single row, statistics, dictionaries and compression cost more bytes and time than they save.
        pq.write_table(
            rows,
            buffer,
            store_schema=False,
            write_statistics=False,
            use_dictionary=False,
            compression="none",
            write_page_checksum=True,
        )
        self._files.write_bytes(rel, buffer.getvalue())

    def _from_compacted(self, entries: Sequence[FileEntry], wanted: Columns | None = None) -> Compacted:
        """Reads the compacted copy, and keeps the rows whose files are unchanged.

        Args:
            entries: the row files of the folder.
            wanted: the columns to read. None: all.
        """
        rel = f"{self._name}.parquet"
        if not self._files.exists(rel) or self._broken_copy:
            return Compacted(pa.table({}), {}, list(entries))
        local = self._files.local
        try:
            if not self._files.is_file(rel):
                raise OSError("it is no regular file")  # opening a pipe would wait for its writer
            # A memory map reads only the wanted columns, which are few in a large table.
            source = pa.memory_map(str(local / rel)) if local else pa.BufferReader(self._files.read_bytes(rel))
            with pq.ParquetFile(source, page_checksum_verification=True) as file:
                manifest = manifest_of(file)
                there = from_arrow(file.schema_arrow)
                columns = self._reconciled(there, self._columns()) if wanted is None else wanted
                read = {name: kind for name, kind in columns.items() if name in there}
                rows = conformed(file.read(columns=list(read)), arrow_schema(read))
        except _UNREADABLE:
            try:
                self._files.delete(rel)
                log.warning("%s/%s was damaged and is deleted; %s/ has its rows", self._files.label, rel, self._name)
            except StoreError:  # a reader may lack permission to write, or it is a folder
                self._broken_copy = True
                log.warning("%s/%s is damaged and not used; %s/ has its rows", self._files.label, rel, self._name)
            return Compacted(pa.table({}), {}, list(entries))
        now = {entry.name: [entry.size, entry.changed_ns] for entry in entries}
        unchanged = {name: item for name, item in manifest.items() if now.get(name) == item[:2]}
        lengths = [item[2] for item in manifest.values()]
        kept = np.repeat(np.array([name in unchanged for name in manifest], dtype=bool), lengths)
        if not kept.all():
            rows = rows.filter(pa.array(kept))
        return Compacted(rows, unchanged, [entry for entry in entries if entry.name not in unchanged])

    def _scan(self, entries: Sequence[FileEntry], columns: Columns) -> pa.Table:
        """Returns the usable rows of some files with every column, and each row's file name in the column `FILE`."""
        schema = arrow_schema(columns)
        no_rows = schema.append(pa.field(FILE, pa.string())).empty_table()
        if not entries:
            return no_rows
        try:
            rows = self._read_files(entries, schema)
        except _UNREADABLE:
            # At least one file is damaged. Read them one at a time to find out which.
            names = [entry.name for entry in entries]
            rows = pa.concat_tables([no_rows, *self._readable(names, lambda _: schema)])
        with_rows = set(pc.unique(rows[FILE]).to_pylist())
        for entry in entries:
            if entry.name not in with_rows:
                self._warn_once(entry.name, "it has no rows")
        return self._usable(rows)

    def _usable(self, rows: pa.Table) -> pa.Table:
        """Returns the rows without fault, and logs the files of the others."""
        faults = self._faults(rows)
        if not faults:
            return rows
        for index, fault in faults.items():
            self._warn_once(rows[FILE][index].as_py(), fault)
        usable = [index not in faults for index in range(len(rows))]
        return rows.filter(pa.array(usable, pa.bool_()))

    def _readable(self, names: Iterable[str], schema_for: Callable[[pa.Schema], pa.Schema]) -> Iterator[pa.Table]:
        """Yields the rows of each file that can be read, with the schema for the file's own, and the column `FILE`."""
        for name in names:
            # Read first: an error of the file system is not damage, and stops the reading.
            content = self._files.read_bytes(f"{self._name}/{name}")
            try:
                rows = _opened(content).read()
                rows = conformed(rows, schema_for(rows.schema))
            except _UNREADABLE as error:
                self._warn_once(name, str(error))
            else:
                yield rows.append_column(FILE, pa.array([name] * len(rows), pa.string()))

    def _read_files(self, entries: Iterable[FileEntry], schema: pa.Schema) -> pa.Table:
        paths = [self._files.path(f"{self._name}/{entry.name}") for entry in entries]
        dataset = ds.dataset(paths, schema=schema, format=_FORMAT, filesystem=self._files.filesystem)
        batches = self._files.each_answered(self._name, dataset.to_batches(columns=[*schema.names, FILE]))
        rows = pa.Table.from_batches(batches, schema.append(pa.field(FILE, pa.string())))
        names = pc.replace_substring_regex(rows[FILE], "(?s)^.*/", "")  # a folder's name may have several lines
        return rows.set_column(rows.schema.get_field_index(FILE), FILE, names)

    def _warn_once(self, path: str, reason: str) -> None:
        """Logs a damaged row file the first time it is found."""
        name = PurePosixPath(path).name
        if name in self._damaged:
            return
        self._damaged.add(name)
        where = f"{self._files.label}/{self._name}/{name}"
        log.warning("%s is damaged and left out (%s); %s", where, _shortened(reason), self._cure)


def _columns_in(content: bytes) -> Columns:
    """Returns the columns of a Parquet file."""
    return from_arrow(pq.read_schema(pa.BufferReader(content)))


def _opened(content: bytes) -> pq.ParquetFile:
    return pq.ParquetFile(pa.BufferReader(content), page_checksum_verification=True)


def _shortened(reason: str) -> str:
    """Returns the first line of a pyarrow error, without the path that it starts with."""
    first_line = reason.partition("\n")[0]
    without_path = first_line.rpartition("': ")[2]
    return one_line(without_path, 120)
