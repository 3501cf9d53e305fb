"""Displays file names without anything that could be a person's name.

Files are often named after patients: SCHMIDT^ANNA_19610304.png. A part of a path is shown only if all its words are
labels or in the list below, and so cannot be names, and if it contains no known identifier of a patient. Any other
part is replaced by its position in its folder, `[file 3 of 12]`, so that anyone who has the folder can find it.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import TYPE_CHECKING

from gansweep.cohort.sources.suffixes import known_suffix
from gansweep.cohort.sources.words import canonical

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from pathlib import Path

__all__ = ["contains", "is_known_word", "letters_of", "names_nobody", "shown_name", "words_of"]

_LIST = """
image images img imgs pic picture pictures photo scan scans slice slices frame frames volume volumes vol series
study studies session patient patients subject subjects case cases sample samples phantom export exports data
dataset raw file files copy new old tmp test testing train training val valid validation dev split fold part
mask masks seg segmentation label labels lesion lesions roi gt annotation control controls normal healthy sick
disease diseased abnormal positive negative tumour tumours tumor tumors cancer glioma meningioma pituitary
haemorrhage hemorrhage calcification fahr covid pneumonia benign malignant stroke no non not with without
brain head skull chest thorax lung lungs liver kidney heart abdomen pelvis spine knee breast eye retina skin
hippocampus prostate axial coronal sagittal left right front back top bottom oblique
dicom dcm nifti nii png jpg jpeg tif tiff bmp webp jfif gif npy gz zip csv ima
ct cta mr mri mra pet xray cxr dx cr us ultrasound flair dwi adc swi bold pre post contrast reg registered
anat func bids derivatives sub ses run acq rec desc space scout scouts localizer localiser loc topogram dose
report screen other other others extra bad good gone broken empty blank again first second third one two three id
grey gray colour color rgb rgba original derived resized small large low high link archive
isic busi msd brats im tr ts va vs pd sl tra sag cor pa ap lat ce
"""
_WORDS = frozenset(_LIST.split())
_DATE = re.compile(r"(?<!\d)\d{1,4}[-._ ]\d{1,2}[-._ ]\d{1,4}(?!\d)")  # 3.4.1961, with any two separators
_NUMBER = re.compile(r"\d+")
_JOINERS = "\N{ZERO WIDTH JOINER}\N{ZERO WIDTH NON-JOINER}"


def names_nobody(part: str, labels: Iterable[str] = ()) -> bool:
    """Returns whether a part of a path cannot be a person's name, date of birth or record number.

    Args:
        part: a file or folder name.
        labels: class names, whose words are allowed.
    """
    labels = tuple(labels)
    text = canonical(part)
    if text in labels:
        return True
    allowed = _WORDS.union(*(words_of(label) for label in labels))
    words = [word for word in words_of(text) if word not in allowed]
    # One letter is a counter or an abbreviation: s12, T1w. Two may be a name: Wu.
    may_be_name = any(len(word) > 1 or not word.isascii() for word in words)
    return not may_be_name and not _has_odd_marks(text) and not _may_be_number(text)


def _has_odd_marks(part: str) -> bool:
    """Returns whether there are digits or symbols of other scripts, or bytes that are not valid UTF-8."""
    return any(
        not mark.isascii() and mark not in _JOINERS and unicodedata.category(mark)[0] not in "LMPZ" for mark in part
    )


def _may_be_number(part: str) -> bool:
    """Returns whether a part of a path may contain a date of birth or a record number.

    Numbers of files are often padded to six or seven digits: IM000123, ISIC_0024306. So a number is taken for a
    counter if it begins with two zeros, or has up to six digits and is no date (DDMMYY, MMDDYY, YYMMDD).
    """
    return _DATE.search(part) is not None or any(_is_long(number) for number in _NUMBER.findall(part))


def _is_long(digits: str) -> bool:
    if len(digits) > 7:
        return True
    if len(digits) < 6 or digits.startswith("00"):
        return False
    pairs = [int(digits[place : place + 2]) for place in (0, 2, 4)]
    day_month = ((pairs[0], pairs[1]), (pairs[1], pairs[0]), (pairs[2], pairs[1]))
    return len(digits) == 7 or any(1 <= day <= 31 and 1 <= month <= 12 for day, month in day_month)


def shown_name(
    name: str,
    path: Path | None,
    labels: Iterable[str] = (),
    *,
    own: Collection[str] = (),
    others: Collection[str] = (),
) -> str:
    """Returns a relative path for a message.

    Args:
        name: path relative to the source folder, or as written in a CSV.
        path: the file, or None if it does not exist.
        labels: class names.
        own: identifiers of the file's patient, as `letters_of` gives them. A part that contains one is hidden.
        others: identifiers of all patients, likewise. A part that is one is hidden.
    """
    labels = tuple(labels)
    parts = re.split(r"([/\\])", name)
    count = len(parts[::2])
    shown = []
    for number, part in enumerate(parts[::2]):
        if names_nobody(part, labels) and not contains(part, own) and not _is_one_of(part, others):
            shown.append(part)
            continue
        depth = count - 1 - number
        place = path.parents[depth - 1] if path is not None and depth else path
        shown.append(_place(place, is_file=not depth and not _is_folder(place)))
    separators = [*parts[1::2], ""]
    text = "".join(part + separator for part, separator in zip(shown, separators, strict=True))
    # A line feed or an escape sequence in a name must have no effect on the terminal that shows it.
    return "".join("\N{REPLACEMENT CHARACTER}" if unicodedata.category(mark) == "Cc" else mark for mark in text)


def words_of(text: str) -> set[str]:
    """Returns the words of a name in lower case. `brainMask` has two.

    A word consists of letters and the marks that belong to them, which many scripts need for their vowels.
    """
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", canonical(text))
    letters = (mark if unicodedata.category(mark)[0] in "LM" or mark in _JOINERS else " " for mark in spaced)
    return {word.casefold() for word in "".join(letters).split()}


def is_known_word(word: str) -> bool:
    """Returns whether a word of `words_of` is in the list of words that name nobody."""
    return word in _WORDS


def contains(part: str, words: Collection[str]) -> bool:
    """Returns whether an identifier occurs in `part`.

    One of one or two letters must stand alone, because it occurs in many other names.

    Args:
        part: a file or folder name.
        words: identifiers, as `letters_of` gives them.
    """
    alone = {letters_of(piece) for piece in re.split(r"[\W_]+", part)}
    return any(word in alone if len(word) < 3 else word in letters_of(part) for word in words)


def _is_one_of(part: str, identifiers: Collection[str]) -> bool:
    stems = (part, part.removesuffix(known_suffix(part)), part.partition(".")[0])
    return any(letters_of(stem) in identifiers for stem in stems)


def letters_of(text: str) -> str:
    """Returns the letters and digits of `text` in lower case: patient DOE^JOHN often has a folder DOE_JOHN."""
    return re.sub(r"[\W_]", "", canonical(text)).lower()


def _place(path: Path | None, *, is_file: bool) -> str:
    """Returns the position of a file or folder in its folder, in the order of names."""
    kind = "file" if is_file else "folder"
    try:
        beside = {} if path is None else _places(path.parent, path.parent.stat().st_mtime_ns, is_file)
    except (OSError, ValueError):
        beside = {}
    suffix = known_suffix(path.name) if path is not None and is_file else ""
    if path is None or path.name not in beside:
        return f"[{kind}]{suffix}"
    return f"[{kind} {beside[path.name]} of {len(beside)}]{suffix}"


def _is_folder(path: Path | None) -> bool:
    try:
        return path is not None and path.is_dir()
    except (OSError, ValueError):
        return False


@lru_cache(maxsize=64)
def _places(folder: Path, _changed_ns: int, is_file: bool) -> dict[str, int]:
    """Returns the position of each file (or folder) in a folder, from 1.

    `_changed_ns` is part of the cache's key, so that a changed folder is listed again.
    """
    return {name: place for place, name in enumerate(sorted(_names(folder, is_file)), start=1)}


def _names(folder: Path, is_file: bool) -> list[str]:
    return [item.name for item in folder.iterdir() if item.is_dir() != is_file]
