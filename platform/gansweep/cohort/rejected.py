"""rejected.parquet: which files are not in the cohort and why, without naming a patient."""

from __future__ import annotations

import re
from pathlib import PurePath
from typing import TYPE_CHECKING

from gansweep.cohort.dicom_header import is_dicom, read_header
from gansweep.cohort.scan import ScanError
from gansweep.cohort.sources import Rejected, format_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd

    from gansweep.cohort.assignment import Assignment
    from gansweep.cohort.dicom_header import Header
    from gansweep.cohort.identity import Pseudonyms

__all__ = ["rejected_table"]


def rejected_table(rejected: Sequence[Rejected], made: Assignment, pseudonyms: Pseudonyms) -> pd.DataFrame:
    """One row per file: its path relative to the source folder, and the reason.

    A part of a path that holds the file's own identifier (of the owner's, its folder, or its PatientID) or a part of
    its PatientName, or that is the identifier of another patient, is replaced by the patient's hash.
    """
    import pandas as pd

    named = {_letters(item.patient): pseudonyms.of(item.patient) for item in rejected}
    named |= {
        _letters(picture.patient): patient
        for picture, patient in zip(made.pictures, made.patients, strict=True)
        if picture.source.patient or format_of(picture.source.path) == "dicom"
    }
    named.pop("", None)
    # A file system may hold names that are not UTF-8, which Parquet cannot.
    paths = [_nameless_path(item, named, pseudonyms).encode("utf-8", "backslashreplace") for item in rejected]
    table = {"path": [path.decode() for path in paths], "reason": [item.reason for item in rejected]}
    return pd.DataFrame(table, dtype="str")


def _nameless_path(item: Rejected, named: Mapping[str, str], pseudonyms: Pseudonyms) -> str:
    header = _header_of(item)
    names = [item.patient]
    if header:
        names += [header.patient, *re.findall(r"[^\W\d_]{3,}", header.name)]
    names = [name for name in names if _letters(name)]
    words = {_letters(name) for name in names}
    own = named.get(_letters(names[0])) or pseudonyms.of(names[0]) if names else ""
    return "".join(_nameless(part, words, own, named) for part in re.split(r"([/\\])", item.name))


def _header_of(item: Rejected) -> Header | None:
    if item.path is None or not item.path.is_file():
        return None
    if format_of(item.path) != "dicom" and not is_dicom(item.path):
        return None
    try:
        return read_header(item.path)
    except ScanError:
        return None


def _nameless(part: str, words: set[str], own: str, named: Mapping[str, str]) -> str:
    """A part of a path, replaced by `own` where it holds one of `words`, or by the hash of whom it names."""
    suffix = PurePath(part).suffix
    if _holds(part, words):
        return own if _holds(suffix, words) else own + suffix
    whole, stem = _letters(part), _letters(part.removesuffix(suffix))
    return named[stem] + suffix if stem in named else named.get(whole, part)


def _holds(part: str, words: set[str]) -> bool:
    """Whether a word is in `part`; one of a letter or two has to stand alone, for it is in every other name."""
    alone = {_letters(piece) for piece in re.split(r"[\W_]+", part)}
    return any(word in alone if len(word) < 3 else word in _letters(part) for word in words)


def _letters(text: str) -> str:
    """Letters and digits alone: DOE^JOHN is often a folder DOE_JOHN."""
    return re.sub(r"[\W_]", "", text).lower()
