"""Brain Imaging Data Structure folders: sub-*/[ses-*/]anat/*.nii.gz with participants.tsv (bids-specification 1.10)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from gansweep.cohort.sources import Rejected, Source
from gansweep.cohort.tables import column_name, read_table, require_column
from gansweep.errors import CohortError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["find_bids", "is_bids"]

LABEL_COLUMNS = ("label", "diagnosis", "group", "dx", "diagnostic_group", "disease", "condition", "status")
SUFFIXES = ("T1w", "T2w", "FLAIR", "ct", "PDw", "T2starw")


# BIDS names of masks, in lower case: label-L is its abbreviation of a lesion, label-GM and such are tissues.
_LESION = re.compile(r"lesion|tumou?r|infarct|stroke|ha?emorrhage|wmh|calcif|label-l_")
_ANATOMY = re.compile(r"desc-|brain|head|skull|_bet_|label-(bg|gm|wm|csf|cgm|sgm|scgm|bs|cbm|bn|st|nb)_")


def is_bids(root: Path) -> bool:
    """Whether `root` looks like a BIDS dataset."""
    return (root / "participants.tsv").is_file() and any(root.glob("sub-*"))


def find_bids(root: Path, label_column: str | None, labelled: bool) -> tuple[list[Source], list[Rejected]]:
    """One image per subject and session: T1w where there is one, else the first of T2w, FLAIR, ct, PDw, T2starw.

    The lesion mask, where there is one, is the file with the suffix `mask` (or `roi`) and the same subject (and
    session) under the folder itself or `derivatives/` that is called a lesion, or at least not a brain or a tissue.

    Raises:
        CohortError: no images, or no column of participants.tsv that holds the label.
    """
    labels = _labels(root / "participants.tsv", label_column) if labelled else {}
    sources, rejected = [], []
    folders = sorted(path for path in [*root.glob("sub-*/anat"), *root.glob("sub-*/ses-*/anat")] if path.is_dir())
    for folder in folders:
        subject = folder.relative_to(root).parts[0]
        image = _choose(folder)
        if image is None:
            continue
        name = str(image.relative_to(root))
        if labelled and not labels.get(subject):
            rejected.append(Rejected(name, "its subject has no label in participants.tsv", patient=subject))
            continue
        sources.append(Source(image, name, labels.get(subject, ""), subject, mask=_mask(root, folder)))
    if not sources and not rejected:
        raise CohortError("no images", where=str(root), fix="expected sub-*/anat/*_T1w.nii.gz or another suffix")
    return sources, rejected


def _labels(table: Path, column: str | None) -> dict[str, str]:
    rows, columns = read_table(table, "\t")
    require_column("participant_id", columns, table, "BIDS wants it first: sub-01, sub-02, ...")
    chosen = column_name(column) if column else next((name for name in LABEL_COLUMNS if name in columns), None)
    if chosen not in columns:
        raise CohortError(
            f"no column {column!r}" if column else "no column that holds a label",
            where=table.name,
            fix=f"name one with --label-column: {', '.join(columns)}",
        )
    empty = {"", "n/a"}  # BIDS writes a missing value as n/a
    return {row["participant_id"]: row[chosen] for row in rows if row[chosen].lower() not in empty}


def _choose(folder: Path) -> Path | None:
    for suffix in SUFFIXES:
        found = sorted([*folder.glob(f"*_{suffix}.nii.gz"), *folder.glob(f"*_{suffix}.nii")])
        if found:
            return found[0]
    return None


def _mask(root: Path, folder: Path) -> Path | None:
    """The lesion mask: one that says so before one that says nothing, one in the image's own space before another."""
    inside = folder.relative_to(root)
    places = (root / inside, *sorted((root / "derivatives").glob(f"*/{inside}")), root / "derivatives" / inside)
    names = (path for place in places for path in sorted(place.glob("*.nii*")))
    found = [path for path in names if _may_show_lesions(path.name.lower())]
    return min(found, key=lambda path: (not _LESION.search(path.name.lower()), "space-" in path.name), default=None)


def _may_show_lesions(name: str) -> bool:
    if _LESION.search(name):
        return "_mask.nii" in name or "_roi.nii" in name
    return "_mask.nii" in name and not _ANATOMY.search(name)
