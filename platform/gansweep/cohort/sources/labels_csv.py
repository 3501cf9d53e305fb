"""Finds the images that a labels CSV lists: path,label and optionally patient_id,split,mask,paired."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gansweep.cohort.sources.source import Rejected, Source, format_of, normal_split, subject_in
from gansweep.cohort.sources.tables import column_name, read_table, require_column
from gansweep.errors import CohortError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["sources_of_csv"]


def sources_of_csv(
    root: Path,
    table: Path,
    label_column: str | None,
    split_column: str,
    paired_column: str | None,
    labelled: bool,
) -> tuple[list[Source], list[Rejected]]:
    """One source per valid row. Invalid rows, and images beside listed ones without a row, are rejected.

    See `find_sources` for the arguments.

    Returns:
        (sources, rejected).

    Raises:
        CohortError: the table is unreadable, has no rows, or lacks a column that is required or was named.
    """
    rows, columns = read_table(table)
    label, split, paired = _columns(table, columns, label_column, split_column, paired_column, labelled)
    sources = []
    rejected = []
    for number, row in enumerate(rows, start=2):  # line 1 holds the column names
        where = f"{table.name} line {number}"
        files = {key: _locate(root, table, row.get(key, "")) for key in ("path", "mask", paired)}
        reason = _problem_of(row, files, label if labelled else None, where)
        name = row.get("path", "") or f"line {number}"
        if reason or files["path"] is None:
            patient = row.get("patient_id", "") or subject_in(name)
            existing = files["path"] if files["path"] and _exists(files["path"]) else None
            rejected.append(Rejected(name, reason, path=existing, patient=patient))
            continue

        sources.append(
            Source(
                files["path"],
                name,
                label=row.get(label, "") if labelled else "",
                patient=row.get("patient_id", ""),
                folder=subject_in(name),
                split=normal_split(row.get(split, "")),
                mask=files["mask"],
                paired=files[paired],
            )
        )
    rejected += _unlisted(root, table, rows, sources)
    if not sources and not rejected:
        raise CohortError("lists no images", where=table.name, fix="add a row for each image")
    return sources, rejected


def _columns(
    table: Path,
    columns: list[str],
    label_column: str | None,
    split_column: str,
    paired_column: str | None,
    labelled: bool,
) -> tuple[str, str, str]:
    """The columns of label, split and pair ("" if there is none); checks that required and named columns exist."""
    require_column("path", columns, table, "add it")
    label = column_name(label_column or "label")
    split = column_name(split_column)
    if labelled or label_column:
        hint = "add it, name another with --label-column, or take labels from masks with --label-from mask"
        require_column(label, columns, table, hint)
    if split != "split":
        require_column(split, columns, table, "name the column of the split with --split-column")
    if paired_column:
        paired = column_name(paired_column)
        require_column(paired, columns, table, "name the column of the pairs with --paired-column")
        return label, split, paired
    return label, split, next((name for name in columns if name == "paired" or name.startswith("paired_")), "")


def _candidates(root: Path, table: Path, cell: str) -> list[Path]:
    """Where a file of the CSV may be: below the source folder or beside the CSV, with / or Windows separators."""
    return [folder / name for name in (cell, cell.replace("\\", "/")) for folder in (root, table.parent)]


def _locate(root: Path, table: Path, cell: str) -> Path | None:
    if not cell:
        return None
    candidates = _candidates(root, table, cell)
    return next((path for path in candidates if _exists(path)), candidates[0])


def _exists(path: Path) -> bool:
    """Whether the path exists; False for an impossible name (too long, or with a NUL)."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def _problem_of(row: dict[str, str], files: dict[str, Path | None], label: str | None, where: str) -> str:
    """What is wrong with a row, or ""."""
    if not row.get("path"):
        return f"{where} has no path"
    if label and not row.get(label):
        return f"{where} has no label"
    missing = [key for key, path in files.items() if path and not (_exists(path) and path.is_file())]
    return f"{where} names a file that does not exist ({', '.join(missing)})" if missing else ""


def _unlisted(root: Path, table: Path, rows: list[dict[str, str]], sources: list[Source]) -> list[Rejected]:
    """Images in the folders of listed images that have no row: somebody forgot their label."""
    cells = {cell for row in rows for cell in row.values() if cell}
    listed = {path.resolve() for cell in cells for path in _candidates(root, table, cell) if _exists(path)}
    folders = {source.path.parent for source in sources}
    beside = (path for folder in sorted(folders) for path in sorted(folder.iterdir()))
    return [
        Rejected(
            str(path.relative_to(root)) if path.is_relative_to(root) else path.name,
            "has no row in the labels CSV",
            path=path,
        )
        for path in beside
        if path.is_file() and format_of(path) and path.resolve() not in listed
    ]
