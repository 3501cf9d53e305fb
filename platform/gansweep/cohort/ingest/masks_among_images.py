"""Tells of masks beside images, and finds those that were taken for images because no name says what they are."""

from __future__ import annotations

import re
from pathlib import PurePath
from typing import TYPE_CHECKING

from gansweep.cohort.sources.naming import name_of
from gansweep.cohort.sources.words import canonical
from gansweep.errors import CohortError

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from gansweep.cohort.ingest.reading import Picture

__all__ = ["beside_warnings", "check_masks", "mask_warnings"]

_SEPARATOR = re.compile(r"[\W_]+")
LEAST = 0.5  # share of the two-valued images with such names from which on they are refused


def check_masks(pictures: Sequence[Picture]) -> None:
    """Refuses two-valued images that are named after other images: `X_drawn.png` beside `X.png`, or the other way.

    Raises:
        CohortError: at least half of the two-valued images are.
    """
    drawn = [picture for picture in pictures if picture.two_valued]
    if not drawn or len(drawn) == len(pictures):
        return
    shown = {_stem(picture) for picture in pictures if not picture.two_valued}
    starts = {name[: found.start()] for name in shown for found in _SEPARATOR.finditer(name)}
    masks = [picture for picture in drawn if _stem(picture) in starts or _is_named_after(_stem(picture), shown)]
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
    found = f"{len(sources)} images have masks that lie beside them (X_mask.png, masks/X.png); these are not images"
    several = sum(bool(source.more_masks) for source in sources)
    return [found + (f"; {several} of them have several masks, of which the union is used" if several else "")]


def _stem(picture: Picture) -> str:
    return canonical(PurePath(picture.source.name).stem.removesuffix(".nii")).casefold()


def _is_named_after(name: str, others: Collection[str]) -> bool:
    """Returns whether a name is another one with something before or after it. A longer number is another number."""
    return any(
        (name[:cut] in others or name[cut:] in others)
        for cut in range(1, len(name))
        if not (name[cut - 1].isdigit() and name[cut].isdigit())
    )
