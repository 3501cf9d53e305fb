"""Normalises names: missing values, spellings of one patient, similar labels."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["canonical", "given", "known_patient", "label_form", "look_alikes", "may_be_missing", "patient_spelling"]

# Missing values as written by spreadsheets, pandas, R, SQL and BIDS.
_MISSING = {
    *("", "nan", "n/a", "na", "n.a.", "n.a", "n. a.", "none", "null", "nil", "nat", "<na>", "?", "??", "???"),
    *("-", "--", "---", "\N{EN DASH}", "\N{EM DASH}", ".", "..", "...", "\N{HORIZONTAL ELLIPSIS}"),
    *("missing", "not available", "not applicable", "undefined", "empty"),
    *("#n/a", "#na", "#n/a n/a", "#value!", "#ref!", "#name?", "#div/0!", "#num!", "#null!"),
    *("-nan", "+nan", "nan(ind)", "-nan(ind)", "1.#ind", "-1.#ind", "1.#qnan", "-1.#qnan"),
    *("n/a.", "(null)", "(none)", "(nan)", "(na)", "(n/a)", "(missing)", "(empty)", "(blank)", "[null]"),
}
# Labels that may stand for a missing value, or be a class: ISIC has a class UNK, CheXpert uses -1 for "uncertain".
_DOUBTFUL = {
    *("unlabeled", "unlabelled", "unclassified", "unsorted", "unassigned"),
    *("unknown", "unk", "not known", "unclear", "uncertain", "tbd", "todo", "not sure", "pending"),
    *("-1", "-1.0", "-9", "-99", "-999", "999", "9999"),
}
# Cyrillic and Greek letters that look like Latin ones: another keyboard was on
_LIKE_LATIN = str.maketrans("авекмнорстухіαβεζηικμνορτυχ", "abekmhopctyxiabezhikmnoptyx")
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


def label_form(text: str) -> str:
    """Returns a label in its canonical form, with single spaces of one kind and without invisible characters.

    The two joiners are kept, because some scripts need them.
    """
    joiners = "\N{ZERO WIDTH JOINER}\N{ZERO WIDTH NON-JOINER}"
    marks = []
    for mark in canonical(text):
        category = unicodedata.category(mark)
        if category == "Zs":
            marks.append(" ")
        elif category != "Cf" or mark in joiners:
            marks.append(mark)
    return re.sub(" +", " ", "".join(marks)).strip()


def may_be_missing(label: str) -> bool:
    """Returns whether a label may stand for a missing value, such as `unknown` or -9."""
    return label.casefold() in _DOUBTFUL


def known_patient(text: str) -> str:
    """Returns the canonical patient identifier, or "" if it identifies nobody: a missing value, or `ANONYMOUS`."""
    text = given(text)
    return "" if text.casefold() in _NOBODY else text


def patient_spelling(text: str) -> str:
    """Returns a normal form that is equal for all spellings of one identifier.

    Case, leading zeros, the `.0` or `,0` of a number that passed through a float, invisible characters, the width of
    letters, the kind of dashes, and what stands between letters and a number do not count: 7, 007 and 7.0 are equal. So
    are P007, p7, P-07 and p_7, or TCGA_02_0006 and TCGA-02-0006.
    """
    wide = unicodedata.normalize("NFKC", canonical(text)).casefold()
    dashed = ("-" if unicodedata.category(mark) == "Pd" else mark for mark in wide)
    folded = "".join(mark for mark in dashed if unicodedata.category(mark) not in {"Cc", "Cf"})
    folded = re.sub(r"^(\d+)[.,]0+$", r"\1", folded)
    folded = re.sub(r"(?<=[^\W\d_])[\s_-]+(?=\d)", "", folded)
    folded = re.sub(r"[\s_-]+", "-", folded)
    return re.sub(r"0*(\d+)", r"\1", folded)  # at least one digit remains


def look_alikes(labels: Iterable[str]) -> list[tuple[str, str]]:
    """Returns pairs of labels that may mean the same class.

    They differ only in case, spaces and punctuation, in letters that look the same, or in a plural, or one is the other
    with a suffix:
    `adenocarcinoma` and `adenocarcinoma_left.lower.lobe_T2`. Or they are the same number (1 and 1.0), or words in which
    two letters are swapped or one is added: `tumor` and `tumour`.
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
        others: list[str] = []
        for end in range(3, len(folded)):
            if not folded[end].isalnum():
                others += by_text.get(folded[:end], [])
        for letters in (_letters(name), _letters(name) + "s", *_misspelled(_letters(name))):
            others += by_letters.get(letters, [])
        pairs |= {(min(name, other), max(name, other)) for other in others if other != name}
    return sorted(pairs)


def _misspelled(word: str) -> list[str]:
    """Returns a word with one letter left out after the first, or with two neighbours swapped.

    None for short words and for words with digits, because `typical` is not `atypical`, nor `grade1` `grade2`.
    """
    if len(word) < 4 or not word.isalpha():
        return []
    found = []
    for place in range(1, len(word)):
        before = word[: place - 1]
        first = word[place - 1]
        second = word[place]
        after = word[place + 1 :]
        found.append(before + second + first + after)
        if len(word) > 5:
            found.append(before + first + after)
    return found


def _letters(name: str) -> str:
    """Returns the letters and digits of a name in lower case; of a number its shortest form.

    Letters that look like Latin ones are these.
    """
    number = re.fullmatch(r"(-?)0*(\d+?)(?:[.,]0+)?", name.strip())
    if number:
        return "".join(number.groups())
    latin = unicodedata.normalize("NFKC", name).casefold().translate(_LIKE_LATIN)
    return re.sub(r"[\W_]", "", latin)
