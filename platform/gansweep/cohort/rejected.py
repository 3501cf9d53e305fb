"""rejected.parquet: which files are not in the cohort and why, without naming a patient."""

from __future__ import annotations

import re
from pathlib import PurePath
from typing import TYPE_CHECKING

from gansweep.cohort.dicom_header import is_dicom, read_header
from gansweep.cohort.scan import ScanError
from gansweep.cohort.sources import Rejected, format_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from gansweep.cohort.dicom_header import Header
    from gansweep.cohort.identity import Pseudonyms

__all__ = ["rejected_table"]


def rejected_table(rejected: Sequence[Rejected], pseudonyms: Pseudonyms) -> pd.DataFrame:
    """One row per file: its path relative to the source folder, and the reason."""
    import pandas as pd

    # A file system may hold names that are not UTF-8, which Parquet cannot.
    paths = [_nameless_path(item, pseudonyms).encode("utf-8", "backslashreplace").decode() for item in rejected]
    return pd.DataFrame({"path": paths, "reason": [item.reason for item in rejected]}, dtype="str")


def _nameless_path(item: Rejected, pseudonyms: Pseudonyms) -> str:
    """The path, with the patient's hash for each part that holds the identifier, or a part of the name, in the file."""
    header = _header_of(item)
    identifiers = [item.patient, header.patient if header else ""]
    names = re.findall(r"[^\W\d_]{3,}", header.name) if header else []
    words = {_letters(word) for word in (*identifiers, *names)} - {""}
    if not words:
        return item.name
    stands_for = pseudonyms.of(next((word for word in (*identifiers, *names) if word), ""))
    return "".join(_replaced(part, words, stands_for) for part in re.split(r"([/\\])", item.name))


def _header_of(item: Rejected) -> Header | None:
    if item.path is None or not item.path.is_file():
        return None
    if format_of(item.path) != "dicom" and not is_dicom(item.path):
        return None
    try:
        return read_header(item.path)
    except ScanError:
        return None


def _letters(text: str) -> str:
    """Letters and digits alone: DOE^JOHN is often a folder DOE_JOHN."""
    return re.sub(r"[\W_]", "", text).lower()


def _replaced(part: str, words: set[str], stands_for: str) -> str:
    if not _holds(part, words):
        return part
    suffix = PurePath(part).suffix
    return stands_for if _holds(suffix, words) else stands_for + suffix


def _holds(part: str, words: set[str]) -> bool:
    """Whether a word is in `part`; one of a letter or two has to stand alone, for it is in every other name."""
    alone = {_letters(piece) for piece in re.split(r"[\W_]+", part)}
    return any(word in alone if len(word) < 3 else word in _letters(part) for word in words)
