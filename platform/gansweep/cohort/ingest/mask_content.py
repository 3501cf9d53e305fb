"""Tells of masks that mark nothing, or mark the background instead of the lesion."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gansweep.cohort.ingest.reading import Picture
    from gansweep.cohort.readers.slices import Mask

__all__ = ["Marks", "content_warnings", "marks_of"]

ALONG = 0.9  # share of the outermost pixels from which on a mask marks the edges of its image
SHARE = 0.2  # of the masks that mark something; a single lesion may fill its image

Marks = Literal["", "nothing", "edges", "inside"]


def marks_of(mask: Mask | None) -> Marks:
    """Returns what a mask `[H, W]` marks, "" if there is none."""
    if mask is None:
        return ""
    if not mask.any():
        return "nothing"
    outermost = np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]])
    return "edges" if float(outermost.mean()) >= ALONG else "inside"


def content_warnings(pictures: Sequence[Picture]) -> list[str]:
    """Returns warnings if all masks are empty, or if many mark the edges of their images, as the background does."""
    counts = Counter(picture.marks for picture in pictures if picture.marks)
    drawn = counts["edges"] + counts["inside"]
    if counts and not drawn:
        return [f"all {counts.total()} masks are empty, so no lesion is marked"]
    if counts["edges"] <= SHARE * drawn:
        return []
    edges = f"{counts['edges']} of {drawn} masks mark the edges of their images, as the background does"
    return [f"{edges}: 0 has to be the background, and the lesion above"]
