"""Normalises names: missing values, spellings of one patient, similar labels."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["canonical", "given", "known_patient", "look_alikes", "patient_spelling"]

# Missing values as written by spreadsheets, pandas, R, SQL and BIDS.
_MISSING = {"", "nan", "n/a", "na", "none", "null", "nil", "nat", "<na>", "#n/a", "#na", "?", "-", "--"}
# Replacements for identifiers by de-identification tools. They would merge all patients into one.
_NOBODY = {"anonymous", "anonymized", "anonymised", "anon", "deidentified", "de-identified", "removed", "unknown"}


def canonical(text: str) -> str:
    """The text in Unicode's composed form (NFC) without surrounding spaces: macOS writes names decomposed.

    DICOM writers fill a text up with NUL or spaces.
    """
    return unicodedata.normalize("NFC", text).strip().strip("\0").strip()


def given(text: str) -> str:
    """Returns the canonical text, or "" if it stands for a missing value: `nan`, `n/a`, `none`."""
    text = canonical(text)
    return "" if text.casefold() in _MISSING else text


def known_patient(text: str) -> str:
    """Returns the canonical patient identifier, or "" if it identifies nobody: a missing value, or `ANONYMOUS`."""
    text = given(text)
    return "" if text.casefold() in _NOBODY else text


def patient_spelling(text: str) -> str:
    """Returns a normal form that is equal for all spellings of one identifier.

    Case, leading zeros, the `.0` of a number that passed through a float, invisible characters, and what stands between
    letters and a number do not count: 7, 007 and 7.0 are equal, and so are P007, p7, P-07 and p_7.
    """
    folded = "".join(mark for mark in canonical(text).casefold() if unicodedata.category(mark) not in {"Cc", "Cf"})
    folded = re.sub(r"^(\d+)\.0+$", r"\1", folded)
    folded = re.sub(r"(?<=[^\W\d_])[\s_-]+(?=\d)", "", folded)
    return re.sub(r"\d+", lambda digits: digits[0].lstrip("0") or "0", folded)


def look_alikes(labels: Iterable[str]) -> list[tuple[str, str]]:
    """Returns pairs of labels that may mean the same class.

    They differ only in case, spaces and punctuation, or in a plural, or one is the other with a suffix:
    `adenocarcinoma` and `adenocarcinoma_left.lower.lobe_T2`.
    """
    names = sorted(labels)
    by_letters: dict[str, list[str]] = defaultdict(list)
    by_text: dict[str, list[str]] = defaultdict(list)
    for name in names:
        by_letters[_letters(name)].append(name)
        by_text[name.casefold()].append(name)
    pairs = set()
    for name in names:
        folded = name.casefold()
        starts = [folded[:end] for end in range(3, len(folded)) if not folded[end].isalnum()]
        others = [other for start in starts for other in by_text.get(start, [])]
        for letters in (_letters(name), _letters(name) + "s"):
            others += by_letters.get(letters, [])
        pairs |= {(min(name, other), max(name, other)) for other in others if other != name}
    return sorted(pairs)


def _letters(name: str) -> str:
    return re.sub(r"[\W_]", "", name.casefold())
