"""Tells of images that are named after others, as flipped, annotated and augmented copies are: X_flip beside X.

Near-duplicates are found by their pixels, but a flipped or turned copy is none.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import PurePath
from typing import TYPE_CHECKING

from gansweep.cohort.sources.words import canonical

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gansweep.cohort.ingest.reading import Picture

__all__ = ["copy_warnings"]

# Tools that augment images add a digest to the name of the original: X_jpg.rf.0a1b2c3d...
_DIGEST = re.compile(r"(?P<image>.+?)[ _.-]+(?:[a-z]+[ _.-]+)?(?=[a-f]*\d)[0-9a-f]{32,}")
_ADDED = re.compile(r"[ _.-]+[^\W\d_]")  # a word: a number may be that of another image
_SIDE = re.compile(r"[ _.-]+(?:left|right|l|r|od|os|cc|mlo|ap|pa|lat|lateral|frontal)$")  # of one patient
MOST_COPIES = 10  # of one image; more files with one name and a digest are all the images of a set


def copy_warnings(pictures: Sequence[Picture]) -> list[str]:
    """Returns a warning if images of unknown patients have the name of another with a word, digest or side added."""
    loose = [picture for picture in pictures if not (picture.patient or picture.study or picture.volume)]
    names = {(picture.label, _stem(picture.source.name)) for picture in loose}
    copies = sum(
        any((label, stem[: found.start()]) in names for found in _ADDED.finditer(stem)) for label, stem in names
    )
    digested = Counter((label, found["image"]) for label, stem in names if (found := _DIGEST.fullmatch(stem)))
    copies += sum(count - 1 for count in digested.values() if count <= MOST_COPIES)
    sides = Counter((label, stem[: found.start()]) for label, stem in names if (found := _SIDE.search(stem)))
    copies += sum(count - 1 for count in sides.values())
    fix = "if they show the same patient, give patient_id in a CSV, or leave them out"
    return [f"{copies} images are named after others (X_flip beside X, X_left beside X_right): {fix}"] if copies else []


def _stem(name: str) -> str:
    return canonical(PurePath(name).stem).casefold()
