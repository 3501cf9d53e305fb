"""Names as people write them: missing values, spellings of one patient, labels that look alike."""

from __future__ import annotations

import re
import unicodedata
from itertools import combinations
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["canonical", "given", "known_patient", "look_alikes", "patient_spelling"]

# What spreadsheets, pandas, R, SQL and BIDS write for a value that is not there.
_MISSING = {"", "nan", "n/a", "na", "none", "null", "nil", "nat", "<na>", "#n/a", "#na", "?", "-", "--"}
# What de-identification tools write instead of an identifier. It would join all patients into one.
_NOBODY = {"anonymous", "anonymized", "anonymised", "anon", "deidentified", "de-identified", "removed", "unknown"}


def canonical(text: str) -> str:
    """The text in Unicode's composed form (NFC) without surrounding spaces: macOS writes names decomposed."""
    return unicodedata.normalize("NFC", text).strip()


def given(text: str) -> str:
    """The canonical text, or "" if it stands for a missing value: `nan`, `n/a`, `none`."""
    text = canonical(text)
    return "" if text.casefold() in _MISSING else text


def known_patient(text: str) -> str:
    """The canonical patient identifier, or "" if it names nobody: a missing value, or `ANONYMOUS`."""
    text = given(text)
    return "" if text.casefold() in _NOBODY else text


def patient_spelling(text: str) -> str:
    """What all spellings of one identifier have in common.

    Case, leading zeros, the `.0` of a number that passed through a float, and what stands between letters and a number
    do not count: 7, 007 and 7.0 are equal, and so are P007, p7, P-07 and p_7.
    """
    folded = canonical(text).casefold()
    folded = re.sub(r"^(\d+)\.0+$", r"\1", folded)
    folded = re.sub(r"(?<=[^\W\d_])[\s_-]+(?=\d)", "", folded)
    return re.sub(r"\d+", lambda digits: digits[0].lstrip("0") or "0", folded)


def look_alikes(labels: Iterable[str]) -> list[tuple[str, str]]:
    """Pairs of labels that may be meant to be one.

    They are equal but for case, spaces and punctuation, or but for a plural, or one is the other with a suffix:
    `adenocarcinoma` and `adenocarcinoma_left.lower.lobe_T2`.
    """
    return [pair for pair in combinations(sorted(labels), 2) if _alike(*pair)]


def _alike(first: str, second: str) -> bool:
    letters = sorted((re.sub(r"[\W_]", "", name.casefold()) for name in (first, second)), key=len)
    if letters[0] == letters[1] or letters[0] + "s" == letters[1]:
        return True
    short, long = sorted((first.casefold(), second.casefold()), key=len)
    return len(short) > 2 and long.startswith(short) and not long[len(short)].isalnum()
