"""Displays file names without anything that could be a person's name.

Files are often named after patients: SCHMIDT^ANNA_19610304.png. A part of a path is shown only if all its words are
labels or in the list below, and so cannot be names. Any other part is replaced by its position in its folder,
`[file 3 of 12]`, so that anyone who has the folder can find it.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import TYPE_CHECKING

from gansweep.cohort.sources.words import canonical

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

__all__ = ["names_nobody", "shown_name"]

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
report screen other others bad good gone broken empty blank again first second third one two three id
grey gray colour color rgb rgba original derived resized small large low high link archive
isic busi msd brats im
"""
_WORDS = frozenset(_LIST.split())
_WORD = re.compile(r"[^\W\d_]+")
_LONG_NUMBER = re.compile(r"\d{8,}|(?<!\d)\d{1,4}[-._]\d{1,2}[-._]\d{1,4}(?!\d)")  # a date of birth, a record number


def names_nobody(part: str, labels: Iterable[str] = ()) -> bool:
    """Returns whether a part of a path cannot be a person's name, date of birth or record number.

    Args:
        part: a file or folder name.
        labels: class names, whose words are allowed.
    """
    allowed = _WORDS.union(*(_words(label) for label in labels))
    unknown = [word for word in _words(part) if word not in allowed]
    # Abbreviations of one or two letters occur in many names, but two unknown ones may be a short name: LI_NA.
    long = [word for word in unknown if len(word) > 2]
    short = [word for word in unknown if len(word) == 2]
    may_be_name = bool(long) or len(short) > 1
    may_be_number = _LONG_NUMBER.search(part) is not None
    return not may_be_name and not may_be_number


def shown_name(name: str, path: Path | None, labels: Iterable[str] = ()) -> str:
    """Returns a relative path for a message.

    Args:
        name: path relative to the source folder, or as written in a CSV.
        path: the file, or None if it does not exist.
        labels: class names.
    """
    labels = tuple(labels)
    parts = re.split(r"([/\\])", name)
    count = len(parts[::2])
    shown = []
    for number, part in enumerate(parts[::2]):
        if names_nobody(part, labels):
            shown.append(part)
            continue
        depth = count - 1 - number
        place = path.parents[depth - 1] if path is not None and depth else path
        shown.append(_place(place, is_file=not depth))
    separators = [*parts[1::2], ""]
    text = "".join(part + separator for part, separator in zip(shown, separators, strict=True))
    # A line feed or an escape sequence in a name must have no effect on the terminal that shows it.
    return "".join("\N{REPLACEMENT CHARACTER}" if unicodedata.category(mark) == "Cc" else mark for mark in text)


def _place(path: Path | None, *, is_file: bool) -> str:
    """Returns the position of a file or folder in its folder, in the order of names."""
    kind = "file" if is_file else "folder"
    try:
        beside = {} if path is None else _places(path.parent, path.parent.stat().st_mtime_ns, is_file)
    except (OSError, ValueError):
        beside = {}
    suffix = path.suffix if path is not None and is_file and names_nobody(path.suffix) else ""
    if path is None or path.name not in beside:
        return f"[{kind}]{suffix}"
    return f"[{kind} {beside[path.name]} of {len(beside)}]{suffix}"


@lru_cache(maxsize=64)
def _places(folder: Path, _changed_ns: int, is_file: bool) -> dict[str, int]:
    """Returns the position of each file (or folder) in a folder, from 1.

    `_changed_ns` is part of the cache's key, so that a changed folder is listed again.
    """
    return {name: place for place, name in enumerate(sorted(_names(folder, is_file)), start=1)}


def _names(folder: Path, is_file: bool) -> list[str]:
    return [item.name for item in folder.iterdir() if item.is_file() == is_file]


def _words(text: str) -> set[str]:
    """Returns the words of a name in lower case. `brainMask` has two."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", canonical(text))
    return {word.casefold() for word in _WORD.findall(spaced)}
