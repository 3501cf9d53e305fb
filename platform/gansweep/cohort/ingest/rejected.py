"""Writes rejected.parquet: the files that are not in the cohort, with reasons but without patient names."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

from gansweep.cohort.sources.hiding import contains, letters_of, shown_name
from gansweep.cohort.sources.naming import identifiers_of
from gansweep.cohort.sources.source import format_of
from gansweep.cohort.sources.suffixes import known_suffix

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    import pandas as pd

    from gansweep.cohort.ingest.assignment import Assignment
    from gansweep.cohort.ingest.identity import Pseudonyms
    from gansweep.cohort.sources.source import Rejected

__all__ = ["reasons_of", "rejected_table"]


def reasons_of(rejected: Sequence[Rejected]) -> dict[str, int]:
    """Returns the number of files left out by reason, the most common first.

    Line numbers do not make reasons differ.
    """
    kinds = (re.sub(r"^.* line \d+ ", "a row ", item.reason) for item in rejected)
    return dict(Counter(kinds).most_common())


def rejected_table(rejected: Sequence[Rejected], made: Assignment, pseudonyms: Pseudonyms) -> pd.DataFrame:
    """Returns one row per file: its path relative to the source folder, and the reason.

    Names that may identify a person are hidden (see `sources.hiding`). In addition, a part of a path is replaced by the
    patient's hash if it contains the file's own identifier (from the labels, the folder or PatientID) or a part of its
    PatientName, or if it equals the identifier of another patient.

    Args:
        rejected: rejected files.
        made: images in the cohort, whose patients are known.
        pseudonyms: hashes patient identifiers.
    """
    import pandas as pd

    hashes = {letters_of(item.patient): pseudonyms.of(item.patient) for item in rejected}
    hashes |= {
        letters_of(picture.patient): patient
        for picture, patient in zip(made.pictures, made.patients, strict=True)
        if picture.source.patient or format_of(picture.source.path) == "dicom"
    }
    hashes.pop("", None)
    labels = {picture.label for picture in made.pictures}
    # File names need not be valid UTF-8, but strings in Parquet must be.
    paths = [_anonymous_path(item, hashes, pseudonyms, labels).encode("utf-8", "backslashreplace") for item in rejected]
    table = {"path": [path.decode() for path in paths], "reason": [item.reason for item in rejected]}
    return pd.DataFrame(table, dtype="str")


def _anonymous_path(item: Rejected, hashes: Mapping[str, str], pseudonyms: Pseudonyms, labels: Collection[str]) -> str:
    names = identifiers_of(item)
    words = {letters_of(name) for name in names}
    own = hashes.get(letters_of(names[0])) or pseudonyms.of(names[0]) if names else ""
    hidden = re.split(r"([/\\])", shown_name(item.name, item.path, labels))
    parts = re.split(r"([/\\])", item.name)
    return "".join(_anonymous(part, words, own, hashes, shown) for part, shown in zip(parts, hidden, strict=True))


def _anonymous(part: str, words: set[str], own: str, hashes: Mapping[str, str], shown: str) -> str:
    """Returns a part of a path.

    `own` if it contains one of `words`, the hash of the patient that it names, or `shown`.
    """
    suffix = known_suffix(part)
    if contains(part, words):
        return own if contains(suffix, words) else own + suffix
    whole = letters_of(part)
    stem = letters_of(part.removesuffix(suffix))
    return hashes[stem] + suffix if stem in hashes else hashes.get(whole, shown)
