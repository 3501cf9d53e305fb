"""Handles exact copies of an image: with two labels, of one patient, or in two splits."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING

from gansweep.cohort.ingest.leaks import Leak, leak_between
from gansweep.cohort.ingest.split import SPLITS
from gansweep.cohort.sources.source import Rejected

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from gansweep.cohort.ingest.reading import Picture
    from gansweep.cohort.ingest.settings import IngestSettings

__all__ = [
    "conflicting_pairs",
    "exact_pairs",
    "leaking_copies",
    "without_conflicts",
    "without_copies",
    "without_leaking_copies",
]


def without_conflicts(pictures: list[Picture]) -> tuple[list[Picture], list[Rejected]]:
    """Drops all copies of an image that has two labels, because it is unknown which label is right.

    Args:
        pictures: images in any order. An image with an empty `key` has no copies.

    Returns:
        (kept, rejected).
    """
    labels: dict[str, set[str]] = defaultdict(set)
    for picture in pictures:
        if picture.key:
            labels[picture.key].add(picture.label)
    kept = []
    rejected: dict[tuple[Path, str], Rejected] = {}  # a file in two rows is left out once
    for picture in pictures:
        names = sorted(labels[picture.key])
        if len(names) > 1:
            reason = f"the same image is labelled {' and '.join(names)}"
            left_out = replace(Rejected.of(picture.source, reason, bad=False), label="")
            rejected.setdefault((picture.source.path, picture.key), left_out)
        else:
            kept.append(picture)
    return kept, list(rejected.values())


def conflicting_pairs(pictures: Sequence[Picture]) -> list[Leak]:
    """Returns pairs of equal images with different labels: each with the first equal one of every other label.

    Two rows for one file are no pair.
    """
    first: dict[str, dict[str, Picture]] = defaultdict(dict)
    pairs = []
    for picture in pictures:
        if not picture.key:
            continue
        seen = first[picture.key]
        source = picture.source
        for label, other in seen.items():
            if label != picture.label and other.source.path != source.path:
                pairs.append(Leak("pixels", other.source, source, (other.source.split, source.split)))
        seen.setdefault(picture.label, picture)
    return pairs


def without_copies(pictures: list[Picture], settings: IngestSettings) -> tuple[list[Picture], list[Rejected]]:
    """Keeps only the first of several equal images of one patient (or, if the patient is unknown, of one file).

    Images are equal if their pixels, masks and pairs are equal. Equal files of unknown patients are all kept, in one
    split: in a set of synthetic images, for example, copies are a finding.

    Args:
        pictures: images in order.
        settings: options of the ingest, which determine whether a given split counts.

    Returns:
        (kept, rejected).
    """
    seen: set[tuple[object, ...]] = set()
    kept = []
    rejected = []
    for picture in pictures:
        split = "" if settings.resplit else picture.source.split
        identity = (picture.key, picture.patient or picture.source.path, picture.issuer, split, picture.drawn)
        if picture.key and identity in seen:
            rejected.append(Rejected.of(picture.source, "a copy of an image that is already in the cohort", bad=False))
        else:
            kept.append(picture)
        seen.add(identity)
    return kept, rejected


def exact_pairs(pictures: Sequence[Picture]) -> list[tuple[int, int]]:
    """Returns index pairs of equal images: each copy with the first one."""
    first: dict[str, int] = {}
    pairs = []
    for index, picture in enumerate(pictures):
        if picture.key and first.setdefault(picture.key, index) != index:
            pairs.append((first[picture.key], index))
    return pairs


def leaking_copies(pictures: Sequence[Picture]) -> list[Leak]:
    """Returns pairs of equal images in different given splits: each with the first equal one of every other split."""
    first: dict[str, dict[str, Picture]] = defaultdict(dict)
    leaks = []
    for picture in pictures:
        if not picture.key:
            continue
        split = picture.source.split
        seen = first[picture.key]
        leaks += [
            leak_between("pixels", other.source, picture.source) for earlier, other in seen.items() if earlier != split
        ]
        seen.setdefault(split, picture)
    return leaks


def without_leaking_copies(
    pictures: list[Picture], hashes: list[str]
) -> tuple[list[Picture], list[str], list[Rejected]]:
    """Keeps, of equal images in several splits, only those in the strictest split.

    The order of strictness is train, val, test. A copy therefore never stays in training if the image is used for
    testing.

    Args:
        pictures: images with the splits provided by the user.
        hashes: patient hash of each image.

    Returns:
        (kept images, their hashes, rejected).
    """
    strictest: dict[str, str] = {}
    for picture in pictures:
        known = strictest.get(picture.key, "train")
        strictest[picture.key] = max(known, picture.source.split, key=SPLITS.index)
    leaking = [bool(p.key) and p.source.split != strictest[p.key] for p in pictures]
    rejected = [
        Rejected.of(p.source, f"the same image is in {strictest[p.key]}", bad=False)
        for p, leaks in zip(pictures, leaking, strict=True)
        if leaks
    ]
    kept = [index for index, leaks in enumerate(leaking) if not leaks]
    return [pictures[index] for index in kept], [hashes[index] for index in kept], rejected
