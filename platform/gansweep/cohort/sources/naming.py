"""Names files in messages and lists, without the identifiers of their patients."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from gansweep.cohort.readers.dicom_header import is_dicom, read_header
from gansweep.cohort.readers.slices import ScanError, UnneededError
from gansweep.cohort.sources.hiding import letters_of, shown_name
from gansweep.cohort.sources.source import Rejected, Source, format_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from pathlib import Path

    from gansweep.cohort.readers.dicom_header import Header

__all__ = ["identifiers_of", "name_of", "patients_of"]


def name_of(item: Source | Rejected, labels: Iterable[str] = (), patients: Collection[str] = ()) -> str:
    """Returns the name of a file for a message or a list (see `sources.hiding`).

    Args:
        item: the file.
        labels: class names, which may be shown.
        patients: identifiers of other patients, from `patients_of`.
    """
    own = {letters_of(identifier) for identifier in identifiers_of(item)}
    return shown_name(item.name, item.path, labels, own=own, others=patients)


def patients_of(items: Iterable[Source | Rejected]) -> set[str]:
    """Returns the letters and digits of all identifiers that the labels or the folders give."""
    return {letters_of(_given(item)) for item in items} - {""}


def identifiers_of(item: Source | Rejected) -> list[str]:
    """Returns all identifiers of a file's patient, the best one first.

    They come from the labels or the folder, from PatientID, and from the parts of PatientName (family^given^middle)
    with three letters or more.
    """
    names = [_given(item)]
    header = _header_of(item.path)
    if header:
        names += [header.patient, *re.findall(r"[^\W\d_]{3,}", header.name)]
    return [name for name in names if letters_of(name)]


def _given(item: Source | Rejected) -> str:
    return item.patient or (item.folder if isinstance(item, Source) else "")


def _header_of(path: Path | None) -> Header | None:
    try:
        if path is None or not path.is_file():
            return None
        return read_header(path) if format_of(path) == "dicom" or is_dicom(path) else None
    except (ScanError, UnneededError, OSError):
        return None
