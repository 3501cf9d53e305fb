"""Left against right in a head's slice: the mirror line, how far its sides differ, and on which of them calcium is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["asymmetry", "mirror_line", "sides"]


def mirror_line(inside: NDArray[np.bool_]) -> int:
    """Twice the column of the upright line about which what is `inside` `[H, W]` and its mirror image overlap most.

    So the mirror image of column x is the line less x, and the line may lie between two columns. It is looked for
    within a sixteenth of the width of the centre of mass.
    """
    width = inside.shape[1]
    profile = inside.sum(0).astype(np.float64)
    centre = 2 * float((np.arange(width) * profile).sum() / profile.sum())
    lines = range(max(0, round(centre) - width // 8), min(2 * (width - 1), round(centre) + width // 8) + 1)
    return max(lines, key=lambda line: int(np.logical_and(*_mirrored(inside, line)).sum()))


def asymmetry(hu: NDArray[Any], inside: NDArray[np.bool_]) -> float:
    """Mean absolute difference in HU between a slice `[H, W]` and its mirror image, where both are inside.

    A head that is turned is asymmetric by this measure, in real images as in fake ones.
    """
    line = mirror_line(inside)
    within = np.logical_and(*_mirrored(inside, line))
    image, mirror = _mirrored(hu.astype(np.float64), line)
    return float(np.abs(image - mirror)[within].mean()) if within.any() else 0.0


def sides(calcium: NDArray[np.bool_], inside: NDArray[np.bool_]) -> tuple[float, float]:
    """How far pixels of `calcium` `[H, W]` lie from the mirror line, in pixels: |sum|, left negative, and sum of |.|.

    The first is 0 where deposits mirror each other, and as much as the second where all are on one side.
    """
    away = np.nonzero(calcium)[1] - mirror_line(inside) / 2
    return abs(float(away.sum())), float(np.abs(away).sum())


def _mirrored(image: NDArray[Any], line: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """The columns whose mirror images are in the picture, and these."""
    width = image.shape[1]
    part = image[:, max(0, line - width + 1) : min(width - 1, line) + 1]
    return part, part[:, ::-1]
