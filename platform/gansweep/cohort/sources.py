"""Finds the images of a folder and what is known of each: a labels CSV, a BIDS folder, or one folder per class."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from gansweep.cohort.dicom_header import is_dicom, read_header
from gansweep.cohort.scan import ScanError
from gansweep.errors import CohortError

__all__ = ["Rejected", "Source", "find_sources", "format_of", "normal_split", "subject_in"]

RASTERS = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
NIFTIS = (".nii", ".nii.gz")
DICOMS = (".dcm", ".dicom", ".ima")
SPLITS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}


@dataclass(frozen=True)
class Source:
    """One image file and what its owner says of it.

    Args:
        path: the file.
        name: its path relative to the source folder, for messages and `rejected.parquet`.
        label: class name; "" where the masks decide.
        patient: the owner's patient identifier, "" where the file may know or nobody does. Never written out.
        folder: where nobody says whose file it is, the subject in its path (`sub-01`, as BIDS has it) or the folder
            below the class that holds this patient's files. Never written out.
        split: train, val, test or "".
        mask: lesion mask, or None.
        paired: the image of the other kind, or None.
    """

    path: Path
    name: str
    label: str = ""
    patient: str = field(default="", repr=False)
    folder: str = field(default="", repr=False)
    split: str = ""
    mask: Path | None = None
    paired: Path | None = None


@dataclass(frozen=True)
class Rejected:
    """A file that is not in the cohort.

    Args:
        name: its path relative to the source folder.
        reason: why; names nobody.
        bad: it should have been in the cohort, so that without `skip_bad` ingest stops.
        path: the file, or None where there is none.
        patient: whose it is, as the owner or the folder says, "" where neither does. Never written out.
    """

    name: str
    reason: str
    bad: bool = True
    path: Path | None = None
    patient: str = field(default="", repr=False)

    @classmethod
    def of(cls, source: Source, reason: str, *, bad: bool = True) -> Rejected:
        """A source that is left out."""
        return cls(source.name, reason, bad, source.path, source.patient or source.folder)


def find_sources(
    root: Path,
    labels: Path | None = None,
    *,
    label_column: str | None = None,
    split_column: str = "split",
    paired_column: str | None = None,
    labelled: bool = True,
) -> tuple[list[Source], list[Rejected]]:
    """All images under `root`, in the order of their names.

    Args:
        root: the user's folder.
        labels: a CSV; None: `labels.csv` in `root` where it exists, else BIDS, else one folder per class.
        label_column: None: `label`, and for BIDS the first usual name.
        split_column: the CSV's column with train, val or test.
        paired_column: None: `paired` or the one that begins with `paired_`.
        labelled: False where the masks decide the label, so that none needs to be given.

    Raises:
        CohortError: no such folder, no images, no labels, an unreadable CSV, no such column.
    """
    from gansweep.cohort.bids import find_bids, is_bids
    from gansweep.cohort.labels_csv import sources_of_csv

    root = Path(root)
    if not root.is_dir():
        raise CohortError("no such folder", where=str(root), fix="name the folder that holds the images")
    if labels is None and (root / "labels.csv").is_file():
        labels = root / "labels.csv"
    if labels is not None:
        return sources_of_csv(root, Path(labels), label_column, split_column, paired_column, labelled)
    bids = is_bids(root)
    columns = (None if bids else label_column, paired_column, None if split_column == "split" else split_column)
    asked = next((name for name in columns if name), None)
    if asked:
        raise CohortError(f"no CSV to take column {asked!r} from", where=str(root), fix="name it with --labels")
    if bids:
        return find_bids(root, label_column, labelled)
    return _from_folders(root, labelled), []


def format_of(path: Path) -> str:
    """The kind of file: dicom, nifti, raster, or "" for what is no image by its name or (without suffix) content."""
    name = path.name.lower()
    if name.startswith(".") or name == "dicomdir":
        return ""
    if name.endswith(NIFTIS):
        return "nifti"
    if name.endswith(DICOMS):
        return "dicom"
    if name.endswith(RASTERS):
        return "raster"
    if path.is_file() and (not path.suffix or path.suffix[1:].isdigit()):
        return "dicom" if is_dicom(path) else ""
    return ""


def normal_split(text: str) -> str:
    """train, val, test, or "" for an empty cell; other words come back as they are."""
    return SPLITS.get(text.strip().lower(), text.strip())


def _look_like_patients(images: list[Path], names: list[str]) -> bool:
    """Whether most class folders, and three at least, hold one patient (or one file) each, no two the same."""
    owners: dict[str, set[str]] = defaultdict(set)
    for path, name in zip(images, names, strict=True):
        found = owners[name.partition("/")[0]]
        if len(found) < 2:  # two are enough to know
            found |= _owner(path, name)
    alone = [min(found) for found in owners.values() if len(found) == 1]
    return len(alone) >= 3 and 2 * len(alone) > len(owners) and len(set(alone)) == len(alone)


def _owner(path: Path, name: str) -> set[str]:
    """Whose file it is; a file of nobody's counts as one patient, a broken one as none."""
    if format_of(path) != "dicom":
        return {subject_in(name) or name}
    try:
        header = read_header(path)
    except ScanError:
        return set()
    return {header.patient or header.study or name}


def subject_in(name: str) -> str:
    """`sub-01` of sub-01_ses-2_T1w.nii.gz or sub-01/anat/T1w.nii.gz, "" where a path names no subject."""
    found = re.search(r"(?:^|[/\\])(sub-[0-9A-Za-z]+)(?=[_./\\])", name)
    return found.group(1) if found else ""


def _images(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and format_of(path))


def _from_folders(root: Path, labelled: bool) -> list[Source]:
    """class/file, class/patient/file, and either of them below train, val and test folders."""
    images = _images(root)
    if not images:
        known = "DICOM, NIfTI, PNG, JPEG, TIFF, BMP"
        raise CohortError("no images", where=str(root), fix=f"name a folder that holds {known} files")
    if not labelled:
        return [Source(path, str(path.relative_to(root))) for path in images]
    parts = [path.relative_to(root).parts for path in images]
    splits = all(len(part) > 2 and part[0].lower() in SPLITS for part in parts)
    skip = 1 if splits else 0
    if any(len(part) < 2 + skip for part in parts):
        loose = next(part for part in parts if len(part) < 2 + skip)
        raise CohortError(
            f"{'/'.join(loose)} has no label",
            where=str(root),
            fix="add labels.csv with the columns path,label or put the images in one folder per class",
        )
    if _look_like_patients(images, ["/".join(part[skip:]) for part in parts]):
        raise CohortError(
            "the folders look like patients, not classes",
            where=str(root),
            fix="add labels.csv with the columns path,label or put the images in one folder per class",
        )
    below: dict[str, set[str]] = defaultdict(set)
    for part in parts:
        below[part[skip]] |= set(part[skip + 1 : -1][:1])
    # A folder below the class is taken for the patient, which is the safe reading, unless it is alone in every class.
    patients = {name for names in below.values() if len(names) > 1 for name in names}
    return [
        Source(
            path,
            "/".join(part),
            label=part[skip],
            folder=subject_in("/".join(part))
            or next((name for name in part[skip + 1 : -1][:1] if name in patients), ""),
            split=normal_split(part[0]) if splits else "",
        )
        for path, part in zip(images, parts, strict=True)
    ]
