"""Finds images in BIDS datasets: sub-*/[ses-*/]anat/*.nii.gz with participants.tsv (BIDS specification 1.10)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from gansweep.cohort.sources.source import Rejected, Source
from gansweep.cohort.sources.tables import column_name, read_table, require_column
from gansweep.errors import CohortError

if TYPE_CHECKING:
    from pathlib import Path

    from gansweep.cohort.sources.relabelling import Relabelling

__all__ = ["find_bids", "is_bids"]

# Common names of the diagnosis in public datasets, the most specific first.
LABEL_COLUMNS = ("label", "diagnosis", "group", "dx", "diagnostic_group", "disease", "condition", "status")
# Modality suffixes, in order of preference.
SUFFIXES = ("T1w", "T2w", "FLAIR", "ct", "PDw", "T2starw")
# Names of masks, in lower case. In BIDS, label-L is a lesion; label-GM and similar are tissues.
_LESION = re.compile(r"lesion|tumou?r|infarct|stroke|ha?emorrhage|wmh|calcif|label-l_")
_ANATOMY = re.compile(r"desc-|brain|head|skull|_bet_|label-(bg|gm|wm|csf|cgm|sgm|scgm|bs|cbm|bn|st|nb)_")


def is_bids(root: Path) -> bool:
    """Returns whether `root` looks like a BIDS dataset."""
    return (root / "participants.tsv").is_file() and any(root.glob("sub-*"))


def find_bids(
    root: Path, label_column: str | None, labelled: bool, relabel: Relabelling
) -> tuple[list[Source], list[Rejected]]:
    """Finds one image per subject and session: T1w if there is one, else the first of T2w, FLAIR, ct, PDw, T2starw.

    The lesion mask is a file with the suffix `mask` or `roi` of the same subject and session, beside the image or under
    `derivatives/`. Its name must indicate a lesion, or at least not a brain or a tissue.

    Args:
        root: folder of the dataset.
        label_column: column of participants.tsv; None: the first of `LABEL_COLUMNS` that exists.
        labelled: whether images need labels.
        relabel: maps the labels of participants.tsv.

    Returns:
        (sources, rejected).

    Raises:
        CohortError: there are no images, or participants.tsv has no label column.
    """
    labels = _labels(root / "participants.tsv", label_column, relabel) if labelled else {}
    sources = []
    rejected = []
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


def _labels(table: Path, column: str | None, relabel: Relabelling) -> dict[str, str]:
    read = read_table(table, "\t")
    columns = read.columns
    require_column("participant_id", columns, table, "BIDS wants it first: sub-01, sub-02, ...")
    chosen = column_name(column) if column else next((name for name in LABEL_COLUMNS if name in columns), None)
    if chosen not in columns:
        raise CohortError(
            f"no column {column!r}" if column else "no label column",
            where=table.name,
            fix=f"name one with --label-column: {', '.join(columns)}",
        )
    return {row["participant_id"]: relabel(row[chosen]) for row in read.rows}


def _choose(folder: Path) -> Path | None:
    for suffix in SUFFIXES:
        found = sorted([*folder.glob(f"*_{suffix}.nii.gz"), *folder.glob(f"*_{suffix}.nii")])
        if found:
            return found[0]
    return None


def _mask(root: Path, folder: Path) -> Path | None:
    """Returns the best candidate for the lesion mask: names of lesions first, then masks in the image's own space."""
    inside = folder.relative_to(root)
    folders = (root / inside, *sorted((root / "derivatives").glob(f"*/{inside}")), root / "derivatives" / inside)
    paths = (path for folder in folders for path in sorted(folder.glob("*.nii*")))
    found = [path for path in paths if _may_show_lesions(path.name.lower())]
    return min(found, key=lambda path: (not _LESION.search(path.name.lower()), "space-" in path.name), default=None)


def _may_show_lesions(name: str) -> bool:
    if _LESION.search(name):
        return "_mask.nii" in name or "_roi.nii" in name
    return "_mask.nii" in name and not _ANATOMY.search(name)
