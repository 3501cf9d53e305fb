"""Finds images in BIDS datasets: sub-*/[ses-*/]anat/*.nii.gz with participants.tsv (BIDS specification 1.10)."""

from __future__ import annotations

import logging
import re
from collections import defaultdict
from typing import TYPE_CHECKING

from gansweep.cohort.readers.acquisition import Acquisition
from gansweep.cohort.sources.acquisition_columns import acquisition_columns, acquisition_in
from gansweep.cohort.sources.source import Rejected, Source
from gansweep.cohort.sources.tables import column_name, read_table, require_column, shown_columns
from gansweep.cohort.sources.walk import walk
from gansweep.cohort.sources.words import given
from gansweep.errors import CohortError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

    from gansweep.cohort.sources.relabelling import Relabelling

__all__ = ["SUFFIXES", "find_bids", "is_bids"]

logger = logging.getLogger(__name__)

# Common names of the diagnosis in public datasets, the most specific first.
LABEL_COLUMNS = ("label", "diagnosis", "group", "dx", "diagnostic_group", "disease", "condition", "status")
# Modality suffixes, in order of preference.
SUFFIXES = ("T1w", "T2w", "FLAIR", "ct", "PDw", "T2starw")
# Folders beside the subjects' whose files are not the dataset's own images. Nobody expects these in a cohort.
_NOT_RAW = {"derivatives", "sourcedata", "code", "stimuli"}
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

    Hidden files are skipped, and links out of the dataset are not followed. All other images, and subjects without one,
    are left out by reason.

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
    labels, acquired = _participants(root / "participants.tsv", label_column, relabel) if labelled else ({}, {})
    files, others = walk(root)
    by_folder: dict[Path, list[Path]] = defaultdict(list)
    for path in files:
        by_folder[path.parent].append(path)
    pipelines = sorted({path.relative_to(root).parts[1] for path in by_folder if _is_of_pipeline(root, path)})
    sources = []
    rejected = []
    for folder in sorted(by_folder):
        image = _choose(by_folder[folder]) if _is_anat(folder.relative_to(root).parts) else None
        if image is None:
            continue
        subject = folder.relative_to(root).parts[0]
        name = str(image.relative_to(root))
        if labelled and not labels.get(subject):
            reason = "its subject has no label in participants.tsv"
            rejected.append(Rejected(name, reason, path=image, patient=subject))
            continue
        mask = _mask(root, folder, pipelines, by_folder)
        acquisition = acquired.get(subject, Acquisition())
        sources.append(Source(image, name, labels.get(subject, ""), subject, mask=mask, acquisition=acquisition))
    if not sources and not rejected:
        raise CohortError("no images", where=str(root), fix="expected sub-*/anat/*_T1w.nii.gz or another suffix")
    used = {item.path for item in rejected}
    for source in sources:
        used |= {source.path, source.mask}
    rejected += _unused(root, [path for path in files if path not in used])
    rejected += [item for item in others if _is_told(root, item)]
    subjects = {path.name for path in root.glob("sub-*") if path.is_dir()} | {name for name in labels if given(name)}
    return sources, rejected + _without_image(subjects, sources, rejected)


def _is_anat(parts: tuple[str, ...]) -> bool:
    """Returns whether a folder below the dataset is sub-X/anat or sub-X/ses-Y/anat."""
    if len(parts) == 3 and not parts[1].startswith("ses-"):
        return False
    return len(parts) in {2, 3} and parts[0].startswith("sub-") and parts[-1] == "anat"


def _unused(root: Path, files: Sequence[Path]) -> list[Rejected]:
    """Returns records of the dataset's images that are not used."""
    left_out = []
    for path in files:
        parts = path.relative_to(root).parts
        if parts[0] in _NOT_RAW:
            continue
        if not _is_anat(parts[:-1]):
            reason = "not in the folder anat of a subject"
        elif re.search(r"_(mask|roi|dseg|probseg)\.nii", path.name):
            reason = "a mask that is not used"
        elif _choose([path]) is None:
            reason = f"its suffix is none of {', '.join(SUFFIXES)}"
        else:
            reason = "another image of its subject and session is taken"
        subject = parts[0] if parts[0].startswith("sub-") else ""
        left_out.append(Rejected(str(path.relative_to(root)), reason, bad=False, path=path, patient=subject))
    return left_out


def _is_told(root: Path, item: Rejected) -> bool:
    """Returns whether a file of another kind may be missed: a link may stand for a mask."""
    if item.path is None or item.path.is_symlink():
        return True
    return item.path.relative_to(root).parts[0] not in _NOT_RAW


def _without_image(
    subjects: Collection[str], sources: Sequence[Source], rejected: Sequence[Rejected]
) -> list[Rejected]:
    """Returns records of the subjects of which no image was found. One without a label has its own record."""
    found = {source.patient for source in sources} | {item.patient for item in rejected if item.bad}
    reason = "a subject without an image that is read"
    return [Rejected(name, reason, bad=False, patient=name) for name in sorted(subjects) if name not in found]


def _participants(
    table: Path, column: str | None, relabel: Relabelling
) -> tuple[dict[str, str], dict[str, Acquisition]]:
    """Returns the label of each subject, and what the table tells of it. Subjects may be written without `sub-`.

    Logs which column is used if the user names none.

    Raises:
        CohortError: there is no such column, or a subject has two labels.
    """
    read = read_table(table, "\t")
    columns = read.columns
    require_column("participant_id", columns, table, "BIDS wants it first: sub-01, sub-02, ...")
    usual = [name for name in LABEL_COLUMNS if name in columns]
    chosen = column_name(column) if column else next(iter(usual), None)
    if chosen not in columns:
        raise CohortError(
            f"no column {column!r}" if column else "no label column",
            where=table.name,
            fix=f"name one with --label-column ({shown_columns(columns)})",
        )
    if not column:
        level = logging.INFO if len(usual) == 1 else logging.WARNING
        logger.log(level, "%s: column %r gives the labels; --label-column chooses another", table.name, chosen)
    columns_of_acquisition = acquisition_columns(columns, ("participant_id", chosen))
    labels: dict[str, str] = {}
    acquired: dict[str, Acquisition] = {}
    lines: dict[str, int] = {}
    for row, line in zip(read.rows, read.lines, strict=True):
        name = given(row["participant_id"])
        subject = name if name.startswith("sub-") or not name else f"sub-{name}"
        label = relabel(row[chosen])
        known = labels.get(subject, "")
        if known and label and label != known:
            what = f"lines {lines[subject]} and {line} give one subject two labels"
            raise CohortError(what, where=table.name, fix="keep one of them, or list the images in a labels CSV")
        labels[subject] = known or label
        lines.setdefault(subject, line)
        acquisition = acquisition_in(row, columns_of_acquisition)
        acquired[subject] = acquired.get(subject, acquisition).filled_from(acquisition)
    return labels, acquired


def _choose(files: Sequence[Path]) -> Path | None:
    """Returns the file with the preferred suffix, the first by name."""
    for suffix in SUFFIXES:
        found = [path for path in files if path.name.endswith((f"_{suffix}.nii.gz", f"_{suffix}.nii"))]
        if found:
            return min(found)
    return None


def _is_of_pipeline(root: Path, folder: Path) -> bool:
    """Returns whether a folder is derivatives/NAME or below it."""
    parts = folder.relative_to(root).parts
    return len(parts) > 1 and parts[0] == "derivatives"


def _mask(root: Path, folder: Path, pipelines: Sequence[str], by_folder: Mapping[Path, Sequence[Path]]) -> Path | None:
    """Returns the best candidate for the lesion mask: names of lesions first, then masks in the image's own space.

    Args:
        root: folder of the dataset.
        folder: the image's folder.
        pipelines: names of the folders in `derivatives/`.
        by_folder: all files of the dataset by folder, in the order of their names.
    """
    inside = folder.relative_to(root)
    beside = [root / "derivatives" / name / inside for name in pipelines]
    paths = [path for place in (folder, *beside, root / "derivatives" / inside) for path in by_folder.get(place, ())]
    found = [path for path in paths if ".nii" in path.name and _may_show_lesions(path.name.lower())]
    return min(found, key=lambda path: (not _LESION.search(path.name.lower()), "space-" in path.name), default=None)


def _may_show_lesions(name: str) -> bool:
    if _LESION.search(name):
        return "_mask.nii" in name or "_roi.nii" in name
    return "_mask.nii" in name and not _ANATOMY.search(name)
