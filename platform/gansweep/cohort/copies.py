"""The same image twice: under two labels, of one patient, or on both sides of a given split."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from gansweep.cohort.sources import Rejected
from gansweep.cohort.split import SPLITS
from gansweep.errors import CohortError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gansweep.cohort.reading import Picture
    from gansweep.cohort.settings import IngestSettings

__all__ = ["exact_pairs", "without_conflicts", "without_copies", "without_leaking_copies"]


def without_conflicts(pictures: list[Picture]) -> tuple[list[Picture], list[Rejected]]:
    """Drops every copy of an image that stands under two labels: nobody here can tell which is right."""
    labels: dict[str, set[str]] = defaultdict(set)
    for picture in pictures:
        if picture.key:
            labels[picture.key].add(picture.label)
    kept, rejected = [], []
    for picture in pictures:
        names = sorted(labels[picture.key])
        if len(names) > 1:
            reason = f"the same image is labelled {' and '.join(names)}"
            rejected.append(Rejected.of(picture.source, reason, bad=False))
        else:
            kept.append(picture)
    return kept, rejected


def without_copies(pictures: list[Picture], settings: IngestSettings) -> tuple[list[Picture], list[Rejected]]:
    """Keeps the first of equal images (masks, pairs) of one patient, or of one file where that is not known.

    Equal files of unknown patients stay, in one split: there, as in a set of synthetic images, they may be findings.
    """
    seen: set[tuple[object, ...]] = set()
    kept, rejected = [], []
    for picture in pictures:
        drawn = [None if part is None else hash(part.tobytes()) for part in (picture.mask, picture.paired)]
        split = "" if settings.resplit else picture.source.split
        identity = (picture.key, picture.patient or picture.source.path, picture.issuer, split, *drawn)
        if picture.key and identity in seen:
            rejected.append(Rejected.of(picture.source, "a copy of an image already taken", bad=False))
        else:
            kept.append(picture)
        seen.add(identity)
    return kept, rejected


def exact_pairs(pictures: Sequence[Picture]) -> list[tuple[int, int]]:
    """Places of equal images, each with the first of its kind."""
    first: dict[str, int] = {}
    pairs = []
    for index, picture in enumerate(pictures):
        if picture.key and first.setdefault(picture.key, index) != index:
            pairs.append((first[picture.key], index))
    return pairs


def without_leaking_copies(
    pictures: list[Picture], hashes: list[str], settings: IngestSettings
) -> tuple[list[Picture], list[str], list[Rejected]]:
    """Refuses, or with `skip_bad` leaves out, training copies of images that the given split tests on."""
    strictest: dict[str, str] = {}
    for picture in pictures:
        held = strictest.get(picture.key, "train")
        strictest[picture.key] = max(held, picture.source.split, key=SPLITS.index)
    leaking = [bool(p.key) and p.source.split != strictest[p.key] for p in pictures]
    if any(leaking) and not settings.skip_bad:
        first = pictures[leaking.index(True)]
        raise CohortError(
            f"{sum(leaking)} images stand in two splits, the first in {first.source.split} and "
            f"{strictest[first.key]}: {first.source.name}",
            fix="split anew with --resplit, or leave the copies out with --skip-bad",
        )
    rejected = [
        Rejected.of(p.source, f"the same image is in {strictest[p.key]}")
        for p, leaks in zip(pictures, leaking, strict=True)
        if leaks
    ]
    kept = [index for index, leaks in enumerate(leaking) if not leaks]
    return [pictures[index] for index in kept], [hashes[index] for index in kept], rejected
