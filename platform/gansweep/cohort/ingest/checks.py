"""Checks a split class by class: with too few images of a class, trials fail or scores are imprecise."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import TYPE_CHECKING
from unicodedata import category

from gansweep.cohort.ingest.split import SPLITS
from gansweep.cohort.sources.words import look_alikes, may_be_missing
from gansweep.errors import CohortError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["check_classes", "check_label_text", "class_table", "class_warnings", "label_warnings", "patients_by_class"]

FEW = 5  # with fewer patients of a class in a split, one patient moves sensitivity by more than 20 %
SHOWN = 5  # the most classes that a warning names

_UNPRINTABLE = {"Cc", "Cs", "Zl", "Zp"}  # control characters, undecodable bytes, separators of lines
_RENAME = "correct it, or rename it with --map"

Counts = dict[str, dict[str, set[str]]]


def patients_by_class(labels: Sequence[str], splits: Sequence[str], patients: Sequence[str]) -> Counts:
    """Returns the patients by class and split: `counts["fahr"]["val"]`, an empty set if there are none."""
    counts: Counts = {}
    for label in sorted(set(labels)):
        counts[label] = {split: set() for split in SPLITS}
    for label, split, patient in zip(labels, splits, patients, strict=True):
        if split in counts[label]:
            counts[label][split].add(patient)
    return counts


def class_table(labels: Sequence[str], splits: Sequence[str], patients: Sequence[str]) -> list[str]:
    """Returns a table with one line per class and one column per split: images, and patients in brackets."""
    images: dict[tuple[str, str], int] = defaultdict(int)
    for label, split in zip(labels, splits, strict=True):
        images[label, split] += 1
    counts = patients_by_class(labels, splits, patients)
    rows = [["class", *SPLITS]]
    for label, parts in counts.items():
        row = [label]
        for split in SPLITS:
            patients_of_split = parts[split]
            cell = f"{images[label, split]} ({len(patients_of_split)})" if patients_of_split else "-"
            row.append(cell)
        rows.append(row)
    name_width, *widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for name, *cells in rows:
        aligned = [cell.rjust(width) for cell, width in zip(cells, widths, strict=True)]
        lines.append("  ".join([name.ljust(name_width), *aligned]))
    return lines


def check_label_text(labels: Iterable[str]) -> None:
    """Checks that labels can be shown and stored.

    Raises:
        CohortError: one contains a control character, cannot be encoded, or climbs out of a folder: `../x`.
    """
    for label in dict.fromkeys(labels):
        if any(category(mark) in _UNPRINTABLE for mark in label):
            shown = label.encode("unicode_escape").decode("ascii", "backslashreplace")
            raise CohortError(f"the label '{shown}' has a character that cannot be shown", fix=_RENAME)
        if ".." in re.split(r"[/\\]", label):
            raise CohortError(f"the label {label!r} looks like a path", fix=_RENAME)


def check_classes(labels: Sequence[str], splits: Sequence[str]) -> None:
    """Checks that each class can be learned and scored.

    Args:
        labels: class name of each image `[N]`.
        splits: split of each image `[N]`.

    Raises:
        CohortError: there are no images in train, or a class has none in train or in val, although other classes have.
    """
    counts = patients_by_class(labels, splits, [""] * len(labels))
    if "train" not in splits:
        there = " and ".join(split for split in SPLITS if split in splits)
        fix = "correct the split, or make a new one with --resplit"
        raise CohortError(f"the split has only {there}, and no train images", fix=fix)
    filled = [split for split in ("train", "val") if split in splits]
    for label, parts in counts.items():
        missing = [split for split in filled if not parts[split]]
        if not missing:
            continue
        fix = "correct the split, make a new one with --resplit, or leave the class out with --classes"
        alike = next((pair for pair in look_alikes(counts) if label in pair), None)
        if alike:
            other = next(name for name in alike if name != label)
            fix = f"it looks like {other!r}: join them with --map '{label}={other}', or {fix}"
        raise CohortError(f"class {label!r} has no {' and no '.join(missing)} images", fix=fix)


def class_warnings(counts: Counts, positive: str) -> list[str]:
    """Returns warnings about what cannot be measured with the sizes of the classes.

    Args:
        counts: result of `patients_by_class`.
        positive: positive class for sensitivity.
    """
    warnings = []
    if not any(parts["test"] for parts in counts.values()):
        warnings.append("no test patients: gansweep confirm needs some")
    elif len(counts) > 1:
        if not counts[positive]["test"]:
            warnings.append(f"no test patients of {positive!r}: gansweep confirm cannot measure sensitivity")
        others = [label for label, parts in counts.items() if not parts["test"] and label != positive]
        if others:
            names = _first_few([repr(label) for label in others], ", ")
            warnings.append(f"no test patients of {names}: gansweep confirm cannot score these classes")
    if len(counts) > 1:
        few = []
        for label, parts in counts.items():
            small = [f"{len(parts[split])} in {split}" for split in ("val", "test") if 0 < len(parts[split]) < FEW]
            few += [f"{label}: {', '.join(small)}"] if small else []
        if few:
            warnings.append(f"few patients, so scores are coarse: {_first_few(few, '; ')}")
        taught = [f"{label}: {len(parts['train'])}" for label, parts in counts.items() if len(parts["train"]) < FEW]
        if taught:
            warnings.append(f"few patients in train, so little can be learned: {_first_few(taught, '; ')}")
    return warnings


def _first_few(items: Sequence[str], separator: str) -> str:
    """Returns the first items, and how many more there are."""
    more = f"{separator}and {len(items) - SHOWN} more classes" if len(items) > SHOWN else ""
    return f"{separator.join(items[:SHOWN])}{more}"


def label_warnings(labels: set[str]) -> list[str]:
    """Returns warnings if class names may mean the same class, or a missing value."""
    warnings = []
    pairs = look_alikes(labels)
    if pairs:
        shown = ", ".join(f"{first!r} and {second!r}" for first, second in pairs[:5])
        more = f" and {len(pairs) - 5} more pairs" if len(pairs) > 5 else ""
        old, new = pairs[0]
        warnings.append(f"class names look alike: {shown}{more}; join them with --map '{old}={new}'")
    doubtful = [label for label in sorted(labels) if may_be_missing(label)]
    if doubtful and len(labels) > 1:
        shown = ", ".join(repr(label) for label in doubtful)
        warnings.append(f"class {shown} may stand for missing labels; --classes takes only the others")
    return warnings + _joint_warnings(labels)


def _joint_warnings(labels: set[str]) -> list[str]:
    """Returns a warning about labels that consist of other labels: ChestX-ray14 has `Effusion|Mass` beside `Mass`."""
    known = {label.casefold() for label in labels}
    parts = {label: [part.strip().casefold() for part in re.split(r"[|;,+&/]", label)] for label in sorted(labels)}
    joint = [label for label, found in parts.items() if len(found) > 1 and not known.isdisjoint(found)]
    if not joint:
        return []
    shown = ", ".join(map(repr, joint[:5])) + (f" and {len(joint) - 5} more" if len(joint) > 5 else "")
    return [f"class {shown} combines other classes, and counts as a class of its own; --classes takes only the others"]
