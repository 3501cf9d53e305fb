"""Which pictures stay, whose they are, and which split each patient goes to."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gansweep.cohort.copies import exact_pairs, without_conflicts, without_copies, without_leaking_copies
from gansweep.cohort.duplicates import join, near_pairs
from gansweep.cohort.identity import identities
from gansweep.cohort.reading import folder_key
from gansweep.cohort.split import SPLITS, check_given, draw_split
from gansweep.errors import CohortError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gansweep.cohort.identity import Pseudonyms
    from gansweep.cohort.reading import Picture
    from gansweep.cohort.settings import IngestSettings
    from gansweep.cohort.sources import Rejected

__all__ = ["Assignment", "assign"]


@dataclass(frozen=True)
class Assignment:
    """What `assign` decided.

    Args:
        pictures: those that stay.
        patients: salted hash of each; an image of an unknown patient has that of what it nearly duplicates.
        splits: of each.
        rejected: what was left out.
        given: whether the split is the user's.
        warnings: what the user should know.
    """

    pictures: list[Picture]
    patients: list[str]
    splits: list[str]
    rejected: list[Rejected]
    given: bool
    warnings: list[str]


def assign(pictures: list[Picture], settings: IngestSettings, pseudonyms: Pseudonyms) -> Assignment:
    """Leaves out images nobody can label, hashes patients, and splits them.

    Raises:
        CohortError: a patient with two labels, too few patients, or a given split that leaks.
    """
    pictures, conflicts = without_conflicts(pictures)
    if not pictures:
        raise CohortError(f"no usable images: {conflicts[0].name}: {conflicts[0].reason}", fix="correct the labels")
    pictures, copies = without_copies(pictures, settings)
    rejected, warnings = conflicts + copies, []
    if conflicts:
        warnings.append(f"{len(conflicts)} images left out: the same image stands under two labels")
    if copies:
        warnings.append(f"{len(copies)} images left out: copies of others of the same patient")
    hashes = [pseudonyms.of(identity) for identity in identities(pictures)]
    if settings.label_per == "patient" and settings.label_from == "labels":
        _refuse_two_labels(pictures, hashes)
        warnings += _shared_folders(pictures, settings)
    given = not settings.resplit and any(picture.source.split for picture in pictures)
    if given:
        check_given([picture.source.split for picture in pictures], hashes)
        pictures, hashes, leaking = without_leaking_copies(pictures, hashes, settings)
        splits, more = _given(pictures, hashes, settings)
        return Assignment(pictures, hashes, splits, rejected + leaking, given, warnings + more)
    splits, hashes, more = _drawn(pictures, hashes, settings)
    return Assignment(pictures, hashes, splits, rejected, given, warnings + more)


def _drawn(
    pictures: list[Picture], hashes: list[str], settings: IngestSettings
) -> tuple[list[str], list[str], list[str]]:
    """(splits, patients, warnings) where the user gives no split."""
    near, alone = _near(pictures, hashes), _alone(pictures)
    groups = join(hashes, _binding(pictures, near))
    bound = [(i, j) for i, j in near if alone[i] or alone[j]]
    others = [(i, j) for i, j in near if not (alone[i] or alone[j])]
    sure = all(pictures[i].patient for pair in others for i in pair)
    warnings = []
    for pairs, whose in (
        (bound, "kept in one split"),
        (others, "of different patients" if sure else "perhaps of different patients"),
    ):
        if pairs:
            warnings.append(f"{len({i for pair in pairs for i in pair})} images have near-duplicates ({whose})")
    volumes = [not (picture.patient or lone) for picture, lone in zip(pictures, alone, strict=True)]
    for unknown, counted in (
        (alone, "every image counts as its own, near-duplicates as one"),
        (volumes, "every volume or study counts as its own; give patient_id in a CSV"),
    ):
        if any(unknown):
            of = "" if all(unknown) else f" for {sum(unknown)} of {len(unknown)} images"
            warnings.append(f"patients are not known{of}: {counted}")
    labels = [picture.label for picture in pictures]
    return draw_split(groups, labels, settings.split, settings.seed), _shared(hashes, groups, alone), warnings


def _alone(pictures: Sequence[Picture]) -> list[bool]:
    """Which images nobody and nothing puts together with others: no patient, no study, no volume."""
    return [not (picture.patient or picture.study or picture.volume) for picture in pictures]


def _binding(pictures: Sequence[Picture], near: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Pairs that no split may part: equal images, and near-duplicates of which one is of nobody known.

    Known patients may look alike; an unknown one who does is taken for the same, lest a copy be tested on.
    """
    alone = _alone(pictures)
    return exact_pairs(pictures) + [(i, j) for i, j in near if alone[i] or alone[j]]


def _shared(hashes: Sequence[str], groups: Sequence[int], alone: Sequence[bool]) -> list[str]:
    """Patients, with each lone image given to the first known patient of its group, or to its first image."""
    first: dict[int, str] = {}
    for index in sorted(range(len(groups)), key=alone.__getitem__):
        first.setdefault(groups[index], hashes[index])
    return [first[group] if lone else value for group, value, lone in zip(groups, hashes, alone, strict=True)]


def _given(pictures: list[Picture], hashes: list[str], settings: IngestSettings) -> tuple[list[str], list[str]]:
    """(splits, warnings) where the user gives one; val or test are drawn from train where it has none."""
    asked = [picture.source.split for picture in pictures]
    near = _near(pictures, hashes)
    splits = _completed(pictures, hashes, _binding(pictures, near), settings)
    warnings = []
    if splits != asked:
        made = " and ".join(sorted(set(splits) - set(asked)))
        warnings.append(f"the split given has no {made}: drawn from its training patients")
    crossing = {i for pair in near for i in pair if splits[pair[0]] != splits[pair[1]]}
    held_out = sum(splits[index] != "train" for index in crossing)
    if held_out:
        warnings.append(f"{held_out} val or test images have a near-duplicate in another split; consider --resplit")
    return splits, warnings


def _near(pictures: Sequence[Picture], hashes: Sequence[str]) -> list[tuple[int, int]]:
    """Near-duplicates of different patients."""
    pairs = near_pairs(np.stack([picture.code for picture in pictures]))
    return [(i, j) for i, j in pairs if hashes[i] != hashes[j]]


def _refuse_two_labels(pictures: Sequence[Picture], hashes: Sequence[str]) -> None:
    labels: dict[str, set[str]] = defaultdict(set)
    for picture, patient in zip(pictures, hashes, strict=True):
        labels[patient].add(picture.label)
    torn = [patient for patient, names in labels.items() if len(names) > 1]
    if torn:
        example = next(p for p, h in zip(pictures, hashes, strict=True) if h == torn[0])
        raise CohortError(
            f"patient {torn[0]} has two labels: {' and '.join(sorted(labels[torn[0]]))} "
            f"({len(torn)} such patients, one of them in {example.source.name})",
            fix="correct the labels, or say that each image has its own with --label-per image",
        )


def _shared_folders(pictures: Sequence[Picture], settings: IngestSettings) -> list[str]:
    """A warning where folders of one name stand under two classes: one patient's, or numbered anew in each."""
    classes: dict[str, set[str]] = defaultdict(set)
    for picture in pictures:
        if picture.patient and picture.patient == folder_key(picture.source, settings):
            classes[picture.source.folder].add(picture.label)
    shared = sum(len(labels) > 1 for labels in classes.values())
    if not shared:
        return []
    hint = "if they are the same, give patient_id in a CSV, or use --label-per image"
    return [f"{shared} folders under different classes have one name and count as different patients; {hint}"]


def _completed(
    pictures: Sequence[Picture], hashes: Sequence[str], binding: Sequence[tuple[int, int]], settings: IngestSettings
) -> list[str]:
    """A given split that lacks val or test gets them from its training patients, none of the `binding` pairs parted."""
    given = [picture.source.split for picture in pictures]
    missing = [name for name, share in zip(SPLITS, settings.split, strict=True) if share and name not in given]
    if not missing:
        return given
    train = [index for index, split in enumerate(given) if split == "train"]
    shares = [s if name in {"train", *missing} else 0.0 for name, s in zip(SPLITS, settings.split, strict=True)]
    fractions = (shares[0] / sum(shares), shares[1] / sum(shares), shares[2] / sum(shares))
    row = {index: number for number, index in enumerate(train)}
    groups = join([hashes[index] for index in train], [(row[i], row[j]) for i, j in binding if i in row and j in row])
    drawn = draw_split(groups, [pictures[index].label for index in train], fractions, settings.seed)
    for index, split in zip(train, drawn, strict=True):
        given[index] = split
    return given
