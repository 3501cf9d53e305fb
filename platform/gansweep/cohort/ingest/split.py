"""Splits patients into train, val and test: stratified by class, reproducible, no patient in two splits."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING

import numpy as np

from gansweep.cohort.sources.hiding import names_nobody
from gansweep.errors import CohortError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["SPLITS", "check_given", "draw_split", "missing_splits"]

SPLITS = ("train", "val", "test")


def draw_split(
    groups: Sequence[int],
    labels: Sequence[str],
    fractions: tuple[float, float, float],
    seed: int,
) -> list[str]:
    """Draws a split for every image.

    A group is a patient, or several patients that share an image. Groups are assigned class by class, largest first and
    in random order among equal sizes. Each goes to the split that lacks most images of the class.

    Args:
        groups: group number of each image `[N]`.
        labels: class name of each image `[N]`.
        fractions: fractions of train, val and test. A split with fraction 0 stays empty.
        seed: seed of the random order.

    Returns:
        The split of each image `[N]`.

    Raises:
        CohortError: a class has fewer groups than there are splits to fill.
    """
    wanted = [name for name, fraction in zip(SPLITS, fractions, strict=True) if fraction > 0]
    _check_enough(groups, labels, wanted, fractions)

    rng = np.random.default_rng(seed)
    members: dict[int, list[int]] = defaultdict(list)
    for index, group in enumerate(groups):
        members[group].append(index)
    # A patient may have images of several classes; such patients form a stratum of their own.
    strata: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for group, indices in members.items():
        classes = {labels[index] for index in indices}
        strata[tuple(sorted(classes))].append(group)

    chosen = [""] * len(groups)
    seen: set[tuple[str, str]] = set()  # splits and the classes that they have
    for stratum in sorted(strata):
        order = [strata[stratum][index] for index in rng.permutation(len(strata[stratum]))]
        order.sort(key=lambda group: -len(members[group]))
        total = sum(len(members[group]) for group in order)
        assigned = Counter[str]()
        for position, group in enumerate(order):
            # The last groups go to splits that have no image of the class yet.
            empty = _splits_without(seen, stratum, wanted)
            left = len(order) - position
            candidates = empty if empty and left <= len(empty) else wanted
            missing = {name: total * fractions[SPLITS.index(name)] - assigned[name] for name in candidates}
            name = max(candidates, key=missing.__getitem__)
            assigned[name] += len(members[group])
            for index in members[group]:
                chosen[index] = name
                seen.add((name, labels[index]))
    return chosen


def _splits_without(seen: set[tuple[str, str]], stratum: tuple[str, ...], wanted: Sequence[str]) -> list[str]:
    """Returns the splits that have no image yet of at least one class of the stratum."""
    found = []
    for split in wanted:
        has_all_classes = all((split, label) in seen for label in stratum)
        if not has_all_classes:
            found.append(split)
    return found


def _check_enough(
    groups: Sequence[int], labels: Sequence[str], wanted: Sequence[str], fractions: tuple[float, float, float]
) -> None:
    patients: dict[str, set[int]] = defaultdict(set)
    for group, label in zip(groups, labels, strict=True):
        patients[label].add(group)
    for label, members in sorted(patients.items()):
        if len(members) < len(wanted):
            ratio = "/".join(f"{fraction:g}" for fraction in fractions)
            raise CohortError(
                f"too few patients: class {label!r} has {len(members)}, a split of {ratio} needs {len(wanted)}",
                fix="add patients, or leave a split out (--split 0.8,0.2,0)",
            )


def missing_splits(given: Sequence[str], fractions: tuple[float, float, float]) -> list[str]:
    """Returns the splits that are wanted and have no images in the split that the user provided."""
    return [name for name, fraction in zip(SPLITS, fractions, strict=True) if fraction > 0 and name not in given]


def check_given(given: Sequence[str], patients: Sequence[str], lines: Sequence[int] = ()) -> None:
    """Checks the split that the user provided.

    Args:
        given: splits from the labels CSV `[N]`.
        patients: salted patient hashes `[N]`.
        lines: lines of the CSV `[N]`; empty: not known.

    Raises:
        CohortError: a split is empty or unknown, or a patient is in two splits (the message shows the patient's hash).
    """
    fix = "correct the column, or let ingest make a new split with --resplit"
    unknown = next((index for index, split in enumerate(given) if split and split not in SPLITS), None)
    if unknown is not None:
        # If the cells of a row are shifted, this one may name the patient.
        word = f" {given[unknown]!r}" if names_nobody(given[unknown]) else ""
        place = f" on line {lines[unknown]}" if lines else ""
        raise CohortError(f"split{word}{place} is not one of train, val, test", fix=fix)
    empty = sum(not split for split in given)
    if empty:
        raise CohortError(f"the split is empty for {empty} of {len(given)} images", fix=fix)
    seen: dict[str, set[str]] = defaultdict(set)
    for patient, split in zip(patients, given, strict=True):
        seen[patient].add(split)
    leaks = [patient for patient, splits in seen.items() if len(splits) > 1]
    if leaks:
        names = " and ".join(sorted(seen[leaks[0]]))
        more = f" ({len(leaks)} such patients)" if len(leaks) > 1 else ""
        raise CohortError(f"patient {leaks[0]} is in {names}{more}", fix=fix)
