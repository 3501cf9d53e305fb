"""Which slices of a volume or series go into a cohort.

Slices are labelled as their patient is, so a slice of a diseased patient that shows no disease is a wrong label. Where
masks show the lesion, only slices with it are taken; where the label comes from the mask itself, as many without it are
taken as examples of normal tissue (spread evenly over those that show tissue at all). Volumes without masks give
evenly spaced slices of their middle half. DICOM slices come as files that somebody chose: all are taken.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gansweep.cohort.scan import Slice

__all__ = ["select_slices"]

DEFAULT_SLICES = 8
TISSUE = 0.05  # share of pixels above the volume's dark level in a slice that shows tissue


def select_slices(
    slices: Sequence[Slice], limit: int | None, *, label_from_mask: bool, volume: bool
) -> list[tuple[int, Slice]]:
    """The slices to keep, with their numbers, in order.

    Args:
        slices: of one volume or series, in order.
        limit: at most so many of each kind (with and without lesion).
        label_from_mask: lesion-free slices are wanted too.
        volume: a three-dimensional file, of which nobody has chosen slices yet.
    """
    numbers = list(range(len(slices)))
    lesion = [n for n in numbers if slices[n].mask is not None and slices[n].mask.any()]  # type: ignore[union-attr]
    if not volume or len(slices) == 1:
        kept = numbers if limit is None else _spread(numbers, limit)
    elif label_from_mask:
        clear = [n for n in _with_tissue(slices) if n not in set(lesion)]
        chosen = _spread(lesion, limit)
        kept = sorted(chosen + _spread(clear, len(chosen) or limit or DEFAULT_SLICES))
    elif lesion:
        kept = _spread(lesion, limit)
    else:
        quarter = len(slices) // 4
        kept = _spread(numbers[quarter : len(slices) - quarter], limit or DEFAULT_SLICES)
    return [(n, slices[n]) for n in kept]


def _spread(numbers: list[int], limit: int | None) -> list[int]:
    """At most `limit` of `numbers`, evenly spaced, ends avoided."""
    if limit is None or len(numbers) <= limit:
        return numbers
    places = (np.arange(limit) + 0.5) * len(numbers) / limit
    return [numbers[int(place)] for place in places]


def _with_tissue(slices: Sequence[Slice]) -> list[int]:
    dark = min(float(part.pixels.min()) for part in slices)
    bright = max(float(np.percentile(part.pixels, 99)) for part in slices)
    level = dark + 0.1 * (bright - dark)
    return [n for n, part in enumerate(slices) if float((part.pixels > level).mean()) >= TISSUE]
