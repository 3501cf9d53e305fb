"""Tells of masks that mark nothing or the background, and of those that may belong to other images."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from gansweep.cohort.sources.words import canonical
from gansweep.errors import counted

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from gansweep.cohort.ingest.reading import Picture

__all__ = ["content_warnings", "owner_warnings"]

_NORMAL = {"normal", "healthy", "control", "controls", "notumor", "notumour", "nolesion"}
SHARE = 0.2  # of the masks that mark something; a single lesion may fill its image


def content_warnings(pictures: Sequence[Picture]) -> list[str]:
    """Returns warnings about masks that are all empty, mark the edges, or are of healthy people."""
    counts = Counter(picture.marks for picture in pictures if picture.marks)
    drawn = counts["edges"] + counts["inside"]
    if counts and not drawn:
        return [f"all {counts.total()} masks are empty, so no lesion is marked"]
    warnings = _lesions_of_normal(pictures)
    if counts["edges"] <= SHARE * drawn:
        return warnings
    edges = f"{counts['edges']} of {drawn} masks mark the edges of their images, as the background does"
    return [f"{edges}: 0 has to be the background, and the lesion above", *warnings]


def _lesions_of_normal(pictures: Sequence[Picture]) -> list[str]:
    """Returns a warning for each class that is called normal, but has lesions: its masks may be those of an organ."""
    lesions = Counter(picture.label for picture in pictures if picture.marks in {"edges", "inside"})
    return [
        f"{counted(count, 'image')} of class {label!r} with lesions in the masks: "
        "are these of an organ, or of another class?"
        for label, count in sorted(lesions.items())
        if not _NORMAL.isdisjoint(re.split(r"[\W_]+", label.casefold()))
    ]


def owner_warnings(pictures: Sequence[Picture], patients: Sequence[str]) -> list[str]:
    """Returns warnings about masks of several patients, and about masks in a CSV that have the names of other images.

    Args:
        pictures: images of the cohort `[N]`.
        patients: their patients `[N]`.
    """
    owners: dict[Path, set[str]] = defaultdict(set)
    for picture, patient in zip(pictures, patients, strict=True):
        if picture.source.mask is not None:
            owners[picture.source.mask].add(patient)
    shared = sum(len(found) > 1 for found in owners.values())
    warnings = []
    if shared:
        fix = "if these show one patient, give patient_id in a CSV"
        warnings.append(f"{shared} mask files belong to images that count as different patients; {fix}")
    sources = [picture.source for picture in pictures if picture.source.line and not picture.source.mask_beside]
    named = [(_stem(source.path), _stem(source.mask)) for source in sources if source.mask]
    images = {image for image, _ in named}
    crossed = sum(mask != image and mask in images for image, mask in named)
    if crossed:
        warnings.append(f"{crossed} of {len(named)} masks have the name of another image: are their rows shifted?")
    return warnings


def _stem(path: Path) -> str:
    return canonical(path.name).casefold().partition(".")[0]
