"""Tells of images that are named after others, as flipped, annotated and augmented copies are: X_flip beside X.

Near-duplicates are found by their pixels, but a flipped or turned copy is none.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import PurePath
from typing import TYPE_CHECKING

from gansweep.cohort.readers.sequences import sequence_in
from gansweep.cohort.sources.words import canonical

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gansweep.cohort.ingest.reading import Picture

__all__ = ["copy_warnings"]

# Tools that augment images add a digest to the name of the original: X_jpg.rf.0a1b2c3d...
_DIGEST = re.compile(r"(?P<image>.+?)[ _.-]+(?:[a-z]+[ _.-]+)?(?=[a-f]*\d)[0-9a-f]{32,}")
_ADDED = re.compile(r"[ _.-]+[^\W\d_]")  # a word: a number may be that of another image
_LAST = re.compile(r"(?P<image>.+?)[ _.-]+(?P<word>[^ _.-]+)")
_SIDES = {"left", "right", "l", "r", "od", "os", "cc", "mlo", "ap", "pa", "lat", "lateral", "frontal"}  # of one patient
_CHANNEL = re.compile(r"000\d")  # of a volume, as nnU-Net numbers them
MOST_COPIES = 10  # of one image; more files with one name and a digest are all the images of a set


def copy_warnings(pictures: Sequence[Picture]) -> list[str]:
    """Returns a warning if images of unknown patients have the name of another with a word, digest or side added.

    So do volumes of several sequences or channels.
    """
    loose = [picture for picture in pictures if not (picture.patient or picture.study)]
    names = {(picture.label, _stem(picture.source.name)) for picture in loose}
    copies = sum(
        any((label, stem[: found.start()]) in names for found in _ADDED.finditer(stem)) for label, stem in names
    )
    digested = Counter((label, found["image"]) for label, stem in names if (found := _DIGEST.fullmatch(stem)))
    copies += sum(count - 1 for count in digested.values() if count <= MOST_COPIES)
    volumes = {_stem(picture.source.name) for picture in loose if picture.volume}
    parts = Counter((label, _whole(stem, volume=stem in volumes)) for label, stem in names)
    copies += sum(count - 1 for (_, whole), count in parts.items() if whole)
    fix = "if they show the same patient, give patient_id in a CSV, or leave them out"
    shown = "X_flip beside X, X_left beside X_right, X_t1 beside X_flair"
    return [f"{copies} files are named after others ({shown}): {fix}"] if copies else []


def _whole(stem: str, *, volume: bool) -> str:
    """Returns a name without its side, sequence or channel, or ""."""
    found = _LAST.fullmatch(stem)
    if found is None:
        return ""
    word = found["word"]
    of_several = word in _SIDES or word == "ct" or bool(sequence_in(word)) or (volume and _CHANNEL.fullmatch(word))
    return found["image"] if of_several else ""


def _stem(name: str) -> str:
    return canonical(PurePath(name).stem.removesuffix(".nii")).casefold()
