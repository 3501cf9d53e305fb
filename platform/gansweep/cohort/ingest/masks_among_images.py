"""Tells of masks beside images, and finds those that were taken for images because no name says what they are."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import PurePath
from typing import TYPE_CHECKING

from gansweep.cohort.sources.naming import name_of
from gansweep.cohort.sources.words import canonical
from gansweep.errors import CohortError, counted

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from pathlib import Path

    from gansweep.cohort.ingest.reading import Picture

__all__ = ["beside_warnings", "check_masks", "mask_warnings"]

_SEPARATOR = re.compile(r"[\W_]+")
LEAST_MASKS = 3  # in a folder of masks
LEAST = 0.5  # share of the two-valued images with such names from which on they are refused


def check_masks(pictures: Sequence[Picture]) -> None:
    """Refuses two-valued images that are named after other images: `X_drawn.png` beside `X.png`, or the other way.

    So are those of one name with another image beside them, and folders of them with the names of images in another
    folder: `lung masks/X.png` beside `images/X.png`.

    Raises:
        CohortError: at least half of the two-valued images are.
    """
    drawn = [picture for picture in pictures if picture.two_valued]
    if not drawn or len(drawn) == len(pictures):
        return
    folders = _folders_of_masks(pictures)
    places = {place for picture in pictures if not picture.two_valued for place in _places(picture, in_class=True)}
    shown = {_stem(picture) for picture in pictures if not picture.two_valued}
    starts = {name[: found.start()] for name in shown for found in _SEPARATOR.finditer(name)}
    masks = [
        picture
        for picture in drawn
        if _stem(picture) in starts
        or not places.isdisjoint(_places(picture, in_class=picture.source.path.parent in folders))
        or _is_named_after(_stem(picture), shown)
    ]
    if len(masks) < LEAST * len(drawn):
        return
    first = masks[0].source
    name = name_of(first, {picture.label for picture in pictures})
    raise CohortError(
        f"{len(masks)} of {len(pictures)} images have only two values and the names of others, as masks do ({name})",
        fix="call them X_mask.png, put them in a folder masks, or name them in a column 'mask' of a labels CSV",
    )


def mask_warnings(pictures: Sequence[Picture]) -> list[str]:
    """Returns a warning if some images have only two values, or all and they have masks: the columns may be swapped."""
    drawn = sum(picture.two_valued for picture in pictures)
    doubtful = 0 < drawn < len(pictures) or any(picture.two_valued and picture.marks for picture in pictures)
    return [f"{drawn} of {len(pictures)} images have only two values, as masks do"] if doubtful else []


def beside_warnings(pictures: Sequence[Picture]) -> list[str]:
    """Returns how many images have masks that were found by name, and how many of these have several.

    Several may be lesions of one image, or one lesion drawn by several readers. Their union is used either way, so the
    user has to know of it.
    """
    sources = [picture.source for picture in pictures if picture.source.mask_beside]
    if not sources:
        return []
    images = counted(len(sources), "image has", "images have")
    found = f"{images} masks that lie beside them (X_mask.png, masks/X.png); these are not images"
    several = sum(bool(source.more_masks) for source in sources)
    return [found + (f"; {several} of them have several masks, of which the union is used" if several else "")]


def _folders_of_masks(pictures: Sequence[Picture]) -> set[Path]:
    """Returns the folders of several images that all have two values."""
    counts = Counter(picture.source.path.parent for picture in pictures)
    drawn = Counter(picture.source.path.parent for picture in pictures if picture.two_valued)
    return {folder for folder, count in drawn.items() if count == counts[folder] >= LEAST_MASKS}


def _places(picture: Picture, *, in_class: bool) -> list[tuple[object, ...]]:
    """Returns the name of an image with its folder, and with its class and its inner folders if `in_class` says so."""
    stem = _stem(picture)
    folder = picture.source.path.parent
    inner = PurePath(picture.source.name).parts[1:-1]
    of_class = [(picture.label, stem), *([(*inner, stem)] if inner else [])]
    return [(folder, stem), *(of_class if in_class else [])]


def _stem(picture: Picture) -> str:
    return canonical(PurePath(picture.source.name).stem.removesuffix(".nii")).casefold()


def _is_named_after(name: str, others: Collection[str]) -> bool:
    """Returns whether a name is another one with something before or after it. A longer number is another number."""
    return any(
        (name[:cut] in others or name[cut:] in others)
        for cut in range(1, len(name))
        if not (name[cut - 1].isdigit() and name[cut].isdigit())
    )
