"""Decides which images are kept, which patient each belongs to, and which split each patient goes to."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gansweep.cohort.ingest.copies import (
    conflicting_pairs,
    exact_pairs,
    leaking_copies,
    without_conflicts,
    without_copies,
    without_leaking_copies,
)
from gansweep.cohort.ingest.duplicates import join, near_pairs
from gansweep.cohort.ingest.identity import identities, rounded, spellings
from gansweep.cohort.ingest.leaks import Leak, leak_error, list_pairs
from gansweep.cohort.ingest.reading import folder_key
from gansweep.cohort.ingest.split import SPLITS, check_given, draw_split, missing_splits
from gansweep.cohort.sources.naming import name_of
from gansweep.errors import CohortError, counted

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from gansweep.cohort.ingest.duplicates import Pairs
    from gansweep.cohort.ingest.identity import Pseudonyms
    from gansweep.cohort.ingest.reading import Picture
    from gansweep.cohort.ingest.settings import IngestSettings
    from gansweep.cohort.sources.source import Rejected

__all__ = ["Assignment", "assign", "codes_used", "folders_shared_by_classes"]


@dataclass(frozen=True)
class Assignment:
    """Result of `assign`.

    Args:
        pictures: images that are kept.
        patients: salted patient hash of each image. An image of an unknown patient takes the hash of the image that it
            nearly duplicates.
        splits: split of each image.
        rejected: images left out.
        given: whether the user provided the split.
        warnings: warnings for the user.
        pairs: images that are, or look, the same, those that were left out because their labels differ included.
    """

    pictures: list[Picture]
    patients: list[str]
    splits: list[str]
    rejected: list[Rejected]
    given: bool
    warnings: list[str]
    pairs: list[Leak]


def assign(pictures: list[Picture], settings: IngestSettings, pseudonyms: Pseudonyms, out: Path) -> Assignment:
    """Leaves out copies and images with conflicting labels, hashes the patients, and splits them.

    Args:
        pictures: all readable images.
        settings: options of the ingest.
        pseudonyms: hashes patient identifiers.
        out: the cohort's folder. Pairs that leak are listed in a file next to it.

    Raises:
        CohortError: a patient has two labels, there are too few patients, or a given split leaks.
    """
    labels = {picture.label for picture in pictures}
    contradictions = conflicting_pairs(pictures)
    pictures, conflicts = without_conflicts(pictures)
    gone = sorted(labels - {picture.label for picture in pictures})
    if not pictures:
        first = name_of(conflicts[0])
        listed = f" (all pairs: {list_pairs(contradictions, out).name})" if contradictions else ""
        raise CohortError(f"no usable images: {first}: {conflicts[0].reason}{listed}", fix="correct the labels")
    pictures, copies = without_copies(pictures, settings)
    rejected = conflicts + copies

    warnings = []
    if conflicts:
        lost = f", so no image of {' and '.join(map(repr, gone))} is left" if gone else ""
        warnings.append(f"{counted(len(conflicts), 'image')} left out: the same image has two labels{lost}")
    if copies:
        warnings.append(f"{counted(len(copies), 'image')} left out: copies of other images of the same patient")

    hashes = [pseudonyms.of(identity) for identity in identities(pictures)]
    joined = spellings(pictures)
    if joined:
        warnings.append(
            f"{joined} patients have identifiers that differ only in case, leading zeros, '.0' or a dash: each is one"
        )
    short = rounded(pictures)
    if short:
        warnings.append(
            f"{short} patients have identifiers like 1.2E+05, which a spreadsheet has rounded: each may be several "
            "patients; write the column as text"
        )
    warnings += codes_used(pictures)
    if settings.label_per == "patient" and settings.label_from == "labels":
        _refuse_two_labels(pictures, hashes)
    warnings += folders_shared_by_classes(pictures, settings)

    given = not settings.resplit and any(picture.source.split for picture in pictures)
    if given:
        check_given([picture.source.split for picture in pictures], hashes)
        leaks = leaking_copies(pictures)
        if leaks and not settings.drop_leaks:
            raise leak_error(leaks, out)
        pictures, hashes, leaking = without_leaking_copies(pictures, hashes)
        rejected = rejected + leaking
    near = near_pairs(np.stack([picture.code for picture in pictures]), hashes)
    if given:
        splits, more = _use_given_split(pictures, hashes, near, settings)
    else:
        splits, hashes, more = _draw_new_split(pictures, hashes, near, settings)
    more += _near_other_classes(pictures, near) + _unknown_patients(pictures, given=given)
    pairs = contradictions + _pairs(pictures, splits, near)
    return Assignment(pictures, hashes, splits, rejected, given, warnings + more, pairs)


def codes_used(pictures: Sequence[Picture]) -> list[str]:
    """Returns how many images have a patient by a code in their names that is known from a public dataset."""
    counts = Counter(picture.coded for picture in pictures if picture.coded)
    return [
        f"the patients of {counted(count, 'image')} are taken from their names, as {name} has them; "
        "patient_id in a CSV has priority"
        for name, count in counts.items()
    ]


def _pairs(pictures: Sequence[Picture], splits: Sequence[str], near: Pairs) -> list[Leak]:
    """All pairs of equal pictures and near-duplicates."""
    equal = exact_pairs(pictures)
    known = set(equal)
    alike = [(int(i), int(j)) for i, j in near]
    kinds = [("pixels", pair) for pair in equal] + [("near", pair) for pair in alike if pair not in known]
    return [
        Leak(kind, pictures[i].source, pictures[j].source, (splits[i], splits[j]), (i, j)) for kind, (i, j) in kinds
    ]


def _unknown_patients(pictures: Sequence[Picture], *, given: bool) -> list[str]:
    """Returns a warning if some images, volumes or studies count as separate patients."""
    isolated = _isolated(pictures)
    volumes = [not (picture.patient or alone) for picture, alone in zip(pictures, isolated, strict=True)]
    warnings = []
    for unknown, instead in (
        (isolated, f"every image counts as a patient of its own{'' if given else ', near-duplicates as one'}"),
        (volumes, "every volume or study counts as a patient of its own; give patient_id in a CSV"),
    ):
        if any(unknown):
            of = "" if all(unknown) else f" for {sum(unknown)} of {len(unknown)} images"
            warnings.append(f"patients are not known{of}: {instead}")
    return warnings


def _draw_new_split(
    pictures: list[Picture], hashes: list[str], near: Pairs, settings: IngestSettings
) -> tuple[list[str], list[str], list[str]]:
    """Returns (splits, patients, warnings) if the user provides no split."""
    isolated = _isolated(pictures)
    groups = join(hashes, _inseparable_pairs(pictures, near))

    loose = np.array(isolated)[near].any(axis=1)
    joined = np.unique(near[loose])
    separate = np.unique(near[~loose])
    patients_known = all(pictures[i].patient for i in separate)
    warnings = []
    for images, remark in (
        (joined, "kept in one split"),
        (separate, "of different patients" if patients_known else "perhaps of different patients"),
    ):
        if len(images):
            warnings.append(f"{len(images)} images have near-duplicates ({remark})")

    labels = [picture.label for picture in pictures]
    splits = draw_split(groups, labels, settings.fractions, settings.seed_used)
    return splits, _adopt_patients(hashes, groups, isolated), warnings


def _near_other_classes(pictures: Sequence[Picture], near: Pairs) -> list[str]:
    """Returns a warning if images of unknown patients nearly duplicate some of another class."""
    loose = np.array(_isolated(pictures))[near].any(axis=1)
    labels = np.array([picture.label for picture in pictures])[near]
    doubtful = np.unique(near[loose & (labels[:, 0] != labels[:, 1])])
    told = f"{len(doubtful)} images have near-duplicates of another class (duplicates.csv): a label may be wrong"
    return [told] if len(doubtful) else []


def _isolated(pictures: Sequence[Picture]) -> list[bool]:
    """Returns which images are not linked to any other: no patient, no study, no volume."""
    return [not (picture.patient or picture.study or picture.volume) for picture in pictures]


def _inseparable_pairs(pictures: Sequence[Picture], near: Pairs) -> list[tuple[int, int]]:
    """Returns pairs that must be in the same split: equal images, and near-duplicates of an isolated picture.

    Two known patients may look alike. A near-duplicate of unknown origin is assumed to be the same patient, so that no
    copy of a training image is used for testing.
    """
    loose = np.array(_isolated(pictures))[near].any(axis=1)
    return exact_pairs(pictures) + [(int(i), int(j)) for i, j in near[loose]]


def _adopt_patients(hashes: Sequence[str], groups: Sequence[int], isolated: Sequence[bool]) -> list[str]:
    """Returns patient hashes in which each isolated image has the hash of its group.

    A group's hash is that of its first image with a known patient, or else of its first image.
    """
    known: dict[int, str] = {}
    unknown: dict[int, str] = {}
    for group, value, alone in zip(groups, hashes, isolated, strict=True):
        (unknown if alone else known).setdefault(group, value)
    hash_of_group = unknown | known
    adopted = list(hashes)
    for index, alone in enumerate(isolated):
        if alone:
            adopted[index] = hash_of_group[groups[index]]
    return adopted


def _use_given_split(
    pictures: list[Picture], hashes: list[str], near: Pairs, settings: IngestSettings
) -> tuple[list[str], list[str]]:
    """Returns (splits, warnings) if the user provides a split. A missing val or test split is drawn from train."""
    given = [picture.source.split for picture in pictures]
    splits = _complete_split(pictures, hashes, _inseparable_pairs(pictures, near), settings)

    warnings = []
    if splits != given:
        added = " and ".join(sorted(set(splits) - set(given)))
        warnings.append(f"the given split has no {added}: drawn from its training patients")
    part = np.array([SPLITS.index(split) for split in splits])
    crossing = np.unique(near[part[near[:, 0]] != part[near[:, 1]]])
    held_out = sum(splits[index] != "train" for index in crossing)
    if held_out:
        warnings.append(f"{held_out} val or test images have a near-duplicate in another split; consider --resplit")
    return splits, warnings


def _refuse_two_labels(pictures: Sequence[Picture], hashes: Sequence[str]) -> None:
    labels: dict[str, set[str]] = defaultdict(set)
    for picture, patient in zip(pictures, hashes, strict=True):
        labels[patient].add(picture.label)
    conflicting = [patient for patient, names in labels.items() if len(names) > 1]
    if conflicting:
        first = conflicting[0]
        example = next(p.source for p, h in zip(pictures, hashes, strict=True) if h == first)
        shown = name_of(example, labels[first])
        raise CohortError(
            f"patient {first} has two labels: {' and '.join(sorted(labels[first]))} "
            f"({counted(len(conflicting), 'such patient')}, one of them in {shown})",
            fix="correct the labels, or say that each image has its own with --label-per image",
        )


def folders_shared_by_classes(pictures: Sequence[Picture], settings: IngestSettings) -> list[str]:
    """Returns a warning if two classes have a folder with the same name.

    It may be one patient with images in both classes, or the folders may be numbered from 1 in each class. Or the
    folders are no patients.
    """
    if settings.label_per == "image" or settings.label_from == "mask":
        return []
    classes: dict[str, set[str]] = defaultdict(set)
    for picture in pictures:
        if picture.patient and picture.patient == folder_key(picture.source, settings):
            classes[picture.source.folder].add(picture.label)
    shared = sum(len(labels) > 1 for labels in classes.values())
    if not shared:
        return []
    hint = "if they are the same, or are visits, sides or sites, give patient_id in a CSV, or use --label-per image"
    return [f"{shared} folder names occur under several classes and count as different patients; {hint}"]


def _complete_split(
    pictures: Sequence[Picture], hashes: Sequence[str], inseparable: Sequence[tuple[int, int]], settings: IngestSettings
) -> list[str]:
    """Returns the given split, with a missing val or test split drawn from its training patients.

    Both images of an `inseparable` pair are always in the same split.
    """
    given = [picture.source.split for picture in pictures]
    missing = missing_splits(given, settings.fractions)
    if not missing:
        return given

    # Divide the training images in the proportions that the settings give to train and the missing splits.
    train = [index for index, split in enumerate(given) if split == "train"]
    parts = dict(zip(SPLITS, settings.fractions, strict=True))
    for name in SPLITS:
        if name != "train" and name not in missing:
            parts[name] = 0.0
    total = sum(parts.values())
    fractions = (parts["train"] / total, parts["val"] / total, parts["test"] / total)
    row = {index: number for number, index in enumerate(train)}
    pairs = [(row[i], row[j]) for i, j in inseparable if i in row and j in row]
    groups = join([hashes[index] for index in train], pairs)
    drawn = draw_split(groups, [pictures[index].label for index in train], fractions, settings.seed_used)
    for index, split in zip(train, drawn, strict=True):
        given[index] = split
    return given
