"""Finds exact and near duplicates: resized or recompressed copies, or neighbouring slices from a web page."""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy import fft

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Iterator, Sequence

    from gansweep.cohort.readers.slices import Array

__all__ = ["Pairs", "content_key", "join", "near_pairs", "thumbnail_code"]

CODE = 16  # number of lowest frequencies per axis in the perceptual code
NEAR = 0.985  # pictures whose codes correlate above this are near-duplicates
BLOCK = 1024  # rows of the correlation matrix held in memory at once
SMALL = 4096  # up to so many pictures, all correlations are computed
ROWS = 256  # of projected codes that are compared with the later ones at once
AXES = 16  # principal axes that they are projected on
MOST_CANDIDATES = 10_000_000
COUNTED = 1000  # pictures whose candidates are counted to estimate those of all
MOST_PARTNERS = 32

Pairs = NDArray[np.int32]


def content_key(pixels: Array) -> str:
    """Returns a hash of the decoded pixels, independent of the file format.

    Args:
        pixels: image `[C, H, W]`.

    Returns:
        32 hexadecimal digits; "" for a constant image, because blank images are not copies of one another.
    """
    if float(pixels.min()) == float(pixels.max()):
        return ""
    return hashlib.blake2b(repr(pixels.shape).encode() + pixels.tobytes(), digest_size=16).hexdigest()


def thumbnail_code(pixels: Array) -> Array:
    """Returns a perceptual code of unit length: the image's lowest cosine frequencies without the mean.

    This is the real-valued form of the usual DCT hash (Zauner 2010, "Implementation and benchmarking of perceptual
    image hash functions"). The inner product of two codes is the correlation of the blurred images. It distinguishes a
    recompressed copy from another patient better than the signs alone.

    Args:
        pixels: image `[C, H, W]`.

    Returns:
        Code `[CODE * CODE - 1]` float32.
    """
    grey = pixels.mean(axis=0, dtype=np.float32)
    low = fft.dctn(grey, norm="ortho")[:CODE, :CODE].ravel()[1:]
    return np.asarray(low / max(float(np.linalg.norm(low)), 1e-12), np.float32)


def near_pairs(codes: NDArray[np.float32], owners: Sequence[Hashable] | None = None, threshold: float = NEAR) -> Pairs:
    """Returns index pairs (i < j) of pictures whose codes correlate above `threshold`.

    The matrix of all pairs would be too large. Vectors of unit length that correlate above t have a distance below
    sqrt(2 - 2 t), and so have their projections on a few axes, which finds candidates. If all pictures are similar,
    there are too many candidates, and the matrix is computed in blocks.

    For pictures with very many near-duplicates, only some pairs are returned. A pair is omitted only if its first
    picture is the first of `MOST_PARTNERS` other pairs, and its second picture the second of as many.

    Args:
        codes: codes of unit length, `[N, D]`.
        owners: owner of each picture. Pictures of the same owner are not paired. None: each has its own owner.
        threshold: minimum correlation of a pair.

    Returns:
        Pairs `[P, 2]` int32, in ascending order.
    """
    owner = np.arange(len(codes)) if owners is None else _numbered(owners)
    blocks = _matrix_blocks(codes, threshold) if len(codes) <= SMALL else _candidate_blocks(codes, threshold)
    found: list[Pairs] = [np.empty((0, 2), np.int32)]
    seconds = np.zeros(len(codes), np.int32)
    for pairs in blocks:
        apart = pairs[owner[pairs[:, 0]] != owner[pairs[:, 1]]]
        first = _ranks(apart[:, 0])
        second = _ranks(apart[:, 1]) + seconds[apart[:, 1]]
        kept = apart[(first < MOST_PARTNERS) | (second < MOST_PARTNERS)]
        np.add.at(seconds, apart[:, 1], 1)
        found.append(kept.astype(np.int32))
    return np.concatenate(found)


def _matrix_blocks(codes: NDArray[np.float32], threshold: float) -> Iterator[Pairs]:
    """Yields the pairs above the threshold, from one block of rows of the correlation matrix at a time."""
    for start in range(0, len(codes), BLOCK):
        close = codes[start : start + BLOCK] @ codes[start:].T > threshold
        upper = np.triu(close, 1)
        yield np.argwhere(upper).astype(np.int32) + np.int32(start)


def _candidate_blocks(codes: NDArray[np.float32], threshold: float) -> Iterator[Pairs]:
    """Yields the pairs above the threshold, found by their projections on the leading principal axes."""
    projected = _Projected.of(codes, math.sqrt(max(2 - 2 * threshold, 0.0)) + 1e-4)  # with a margin for rounding
    if projected.estimated_pairs() > MOST_CANDIDATES:
        yield from _matrix_blocks(codes, threshold)
        return
    starts = range(0, len(codes), ROWS)
    pairs = np.concatenate([projected.pairs_from(start) for start in starts])
    pairs = pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]
    for start in range(0, len(pairs), BLOCK * BLOCK):
        block = pairs[start : start + BLOCK * BLOCK]
        close = [
            np.einsum("nd,nd->n", codes[part[:, 0]], codes[part[:, 1]]) > threshold
            for part in np.array_split(block, 1 + len(block) // BLOCK)
        ]
        yield block[np.concatenate(close)]


@dataclass(frozen=True)
class _Projected:
    """Codes projected on a few axes, in the order of the first.

    A k-d tree would be slower. The axes that it needs are too many for it: it looks at most pairs, too.

    Args:
        order: the number of each code.
        last: for each row, the row after the last whose first coordinate is within the radius.
        left: coordinates `[N, AXES + 2]`, so extended that the product with a row of `right` is the squared distance.
        right: likewise.
        radius: the distance of pairs.
    """

    order: NDArray[np.int32]
    last: NDArray[np.intp]
    left: NDArray[np.float32]
    right: NDArray[np.float32]
    radius: float

    @classmethod
    def of(cls, codes: NDArray[np.float32], radius: float) -> _Projected:
        """Projects codes on their principal axes, as estimated from some of them."""
        sample = codes[:: max(1, len(codes) // SMALL)]
        principal = np.linalg.eigh(np.cov(sample, rowvar=False))[1][:, ::-1]
        points = codes @ principal[:, :AXES].astype(np.float32)
        order = np.argsort(points[:, 0], kind="stable")
        points = points[order]
        last = np.searchsorted(points[:, 0], points[:, 0] + radius)
        squares = np.einsum("nd,nd->n", points, points)[:, None]
        one = np.ones_like(squares)
        left, right = np.hstack([-2 * points, squares, one]), np.hstack([points, one, squares])
        return cls(order.astype(np.int32), last, left, right, radius)

    def estimated_pairs(self) -> float:
        """Returns about how many pairs there are, by those of some rows."""
        some = self.left[:: max(1, len(self.left) // COUNTED)]
        near = sum(np.count_nonzero(row @ self.right.T < self.radius**2) for row in some)
        return (near / len(some) - 1) * len(self.left) / 2

    def pairs_from(self, start: int) -> Pairs:
        """Returns the pairs of ROWS rows with themselves and later ones, as numbers of codes, the smaller first."""
        stop = min(start + ROWS, len(self.left))
        end = int(self.last[stop - 1])
        found = []
        for first in range(start, end, BLOCK):
            near = self.left[start:stop] @ self.right[first : min(first + BLOCK, end)].T < self.radius**2
            # Faster than `argwhere`, for there are few.
            row, column = np.divmod(np.flatnonzero(near), near.shape[1])
            later = start + row < first + column
            found.append(np.stack([start + row, first + column], axis=1)[later])
        return np.sort(self.order[np.concatenate(found)], axis=1)


def _ranks(values: NDArray[np.int32]) -> NDArray[np.int64]:
    """Returns the number of equal values before each value."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    ranks = np.empty(len(values), np.int64)
    ranks[order] = np.arange(len(values)) - np.searchsorted(ordered, ordered)
    return ranks


def _numbered(owners: Sequence[Hashable]) -> NDArray[np.int64]:
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(owner, len(numbers)) for owner in owners], np.int64)


def join(keys: Sequence[Hashable], pairs: Iterable[tuple[int, int]]) -> list[int]:
    """Groups items: those with equal keys, or connected by a chain of pairs, get the same number.

    Args:
        keys: one key per item.
        pairs: index pairs of items that belong together.

    Returns:
        The group number of each item, numbered by first appearance.
    """
    # Union-find with path halving.
    parent = list(range(len(keys)))

    def root(item: int) -> int:
        while parent[item] != item:
            parent[item] = parent[parent[item]]
            item = parent[item]
        return item

    first: dict[Hashable, int] = {}
    links = [(first.setdefault(key, index), index) for index, key in enumerate(keys)]
    for left, right in [*links, *pairs]:
        low, high = sorted((root(left), root(right)))
        parent[high] = low
    numbers: dict[int, int] = defaultdict(lambda: len(numbers))
    return [numbers[root(index)] for index in range(len(keys))]
