"""Nearest neighbours: distances between images, in pixels or in features, and by patient.

Images of one patient are alike. A neighbour is therefore a patient, and its distance is that of its nearest image.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = [
    "PATIENTS_AROUND",
    "Nearest",
    "blocks_of_rows",
    "by_patient",
    "columns_of",
    "drawn_patients",
    "lowest_by_patient",
    "nearness",
    "pixel_distances",
    "small_images",
]

SIDE = 32
"""Side in pixels to which images are averaged, which keeps the anatomy and removes the grain.

At 64 pixels, a copy with noise of a twentieth of the grey range was distinguished from new head CT in 7 of 100 cases,
at 32 in all.
"""
SHIFT = 2
"""Maximum shift of a copy in pixels of the small image: a sixteenth of its width."""
PATIENTS_AROUND = 5
"""Number of patients after the nearest one with which `nearness` compares it."""


MOST_NEAREST = 64
"""Number of nearest patients stored for each image. The probability that a random half of all patients has none of them
is 2^-64."""
BLOCK_VALUES = 2**23
"""Maximum number of distances in memory at once."""


@dataclass(frozen=True)
class Nearest:
    """The nearest patients of some images.

    Args:
        distances: distances in ascending order, `[n, k]`; k is `MOST_NEAREST`, or the number of patients if lower.
        columns: which patients these are, `[n, k]`.
        patients: number of patients.
    """

    distances: Tensor
    columns: Tensor
    patients: int

    @classmethod
    def of(cls, distances: Tensor) -> Nearest:
        """Selects the nearest of all patients.

        Args:
            distances: distances to all patients, `[n, p]`.
        """
        count = distances.shape[1]
        values, columns = distances.topk(min(MOST_NEAREST, count), largest=False)
        return cls(values, columns, count)

    @classmethod
    def joined(cls, parts: Sequence[Nearest]) -> Nearest:
        """Concatenates the rows of several parts."""
        distances = torch.cat([part.distances for part in parts])
        columns = torch.cat([part.columns for part in parts])
        return cls(distances, columns, parts[0].patients)

    def among(self, chosen: Tensor, rows: Tensor) -> Tensor:
        """Returns distances of some rows to the nearest of the chosen patients; inf if none of the stored is chosen."""
        is_chosen = torch.zeros(self.patients, dtype=torch.bool)
        is_chosen[chosen] = True
        distances = torch.where(is_chosen[self.columns[rows]], self.distances[rows], torch.inf)
        return distances.min(1).values


def blocks_of_rows(rows: int, columns: int) -> Iterator[slice]:
    """Yields slices of rows, each with at most `BLOCK_VALUES` values."""
    size = max(1, BLOCK_VALUES // max(columns, 1))
    for start in range(0, rows, size):
        yield slice(start, min(start + size, rows))


def pixel_distances(images: Tensor, others: Tensor) -> Tensor:
    """Returns root mean squared differences of grey values, minimised over left-right flips and small shifts.

    Both sets are first averaged down to 32 pixels. A generator trained with flipped and shifted images also copies
    these, so all are searched: two flips times 25 shifts of up to a sixteenth of the width. Every comparison leaves out
    the border that a shift can move out of sight.

    Range [0, 2], in units of images in [-1, 1]; 0: equal inside the border.

    Args:
        images: images `[n, C, H, W]` in [-1, 1], with a side of at least 8 pixels.
        others: images `[m, C, H, W]`.

    Returns:
        Distances `[n, m]` in float32.
    """
    small = small_images(images)
    fixed = small_images(others)
    side = fixed.shape[-1] - 2 * SHIFT
    inside = fixed[..., SHIFT : SHIFT + side, SHIFT : SHIFT + side].flatten(1)
    least = torch.full((len(small), len(inside)), torch.inf)
    for turned in (small, small.flip(-1)):
        for top in range(2 * SHIFT + 1):
            for left in range(2 * SHIFT + 1):
                moved = turned[..., top : top + side, left : left + side].flatten(1)
                torch.minimum(least, torch.cdist(moved, inside), out=least)
    return least / math.sqrt(inside.shape[1])


def by_patient(distances: Tensor, patients: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Returns distances to patients, each the distance to the patient's nearest image.

    Args:
        distances: distances to images `[n, m]`.
        patients: patients of the images `[m]`.

    Returns:
        Distances `[n, p]`, and the column of each image's patient `[m]`; columns are in order of first appearance.
    """
    column = columns_of(patients)
    least = torch.full((len(distances), int(column.max()) + 1), torch.inf, dtype=distances.dtype)
    return least.scatter_reduce(1, column.expand(len(distances), -1), distances, "amin"), column


def lowest_by_patient(values: Tensor, patients: Sequence[str]) -> Tensor:
    """Returns each patient's lowest value `[p]` of `values` `[n]`."""
    return by_patient(values[None], patients)[0][0]


def nearness(distances: Tensor, around: int) -> Tensor:
    """Returns the distance to the nearest patient divided by the mean distance to the next ones.

    Range [0, 1]. It is near 0 for a copy. It is near 1 if no patient is nearer than the others, however near or far all
    of them are, as for a blurred mean image or noise. This is the adaptive threshold of Carlini et al. 2023,
    "Extracting Training Data from Diffusion Models" (section 5.1), with patients in place of images and without the
    nearest one in the mean.

    Args:
        distances: distances to patients `[n, p]`, p > `around`; inf for a patient that is left out.
        around: number of next patients.

    Returns:
        Values `[n]`; 1 if all distances are zero.
    """
    ordered = distances.topk(min(around + 1, distances.shape[1]), largest=False).values
    others = ordered[:, 1 : around + 1].mean(1)
    return torch.where(others > 0, ordered[:, 0] / others, torch.ones_like(others))


def drawn_patients(patients: Sequence[str], most: int, seed: int) -> Tensor:
    """Returns the rows of all images, or those of randomly drawn patients who together have at least `most` images."""
    names = list(dict.fromkeys(patients))
    order = torch.randperm(len(names), generator=torch.Generator().manual_seed(seed)).tolist()
    place = {names[index]: rank for rank, index in enumerate(order)}
    rows = sorted(range(len(patients)), key=lambda row: place[patients[row]])
    whole = {patients[row] for row in rows[:most]}
    return torch.tensor([row for row in range(len(patients)) if patients[row] in whole], dtype=torch.int64)


def small_images(images: Tensor) -> Tensor:
    """Returns the images averaged down to at most 32 pixels a side, for `pixel_distances`."""
    if images.shape[-1] <= SIDE:
        return images.float()
    smaller: Tensor = functional.adaptive_avg_pool2d(images.float(), SIDE)
    return smaller


def columns_of(patients: Sequence[str]) -> Tensor:
    """Returns the column of each image's patient, `[m]`. Columns are in order of first appearance."""
    known = {name: column for column, name in enumerate(dict.fromkeys(patients))}
    return torch.tensor([known[name] for name in patients])
