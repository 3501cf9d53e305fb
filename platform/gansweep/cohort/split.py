"""Train, validation and test patients: stratified by class, reproducible, and nobody in two of them."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING

import numpy as np

from gansweep.errors import CohortError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["SPLITS", "check_given", "draw_split"]

SPLITS = ("train", "val", "test")


def draw_split(
    groups: Sequence[int],
    labels: Sequence[str],
    fractions: tuple[float, float, float],
    seed: int,
) -> list[str]:
    """A split for every image.

    Groups (patients, with those joined that share an image) are dealt class by class: largest first, equal ones in a
    random order, each to the split that is furthest below its share of the class's images.

    Args:
        groups: `[N]` group of each image.
        labels: `[N]` class names.
        fractions: of train, val and test; a split with 0 stays empty.
        seed: of the order.

    Raises:
        CohortError: a class has fewer groups than there are splits to fill.
    """
    wanted = [name for name, share in zip(SPLITS, fractions, strict=True) if share > 0]
    _check_enough(groups, labels, wanted, fractions)
    rng = np.random.default_rng(seed)
    members: dict[int, list[int]] = defaultdict(list)
    for index, group in enumerate(groups):
        members[group].append(index)
    strata: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for group, indices in members.items():
        strata[tuple(sorted({labels[index] for index in indices}))].append(group)
    chosen = [""] * len(groups)
    for stratum in sorted(strata):
        order = [strata[stratum][place] for place in rng.permutation(len(strata[stratum]))]
        order.sort(key=lambda group: -len(members[group]))
        total, dealt = sum(len(members[group]) for group in order), Counter[str]()
        for position, group in enumerate(order):
            short = _empty_splits(chosen, labels, stratum, wanted)
            left = len(order) - position
            open_splits = short if short and left <= len(short) else wanted
            target = {name: total * fractions[SPLITS.index(name)] - dealt[name] for name in open_splits}
            name = max(open_splits, key=lambda split: target[split])
            dealt[name] += len(members[group])
            for index in members[group]:
                chosen[index] = name
    return chosen


def _empty_splits(
    chosen: Sequence[str], labels: Sequence[str], stratum: tuple[str, ...], wanted: Sequence[str]
) -> list[str]:
    """Splits that have no image yet of some class of the stratum."""
    seen = {(split, label) for split, label in zip(chosen, labels, strict=True) if split}
    return [name for name in wanted if any((name, label) not in seen for label in stratum)]


def _check_enough(
    groups: Sequence[int], labels: Sequence[str], wanted: Sequence[str], fractions: tuple[float, float, float]
) -> None:
    patients: dict[str, set[int]] = defaultdict(set)
    for group, label in zip(groups, labels, strict=True):
        patients[label].add(group)
    for label, members in sorted(patients.items()):
        if len(members) < len(wanted):
            shares = "/".join(f"{share:g}" for share in fractions)
            raise CohortError(
                f"too few patients: class {label!r} has {len(members)}, a split of {shares} needs {len(wanted)}",
                fix="add patients, or leave a split out (--split 0.8,0.2,0)",
            )


def check_given(given: Sequence[str], patients: Sequence[str]) -> None:
    """Refuses a split column that is incomplete, has other words, or puts one patient in two splits.

    Args:
        given: `[N]` splits from the labels.
        patients: `[N]` salted hashes.

    Raises:
        CohortError: naming the first patient's hash.
    """
    redo = "correct the column, or let ingest split anew with --resplit"
    unknown = sorted({split for split in given if split and split not in SPLITS})
    if unknown:
        raise CohortError(f"split {unknown[0]!r} is none of train, val, test", fix=redo)
    empty = sum(not split for split in given)
    if empty:
        raise CohortError(f"the split is empty for {empty} of {len(given)} images", fix=redo)
    seen: dict[str, set[str]] = defaultdict(set)
    for patient, split in zip(patients, given, strict=True):
        seen[patient].add(split)
    leaks = [patient for patient, splits in seen.items() if len(splits) > 1]
    if leaks:
        names = " and ".join(sorted(seen[leaks[0]]))
        more = f" ({len(leaks)} such patients)" if len(leaks) > 1 else ""
        raise CohortError(f"patient {leaks[0]} is in {names}{more}", fix=redo)
