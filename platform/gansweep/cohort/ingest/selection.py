"""Selects the slices of a volume or series that become part of a cohort.

A slice has the label of its patient, so a slice of a diseased patient that shows no disease has a wrong label:

- With masks, only slices with a lesion are selected.
- If the label comes from the mask, equally many slices without a lesion are added, evenly spaced among those that show
  tissue.
- A volume without masks gives evenly spaced slices from its middle half.
- DICOM slices are files that somebody has already chosen, perhaps one row of a CSV each, so all are selected.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gansweep.cohort.readers.slices import Slice

__all__ = ["DEFAULT_SLICES", "Chosen", "Rule", "select_slices"]

DEFAULT_SLICES = 8  # from a volume without masks
TISSUE = 0.05  # a slice shows tissue if at least this fraction of its pixels is above the volume's dark level


Rule = Literal["all", "middle", "lesion", "both"]
"""What is selected: all slices, those of the middle half, those with a lesion, or as many with as without one."""


class Chosen(NamedTuple):
    """How the slices of one file were selected.

    Args:
        slices: the number of its slices.
        taken: how many of them were selected.
        rule: what was selected.
    """

    slices: int
    taken: int
    rule: Rule


def select_slices(
    slices: Sequence[Slice], limit: int | None, *, label_from_mask: bool, volume: bool
) -> tuple[list[tuple[int, Slice]], Rule]:
    """Returns the selected slices in order, each with its index, and the rule that selected them.

    Args:
        slices: slices of one volume or series, in order.
        limit: maximum number of slices of each kind (with and without a lesion); None: the defaults of this module.
        label_from_mask: whether slices without a lesion are selected too.
        volume: whether the slices come from a three-dimensional file, from which nobody has chosen yet.
    """
    numbers = list(range(len(slices)))
    lesion = [n for n in numbers if slices[n].mask is not None and slices[n].mask.any()]  # type: ignore[union-attr]
    if not volume or len(slices) == 1:
        rule: Rule = "all"
        kept = _spread(numbers, limit)
    elif label_from_mask:
        rule = "both"
        clear = [n for n in _with_tissue(slices) if n not in set(lesion)]
        chosen = _spread(lesion, limit)
        kept = sorted(chosen + _spread(clear, len(chosen) or limit or DEFAULT_SLICES))
    elif lesion:
        rule = "lesion"
        kept = _spread(lesion, limit)
    else:
        rule = "middle"
        quarter = len(slices) // 4
        kept = _spread(numbers[quarter : len(slices) - quarter], limit or DEFAULT_SLICES)
    return [(n, slices[n]) for n in kept], rule


def _spread(numbers: list[int], limit: int | None) -> list[int]:
    """Returns at most `limit` of `numbers`, evenly spaced, without the ends."""
    if limit is None or len(numbers) <= limit:
        return numbers
    positions = (np.arange(limit) + 0.5) * len(numbers) / limit
    return [numbers[int(position)] for position in positions]


def _with_tissue(slices: Sequence[Slice]) -> list[int]:
    """Returns indices of the slices that show tissue.

    The dark level is a tenth of the way to the brightest percentile.
    """
    dark = min(float(part.pixels.min()) for part in slices)
    bright = max(float(np.percentile(part.pixels, 99)) for part in slices)
    level = dark + 0.1 * (bright - dark)
    return [n for n, part in enumerate(slices) if float((part.pixels > level).mean()) >= TISSUE]
