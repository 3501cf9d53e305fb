"""Finds the images listed in a labels CSV: path,label and optionally patient_id,split,mask,paired."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gansweep.cohort.sources.acquisition_columns import acquisition_columns, acquisition_in
from gansweep.cohort.sources.codes import patient_in
from gansweep.cohort.sources.columns import columns_of
from gansweep.cohort.sources.locator import Locator, exists, is_dangling
from gansweep.cohort.sources.masks import masks_of, with_masks
from gansweep.cohort.sources.source import Rejected, Source, format_of, normal_split
from gansweep.cohort.sources.tables import read_table
from gansweep.cohort.sources.walk import is_plain, walk
from gansweep.cohort.sources.words import canonical, given, known_patient, patient_spelling
from gansweep.errors import CohortError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from gansweep.cohort.sources.columns import Columns
    from gansweep.cohort.sources.relabelling import Relabelling

__all__ = ["sources_of_csv"]

UNLISTED = "has no row in the labels CSV"


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
    columns = columns_of(table, read, named, labelled)
    acquired = acquisition_columns(read.columns, columns.values())
    locate = Locator(root, table, [canonical(row.get(columns["path"], "")) for row in read.rows])
    sources: list[Source] = []
    rejected: list[Rejected] = []
    listed: dict[str, list[tuple[int, Source]]] = {}
    for row, line in zip(read.rows, read.lines, strict=True):
        where = f"{table.name} line {line}"
        _refuse_swallowed_rows(row, list(columns.values()), where)
        path_cell = canonical(row.get(columns["path"], ""))
        files = {
            "path": locate(path_cell),
            "mask": locate(given(row.get(columns["mask"], "")), mask=True),
            "paired": locate(given(row.get(columns["paired"], ""))),
        }
        label_cell = row.get(columns["label"], "")
        label = relabel(label_cell) if labelled else ""
        missing_label = label_cell if labelled and not label else None
        reason = _problem_of(files, locate, where, missing_label)
        name = locate.name(path_cell) or f"line {line}"
        patient = known_patient(row.get(columns["patient"], ""))
        if reason or files["path"] is None:
            existing = files["path"] if files["path"] and exists(files["path"]) else None
            rejected.append(Rejected(name, reason, True, existing, patient or patient_in(name), label))
            continue
        source = Source(
            files["path"],
            name,
            label=label,
            patient=patient,
            folder=patient_in(name) or patient_in(files["path"].name),
            split=normal_split(row.get(columns["split"], "")),
            mask=files["mask"],
            paired=files["paired"],
            line=line,
            acquisition=acquisition_in(row, acquired),
        )
        before = listed.setdefault(locate.resolved(source.path), [])
        _refuse_two_patients(source, before, where)
        if any(_same_row(source, other) for _, other in before):
            rejected.append(Rejected.of(source, "is listed more than once", bad=False))
            continue
        before.append((line, source))
        sources.append(source)
    if not sources and not rejected:
        raise CohortError("lists no images", where=table.name, fix="add a row for each image")

    cells = {row[columns[key]] for row in read.rows for key in ("path", "mask", "paired") if row.get(columns[key])}
    used = [path for source in sources for path in (source.mask, source.paired) if path]
    beside, others = _unlisted(root, cells, locate, set(listed) | {locate.resolved(path) for path in used})
    if columns["mask"] != "mask":
        sources, beside, masks = _with_masks_beside(sources, beside, root)
        rejected += masks
    left_out = [
        Rejected(str(path.relative_to(root)), UNLISTED, bad=False, path=path, patient=patient_in(path.name))
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


def _refuse_two_patients(source: Source, before: Sequence[tuple[int, Source]], where: str) -> None:
    """Refuses a row that gives a file another patient than an earlier row: one of the two would be a leak."""
    if not format_of(source.path):
        return  # a file with an array of many images, which is refused later
    for line, other in before:
        if not source.patient or not other.patient:
            continue
        if patient_spelling(source.patient) != patient_spelling(other.patient):
            what = f"{where}: the file has another patient than on line {line}"
            raise CohortError(what, fix="correct the rows: a file has one patient")


def _same_row(one: Source, other: Source) -> bool:
    same = patient_spelling(one.patient) == patient_spelling(other.patient)
    rest = [(row.label, row.split, row.mask, row.paired) for row in (one, other)]
    return same and rest[0] == rest[1]


def _problem_of(files: dict[str, Path | None], locate: Locator, where: str, missing_label: str | None) -> str:
    """Returns what is wrong with a row, or "".

    `missing_label` is the text of a missing label, or None if there is one.
    """
    if not files["path"]:
        return f"{where} has no path"
    if missing_label is not None:
        word = f" ({missing_label!r} stands for a missing value)" if missing_label else ""
        return f"{where} has no label{word}"
    # Most are plain files, which one look at the disk tells.
    special = {key: path for key, path in files.items() if path and not is_plain(path)}
    missing = [key for key, path in special.items() if not (exists(path) and path.is_file())]
    dangling = [key for key, path in special.items() if is_dangling(path)]
    if dangling:
        return f"{where} names a link that leads to no file ({', '.join(dangling)})"
    if any(locate.is_ambiguous(special[key]) for key in missing):
        return f"{where} names several files, which differ in folder or suffix ({', '.join(missing)})"
    folders = [key for key in missing if exists(special[key])]
    if folders:
        return f"{where} names a folder instead of a file ({', '.join(folders)})"
    if missing:
        return f"{where} names a file that does not exist ({', '.join(missing)})"
    if files["mask"] and locate.resolved(files["mask"]) == locate.resolved(files["path"]):
        return f"{where} names the image as its own mask"
    outside = [key for key, path in files.items() if path and locate.leaves(path)]
    return f"{where} names a link out of the folder ({', '.join(outside)})" if outside else ""


def _unlisted(root: Path, cells: set[str], locate: Locator, listed: set[str]) -> tuple[list[Path], list[Rejected]]:
    """Returns images below the source folder that the table does not name, and other files there.

    `listed` are the files that the rows use, and `cells` what stands in the columns of files.
    """
    images, others = walk(root)
    unlisted = [path for path in images if locate.resolved(path) not in listed]
    # Cells are only looked at if a file is left that one may name, because that is slow.
    if not unlisted and not others:
        return [], []
    spellings = cells | {cell.replace("\\", "/") for cell in cells}
    named = set(listed)
    for folder in locate.folders:
        paths = [folder / spelling for spelling in spellings]
        named |= {locate.resolved(path) for path in paths if exists(path) or is_dangling(path)}
    unlisted = [path for path in unlisted if locate.resolved(path) not in named]
    # Names in another case or Unicode form are searched only if needed, because that is slower still.
    if unlisted:
        for cell in cells:
            path = locate.in_full(cell)
            if path is not None and exists(path):
                named.add(locate.resolved(path))
        unlisted = [path for path in unlisted if locate.resolved(path) not in named]
    other_files = [item for item in others if item.path is None or locate.resolved(item.path) not in named]
    return unlisted, other_files


def _with_masks_beside(
    sources: list[Source], beside: Sequence[Path], root: Path
) -> tuple[list[Source], list[Path], list[Rejected]]:
    """Uses unlisted masks of listed images.

    Returns:
        (sources with masks, images that remain unlisted, rows that list a mask as an image).
    """
    images = {source.path: source for source in sources if source.path.is_relative_to(root) and source.mask is None}
    masks, _ = masks_of([*images, *beside], root)
    all_masks: set[Path] = set()
    for paths in masks.values():
        all_masks |= set(paths)
    listed = all_masks & images.keys()
    reason = "is the mask of another image; name it in a column 'mask' of the CSV"
    rejected = [Rejected.of(source, reason) for path, source in images.items() if path in listed]
    usable: dict[Path, list[Path]] = {}
    used: set[Path] = set()
    for owner, paths in masks.items():
        unlisted = [path for path in paths if path not in listed]
        if unlisted and owner in images and owner not in listed:
            usable[owner] = unlisted
            used |= set(unlisted)
    kept = [source for source in sources if source.path not in listed]
    return with_masks(kept, usable), [path for path in beside if path not in used], rejected
