"""Finds the columns of a labels CSV: by the name that the user gives, or by the usual one."""

from __future__ import annotations

import logging
import re
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gansweep.cohort.sources.source import DICOMS, NIFTIS, RASTERS, is_split, normal_split
from gansweep.cohort.sources.tables import Table, column_name, is_usual, require_column
from gansweep.cohort.sources.words import given

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

__all__ = ["Columns", "columns_of"]

logger = logging.getLogger(__name__)

# Other names of the patient's column in public datasets, without case and punctuation; the first that exists is used.
_PATIENT = (
    *("patientid", "patientidentifier", "patient", "patientnumber", "patientno", "patientnr", "mrn"),
    *("subjectid", "subject", "participantid", "participant", "patientname", "subjectname"),
)
_MASK_NAME = re.compile(
    r"(?:(?:lesion|tumou?r|roi)[ _-]?)?(?:masks?|segmentations?|segs?|label[ _-]?maps?|ground[ _-]?truths?|gt)"
    r"(?:[ _-]?(?:path|file|filename|name|image)){0,2}"
)
# Columns that may group the images of a patient, or of a lesion; which of them does is not for us to guess.
_GROUP = re.compile(r"(^|[\W_])(case|study|lesion|person|exam|series|scan|volume|animal)|(id|uid|nr|no)$")
# Words in the names of columns that look like those, but are about the label or who gave it.
_READERS = {"rad", "radiologist", "reader", "rater", "annotator", "observer", "doctor"}
_NO_GROUP = frozenset(_READERS | {"class", "category", "label", "diagnosis", "dx"})


@dataclass(frozen=True)
class Columns:
    """Columns named by the user, as typed; None: the usual name.

    Args:
        path: column of the image's path.
        label: column of the label.
        patient: column of the patient's identifier.
        split: column of the split.
        paired: column of the image of the other modality.
    """

    path: str | None = None
    label: str | None = None
    patient: str | None = None
    split: str = "split"
    paired: str | None = None


def columns_of(table: Path, read: Table, named: Columns, labelled: bool) -> dict[str, str]:
    """Returns the name of each column: path, label, patient, split, mask, paired; "" if there is none.

    Logs a column of patients that is used under another name than `patient_id`, and one that looks like a split and is
    not used.

    Args:
        table: the CSV, for messages.
        read: its content.
        named: columns named by the user.
        labelled: whether images need labels.

    Raises:
        CohortError: a column that is required or was named does not exist.
    """
    columns = read.columns
    path = column_name(named.path or "path")
    label = column_name(named.label or "label")
    likely = [name for name in columns if is_usual(name) and re.search("path|file|image|name", name)]
    example = f": --path-column {likely[0]!r}" if likely else ""
    require_column(path, columns, table, f"add it, or name the column of the path with --path-column{example}")
    if labelled or named.label:
        hint = "add it, name another with --label-column, or take labels from masks with --label-from mask"
        require_column(label, columns, table, hint)
    if named.paired:
        paired = column_name(named.paired)
        require_column(paired, columns, table, "name the column of the pairs with --paired-column")
    else:
        paired = next((name for name in columns if name == "paired" or name.startswith("paired_")), "")
    patient = _patient_column(table, read, named, {path, label, paired})
    split = _split_column(table, read, named, {path, label, paired, patient})
    mask = _mask_column(table, read, {path, label, paired, patient, split})
    return {"path": path, "label": label, "patient": patient, "split": split, "mask": mask, "paired": paired}


def _mask_column(table: Path, read: Table, used: set[str]) -> str:
    """Returns the column `mask`, or else the only one with a similar name that holds names of pictures.

    Logs it. If there are several, none is used, which is logged, too.
    """
    if "mask" in read.columns:
        return "mask"
    found = []
    for name in read.columns:
        if name in used or not _MASK_NAME.fullmatch(name):
            continue
        cell = next((given(row[name]) for row in read.rows if given(row.get(name, ""))), "")
        if cell.casefold().endswith((*RASTERS, *NIFTIS, *DICOMS, ".npy")):
            found.append(name)
    if len(found) > 1:
        logger.warning("%s: columns %s may name masks and are not used; call one mask", table.name, " and ".join(found))
    if len(found) != 1:
        return ""
    logger.info("masks: column %r", found[0])
    return found[0]


def _patient_column(table: Path, read: Table, named: Columns, taken: set[str]) -> str:
    columns = read.columns
    if named.patient:
        patient = column_name(named.patient)
        require_column(patient, columns, table, "name the column of the patient with --patient-column")
        return patient
    if "patient_id" in columns:
        return "patient_id"
    letters = {re.sub(r"[\W_]", "", name): name for name in reversed(columns) if name not in taken}
    found = next((letters[name] for name in _PATIENT if name in letters), "")
    if found:
        logger.info("%s: column %r names the patients; --patient-column chooses another", table.name, found)
        return found
    path, label = (column_name(name) for name in (named.path or "path", named.label or "label"))
    groups = [
        name
        for name in columns
        if name not in taken and _GROUP.search(name) and _may_group(read.rows, name, path, label)
    ]
    if groups:
        shown = " and ".join(repr(name) for name in groups)
        word, use, which = ("column", "is", "it") if len(groups) == 1 else ("columns", "are", "one of them")
        logger.warning(
            "%s: %s %s may group images of one patient and %s not used; --patient-column uses %s",
            *(table.name, word, shown, use, which),
        )
    return ""


def _may_group(rows: Sequence[Mapping[str, str]], name: str, path: str, label: str) -> bool:
    """Returns whether the values of a column may be patients: each image has one, and some have several images.

    A column that says the same as the label does not count, nor one that names the readers.
    """
    if set(re.split(r"[\W_]+", name)) & _NO_GROUP:
        return False
    images: dict[str, set[str]] = defaultdict(set)
    values: dict[str, set[str]] = defaultdict(set)
    labels: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        if row.get(name):
            images[row[name]].add(row.get(path, ""))
            values[row.get(path, "")].add(row[name])
            labels[row.get(label, "")].add(row[name])
    one_each = all(len(found) == 1 for found in values.values())
    several = any(len(found) > 1 for found in images.values())
    like_label = len(labels) == len(images) and all(len(found) == 1 for found in labels.values())
    return len(images) > 1 and one_each and several and not like_label


def _split_column(table: Path, read: Table, named: Columns, taken: set[str]) -> str:
    split = column_name(named.split)
    if split != "split":
        require_column(split, read.columns, table, "name the column of the split with --split-column")
    elif split not in read.columns:
        for name in read.columns:
            words = {row.get(name, "") for row in read.rows} - {""}
            splits = {normal_split(word) for word in words}
            looks_like_split = len(splits) > 1 and all(is_split(word) for word in words)
            if looks_like_split and name not in taken:
                hint = "looks like a split and is not used; --split-column uses it"
                logger.warning("%s: column %r %s", table.name, name, hint)
    return split
