"""One image file, with what is known about it before it is read."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gansweep.cohort.readers.acquisition import Acquisition
from gansweep.cohort.readers.dicom_header import is_dicom
from gansweep.cohort.sources.words import given

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Rejected", "Source", "format_of", "is_split", "normal_split", "split_like", "subject_in"]

NIFTIS = (".nii", ".nii.gz")
DICOMS = (".dcm", ".dicom", ".ima")  # .ima: Siemens scanners
RASTERS = (".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".tif", ".tiff", ".bmp")

SPLIT_ALIASES = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}
"""Names of splits in public datasets, with our names."""

_SPLIT_WORD = re.compile(r"[ _-]*(?:set|split|data|dataset|images|imgs)$")
"""Words that may follow such a name: train_set, TestData."""

_SPLIT_LIKE = {
    "train": re.compile(r"[\W\d_]*(tr|trn|train.*)[\W\d_]*"),
    "val": re.compile(r"[\W\d_]*(va|vl|vali.*|eval.*|val([\W\d_].*)?|dev([\W\d_].*)?)[\W\d_]*"),
    "test": re.compile(r"[\W\d_]*(te|ts|tst|test.*|holdout)[\W\d_]*"),
}
"""Names that probably mean a split, but are not taken for one: 1_train, trainA, tr, Validierung."""


@dataclass(frozen=True)
class Source:
    """One image file, with the user's information about it.

    Args:
        path: the file.
        name: path relative to the source folder, for messages and `rejected.parquet`.
        label: class name; "" if the label comes from the mask.
        patient: patient identifier from the labels, or "". Never written out.
        folder: substitute for an unknown patient: the subject in the path (`sub-01` in BIDS), or the folder below the
            class. Never written out.
        split: train, val, test or "".
        mask: file with the lesion mask, or None.
        more_masks: files with further lesions of the same image.
        mask_beside: whether the masks were found by their names rather than named by the user.
        mask_lost: whether a mask was found by its name, but has the grid of another image of the case.
        paired: file with the image of the other modality, or None.
        line: line of the labels CSV; 0 if there is no CSV.
        acquisition: what the table tells of how it was made, and of whom. Never written out.
    """

    path: Path
    name: str
    label: str = ""
    patient: str = field(default="", repr=False)
    folder: str = field(default="", repr=False)
    split: str = ""
    mask: Path | None = None
    paired: Path | None = None
    more_masks: tuple[Path, ...] = ()
    mask_beside: bool = False
    mask_lost: bool = False
    line: int = 0
    acquisition: Acquisition = field(default=Acquisition(), repr=False)


@dataclass(frozen=True)
class Rejected:
    """A file that is not in the cohort.

    Args:
        name: path relative to the source folder.
        reason: why it is not, without a patient's name.
        bad: whether it should have been in the cohort; ingest then stops, unless `skip_bad` is set.
        path: the file, or None if it does not exist.
        patient: patient identifier from the labels or the folder, or "". Never written out.
        label: class name, or "" if it is not known.
    """

    name: str
    reason: str
    bad: bool = True
    path: Path | None = None
    patient: str = field(default="", repr=False)
    label: str = ""

    @classmethod
    def of(cls, source: Source, reason: str, *, bad: bool = True) -> Rejected:
        """Creates the record of a source that is left out."""
        return cls(source.name, reason, bad, source.path, source.patient or source.folder, source.label)


def format_of(path: Path) -> str:
    """Returns the format of a file by its name, or without a suffix by its content.

    Dicom, nifti, raster, "" for others.
    """
    name = path.name.lower()
    if name.startswith(".") or name == "dicomdir":
        return ""
    if name.endswith(NIFTIS):
        return "nifti"
    if name.endswith(DICOMS):
        return "dicom"
    if name.endswith(RASTERS):
        return "raster"
    # Exports of an archive have no suffix, or UIDs and numbers as names: 1.2.840.113, IM000001. Scanners have their own
    # suffixes. A preamble identifies DICOM under any name.
    try:
        bare = not path.suffix or path.suffix[1:].isdigit()
        return "dicom" if path.is_file() and is_dicom(path, without_preamble=bare) else ""
    except OSError:
        return ""


def is_split(text: str) -> bool:
    """Returns whether a word names a split: train, TRAIN_SET, validation."""
    return normal_split(text) in set(SPLIT_ALIASES.values())


def normal_split(text: str) -> str:
    """Returns train, val or test for any of their aliases, "" for a missing value, and other words unchanged."""
    word = text.strip().lower()
    return SPLIT_ALIASES.get(_SPLIT_WORD.sub("", word), SPLIT_ALIASES.get(word, given(text)))


def split_like(text: str) -> str:
    """Returns train, val or test if a word probably means it, in an alias or another spelling, or "": 1_train, tr."""
    word = text.strip().lower()
    return next((split for split, pattern in _SPLIT_LIKE.items() if pattern.fullmatch(word)), "")


def subject_in(name: str) -> str:
    """Returns the BIDS subject in a path, or "": `sub-01` in sub-01_ses-2_T1w.nii.gz or sub-01/anat/T1w.nii.gz."""
    found = re.search(r"(?:^|[/\\])(sub-[0-9A-Za-z]+)(?=[_./\\])", name)
    return found.group(1) if found else ""
