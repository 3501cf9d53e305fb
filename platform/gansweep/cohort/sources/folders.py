"""Finds images in one folder per class, with or without folders for the split and the patient."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from gansweep.cohort.readers.dicom_header import read_header
from gansweep.cohort.readers.slices import ScanError, UnneededError
from gansweep.cohort.sources.codes import patient_in
from gansweep.cohort.sources.hiding import names_nobody
from gansweep.cohort.sources.masks import is_image_folder, masks_of, with_masks, without_image
from gansweep.cohort.sources.naming import name_of
from gansweep.cohort.sources.nesting import refuse_classes_in_each, refuse_one_folder_too_many
from gansweep.cohort.sources.people import look_like_people, numbered_patients
from gansweep.cohort.sources.source import Rejected, Source, format_of, is_split, normal_split, split_like
from gansweep.cohort.sources.walk import walk
from gansweep.cohort.sources.words import canonical
from gansweep.errors import CohortError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from gansweep.cohort.sources.relabelling import Relabelling

__all__ = ["sources_of_folders"]

# images_001, HAM10000_images_part_1, fold2, part_a
_PART = re.compile(
    r"(?P<set>(?:.*[ _.-])?(?:images?|imgs?|photos?|files?|data|dataset|(?P<part>part|batch|chunk|shard|fold|subset)))"
    r"(?:[ _.-]*\d+|(?(part)[ _.-]+[a-z]|(?!)))"
)


def sources_of_folders(root: Path, labelled: bool, relabel: Relabelling) -> tuple[list[Source], list[Rejected]]:
    """Finds the images in a folder, with the masks beside them.

    Layouts: class/file and class/patient/file, and both below train, val and test folders, or with these below the
    class: class/train/file.

    Args:
        root: the folder.
        labelled: whether images need labels; if not, any layout is accepted.
        relabel: maps folder names to labels.

    Returns:
        (sources, files left out).

    Raises:
        CohortError: there are no images, an image is in no class folder, or the folders are patients or splits, or the
            classes lie one folder further inside.
    """
    files, others = walk(root)
    masks, alone = masks_of(files, root)
    drawn = set(alone)
    for paths in masks.values():
        drawn |= set(paths)
    images = [path for path in files if path not in drawn]
    others += without_image(alone, root)
    if not images:
        known = "DICOM, NIfTI, PNG, JPEG, WebP, TIFF, BMP"
        counts = Counter(item.reason for item in others)
        left_out = ", ".join(f"{count} x {reason}" for reason, count in counts.most_common())
        fix = f"name a folder that holds {known} files"
        raise CohortError(f"no images ({left_out})" if others else "no images", where=str(root), fix=fix)
    if not labelled:
        names = [str(path.relative_to(root)) for path in images]
        sources = [Source(path, name, folder=patient_in(name)) for path, name in zip(images, names, strict=True)]
        return with_masks(sources, masks), others

    refuse_one_folder_too_many(images, root, masked=bool(drawn))
    parts = [path.relative_to(root).parts for path in images]
    if drawn and all(len(part) > 2 and is_image_folder(part[0]) for part in parts):
        # images/CLASS/file beside masks/CLASS/file
        parts = [part[1:] for part in parts]
    return with_masks(_labelled(images, parts, root, relabel), masks), others


def _labelled(images: list[Path], parts: list[tuple[str, ...]], root: Path, relabel: Relabelling) -> list[Source]:
    """Returns the images with the labels, patients and splits from their folders.

    Args:
        images: the files.
        parts: path of each file relative to the folder of the splits or classes.
        root: the user's folder.
        relabel: maps folder names to labels.
    """
    below_class = all(len(part) > 2 and is_split(part[1]) and not is_split(part[0]) for part in parts)
    if below_class and len({normal_split(part[1]) for part in parts}) > 1:
        parts = [(part[1], part[0], *part[2:]) for part in parts]
    has_splits = all(len(part) > 2 and is_split(part[0]) for part in parts)
    if not has_splits:
        _refuse_half_splits(parts, root)
        _refuse_other_spellings(parts, root)
    skip = 1 if has_splits else 0
    if any(len(part) < 2 + skip for part in parts):
        loose = next(path for path, part in zip(images, parts, strict=True) if len(part) < 2 + skip)
        raise CohortError(
            f"{name_of(Source(loose, str(loose.relative_to(root))))} has no label",
            where=str(root),
            fix="add labels.csv with the columns path,label or put the images in one folder per class",
        )
    classes = {part[skip] for part in parts}
    patients_alone = look_like_people(classes) or numbered_patients(classes)
    if patients_alone or _look_like_patients(images, ["/".join(part[skip:]) for part in parts]):
        raise CohortError(
            "the folders look like patients, not classes",
            where=str(root),
            fix="add labels.csv with the columns path,label or put the images in one folder per class",
        )
    refuse_classes_in_each([part[skip:] for part in parts], root)
    _refuse_parts(classes, root)

    below_classes = _below_classes(parts, skip)
    subfolders: dict[str, set[str]] = defaultdict(set)
    for part, below in zip(parts, below_classes, strict=True):
        subfolders[part[skip]] |= set(below[:1])
    # A folder below the class counts as a patient, which is the safe interpretation, unless it is the only one in its
    # class.
    patients: set[str] = set()
    for names in subfolders.values():
        if len(names) > 1:
            patients |= names
    sources = []
    for path, part, below in zip(images, parts, below_classes, strict=True):
        class_folder = part[skip]
        patient_folder = below[0] if below and below[0] in patients else ""
        source = Source(
            path,
            str(path.relative_to(root)),
            label=relabel.of_folder(class_folder),
            folder=patient_in("/".join(part)) or patient_folder,
            split=normal_split(part[0]) if has_splits else "",
        )
        sources.append(source)
    return sources


def _below_classes(parts: Sequence[tuple[str, ...]], skip: int) -> list[tuple[str, ...]]:
    """Returns the folders of each image below its class, without one folder around all: CLASS/images/P1.

    Args:
        parts: path of each file relative to the folder of the splits or classes.
        skip: the number of folders above the classes.
    """
    inner = [part[skip + 1 : -1] for part in parts]
    around = {folders[0] for folders in inner if folders}
    deeper = len(around) == 1 and all(len(folders) > 1 for folders in inner)
    return [folders[1:] for folders in inner] if deeper else inner


def _refuse_half_splits(parts: list[tuple[str, ...]], root: Path) -> None:
    """Refuses folders if only some are named like splits, or if they hold no classes: it would be train against test.

    Raises:
        CohortError: two or more folders are named like splits, and images lie right inside, or another folder is not.
    """
    named = sorted({part[0] for part in parts if len(part) > 1 and is_split(part[0])})
    if len({normal_split(name) for name in named}) < 2:
        return
    others = sorted({part[0] for part in parts} - set(named))
    other = next((name for name in others if names_nobody(name)), "another")
    beside = f", but {other} is not" if others else ", and images lie right inside one"
    raise CohortError(
        f"folders are named like splits ({', '.join(named)}){beside}",
        where=str(root),
        fix="put every image below train, val or test and its class, or add labels.csv with the columns path,label",
    )


def _common_words(names: set[str]) -> int:
    """Returns the length of the words with which all names begin: 6 for chest_train and chest_test."""
    length = 0
    for place, marks in enumerate(zip(*names, strict=False)):
        if len({mark.casefold() for mark in marks}) > 1:
            break
        if not marks[0].isalnum():
            length = place + 1
    return length


def _refuse_other_spellings(parts: list[tuple[str, ...]], root: Path) -> None:
    """Refuses splits spelled in other ways: `1_train` beside `2_val`, `tr` beside `te`, `trainA` beside `testA`.

    So are chest_train and chest_test. They would become the classes, or below the classes the patients.

    Raises:
        CohortError: all folders above or below the classes are like this.
    """
    for depth in (0, 1):
        names = {part[depth] for part in parts if len(part) > depth + 1}
        common = _common_words(names)
        splits = {split_like(name[common:]) for name in names}
        if len(splits) < 2 or "" in splits:
            continue
        raise CohortError(
            f"folders are named like splits ({', '.join(sorted(names))}), but in other words",
            where=str(root),
            fix="call them train, val and test, or add labels.csv with the columns path,label,split",
        )


def _refuse_parts(classes: set[str], root: Path) -> None:
    """Refuses classes that are parts of one set: images_001 beside images_002, imagesTr beside imagesTs.

    Large sets come in several archives, with the labels in a table.

    Raises:
        CohortError: there are several folders, and all are named so.
    """
    numbered = [_PART.fullmatch(canonical(name).casefold()) for name in classes]
    of_one_set = all(numbered) and len({found["set"] for found in numbered if found}) == 1
    if len(classes) < 2 or not (of_one_set or all(map(is_image_folder, classes))):
        return
    first, second, *more = sorted(classes)
    shown = f"{first}, {second} and {len(more)} more" if more else f"{first} and {second}"
    raise CohortError(
        f"the folders {shown} are parts of one set, not classes",
        where=str(root),
        fix="name the table of the labels with --labels and its columns, or put the images in one folder per class",
    )


def _look_like_patients(images: list[Path], names: list[str]) -> bool:
    """Returns whether most class folders, and at least three, contain one patient (or one file) each.

    All are different, or have the patient's code in their names: a patient may have a folder for each visit.
    """
    owners: dict[str, set[str]] = defaultdict(set)
    for path, name in zip(images, names, strict=True):
        found = owners[name.partition("/")[0]]
        if len(found) < 2:  # a second patient shows that the folder is a class; reading more headers is not needed
            found |= _owner(path, name)
    single_patients = [min(found) for found in owners.values() if len(found) == 1]
    named = all(patient_in(f"{folder}/") in found for folder, found in owners.items() if len(found) == 1)
    are_most = len(single_patients) >= 3 and 2 * len(single_patients) > len(owners)
    all_different = len(set(single_patients)) == len(single_patients)
    return are_most and (all_different or named)


def _owner(path: Path, name: str) -> set[str]:
    """Returns the patient of a file, as a set.

    A file without one counts as its own patient, an unreadable file as none.
    """
    if format_of(path) != "dicom":
        return {patient_in(name) or name}
    try:
        header = read_header(path)
    except (ScanError, UnneededError):
        return set()
    return {header.patient or header.study or name}
