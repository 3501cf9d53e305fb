"""Finds the images listed in a labels CSV: path,label and optionally patient_id,split,mask,paired."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gansweep.cohort.sources.masks import masks_of, with_masks
from gansweep.cohort.sources.source import Rejected, Source, normal_split, subject_in
from gansweep.cohort.sources.tables import Table, column_name, read_table, require_column
from gansweep.cohort.sources.walk import leaves, walk
from gansweep.cohort.sources.words import canonical, given, known_patient
from gansweep.errors import CohortError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from gansweep.cohort.sources.relabelling import Relabelling

__all__ = ["Columns", "sources_of_csv"]

UNLISTED = "has no row in the labels CSV"


@dataclass(frozen=True)
class Columns:
    """Columns named by the user, as typed; None: the usual name.

    Args:
        path: column of the image's path.
        label: column of the label.
        split: column of the split.
        paired: column of the image of the other modality.
    """

    path: str | None = None
    label: str | None = None
    split: str = "split"
    paired: str | None = None


def sources_of_csv(
    root: Path, table: Path, named: Columns, labelled: bool, relabel: Relabelling
) -> tuple[list[Source], list[Rejected]]:
    """Returns one source per valid row. Invalid rows are rejected; images without a row are left out.

    Masks beside their images are used if the CSV has no column for masks.

    Args:
        root: the user's folder.
        table: the CSV.
        named: columns named by the user.
        labelled: whether images need labels.
        relabel: maps labels.

    Returns:
        (sources, rejected).

    Raises:
        CohortError: the table is unreadable, has no rows, or lacks a column that is required or was named.
    """
    read = read_table(table)
    columns = _columns(table, read.columns, named, labelled)
    locate = _Locator(root, table)
    sources = []
    rejected = []
    for row, line in zip(read.rows, read.lines, strict=True):
        where = f"{table.name} line {line}"
        _refuse_swallowed_rows(row, [*columns.values(), "patient_id"], where)
        cells = {key: canonical(row.get(columns[key], "")) for key in ("path", "mask", "paired")}
        files = {key: locate(cell if key == "path" else given(cell)) for key, cell in cells.items()}
        label = relabel(row.get(columns["label"], "")) if labelled else ""
        reason = _problem_of(files, locate, where, row.get(columns["label"], "") if labelled and not label else None)
        name = cells["path"] or f"line {line}"
        patient = known_patient(row.get("patient_id", ""))
        if reason or files["path"] is None:
            existing = files["path"] if files["path"] and _exists(files["path"]) else None
            rejected.append(Rejected(name, reason, path=existing, patient=patient or subject_in(name)))
            continue
        sources.append(
            Source(
                files["path"],
                name,
                label=label,
                patient=patient,
                folder=subject_in(name),
                split=normal_split(row.get(columns["split"], "")),
                mask=files["mask"],
                paired=files["paired"],
            )
        )
    if not sources and not rejected:
        raise CohortError("lists no images", where=table.name, fix="add a row for each image")

    beside, others = _unlisted(root, read, locate)
    if "mask" not in read.columns:
        sources, beside, listed = _with_masks_beside(sources, beside, root)
        rejected += listed
    left_out = [
        Rejected(str(path.relative_to(root)), UNLISTED, bad=False, path=path, patient=subject_in(path.name))
        for path in beside
    ]
    return sources, rejected + left_out + others


def _refuse_swallowed_rows(row: dict[str, str], used: Sequence[str], where: str) -> None:
    """Refuses a cell of several lines: a misplaced quote has swallowed rows.

    The message does not show the cell, because it may contain the patients of those rows.
    """
    broken = next((name for name in used if "\n" in row.get(name, "") or "\r" in row.get(name, "")), None)
    if broken is not None:
        raise CohortError(
            f"{where}: the cell in column {broken!r} runs over several lines", fix="close the quotes before it"
        )


def _columns(table: Path, columns: list[str], named: Columns, labelled: bool) -> dict[str, str]:
    """Returns the name of each column ("" if there is none), after checking that required and named columns exist."""
    path = column_name(named.path or "path")
    label = column_name(named.label or "label")
    split = column_name(named.split)
    likely = next((name for name in columns if any(word in name for word in ("path", "file", "image", "name"))), "")
    example = f": --path-column {likely!r}" if likely else ""
    require_column(path, columns, table, f"add it, or name the column of the path with --path-column{example}")
    if labelled or named.label:
        hint = "add it, name another with --label-column, or take labels from masks with --label-from mask"
        require_column(label, columns, table, hint)
    if split != "split":
        require_column(split, columns, table, "name the column of the split with --split-column")
    if named.paired:
        paired = column_name(named.paired)
        require_column(paired, columns, table, "name the column of the pairs with --paired-column")
    else:
        paired = next((name for name in columns if name == "paired" or name.startswith("paired_")), "")
    return {"path": path, "label": label, "split": split, "mask": "mask", "paired": paired}


class _Locator:
    """Finds the files that a CSV names, below the source folder or beside the CSV.

    Separators may be / or those of Windows. If there is no such file, one that differs only in case or in Unicode form
    is used, provided that there is exactly one.
    """

    def __init__(self, root: Path, table: Path) -> None:
        self.folders = tuple(dict.fromkeys((root, table.parent)))
        self._table = table
        self._by_name: dict[str, set[Path]] | None = None

    def __call__(self, cell: str) -> Path | None:
        if not cell:
            return None
        candidates = [
            folder / name for name in dict.fromkeys((cell, cell.replace("\\", "/"))) for folder in self.folders
        ]
        there = next((path for path in candidates if _exists(path)), None)
        if there is not None:
            return there
        if self._by_name is None:
            self._by_name = self._names()
        alike = self._by_name.get(_folded(cell), set())
        return min(alike) if len(alike) == 1 else candidates[0]

    def _names(self) -> dict[str, set[Path]]:
        names: dict[str, set[Path]] = defaultdict(set)
        for folder in self.folders:
            for path in walk(folder)[0] if folder.is_dir() else []:
                names[_folded(str(path.relative_to(folder)))].add(path)
        return names


def _folded(name: str) -> str:
    return canonical(name.replace("\\", "/").removeprefix("./")).casefold()


def _exists(path: Path) -> bool:
    """Returns whether the path exists; False for an impossible name (too long, or with a NUL)."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def _problem_of(files: dict[str, Path | None], locate: _Locator, where: str, missing_label: str | None) -> str:
    """Returns what is wrong with a row, or "".

    `missing_label` is the text of a missing label, or None if there is one.
    """
    if not files["path"]:
        return f"{where} has no path"
    if missing_label is not None:
        word = f" ({missing_label!r} stands for a missing value)" if missing_label else ""
        return f"{where} has no label{word}"
    missing = [key for key, path in files.items() if path and not (_exists(path) and path.is_file())]
    if missing:
        return f"{where} names a file that does not exist ({', '.join(missing)})"
    outside = [key for key, path in files.items() if path and leaves(path, locate.folders)]
    return f"{where} names a link out of the folder ({', '.join(outside)})" if outside else ""


def _unlisted(root: Path, table: Table, locate: _Locator) -> tuple[list[Path], list[Rejected]]:
    """Returns images below the source folder that no cell of the table names, and other files there."""
    cells = {cell for row in table.rows for cell in row.values() if cell}
    named = (folder / name for cell in cells for name in (cell, cell.replace("\\", "/")) for folder in locate.folders)
    listed = {path.resolve() for path in named if _exists(path)}
    images, others = walk(root)
    if any(path.resolve() not in listed for path in images):
        listed |= {path.resolve() for cell in cells for path in [locate(cell)] if path is not None and _exists(path)}
    return (
        [path for path in images if path.resolve() not in listed],
        [item for item in others if item.path is None or item.path.resolve() not in listed],
    )


def _with_masks_beside(
    sources: list[Source], beside: Sequence[Path], root: Path
) -> tuple[list[Source], list[Path], list[Rejected]]:
    """Uses unlisted masks of listed images.

    Returns:
        (sources with masks, images that remain unlisted, rows that list a mask as an image).
    """
    images = {source.path: source for source in sources if source.path.is_relative_to(root)}
    masks, _ = masks_of([*images, *beside], root)
    listed = {path for paths in masks.values() for path in paths if path in images}
    reason = "is the mask of another image; name it in a column 'mask' of the CSV"
    rejected = [Rejected.of(images[path], reason) for path in images if path in listed]
    usable = {owner: [path for path in paths if path not in listed] for owner, paths in masks.items()}
    usable = {owner: paths for owner, paths in usable.items() if paths and owner in images and owner not in listed}
    taken = {path for paths in usable.values() for path in paths}
    kept = [source for source in sources if source.path not in listed]
    return with_masks(kept, usable), [path for path in beside if path not in taken], rejected
