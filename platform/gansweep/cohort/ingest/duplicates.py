"""Finds exact and near duplicates: resized or recompressed copies, or neighbouring slices from a web page."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from typing import TYPE_CHECKING

import numpy as np
from scipy import fft

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from numpy.typing import NDArray

    from gansweep.cohort.readers.slices import Array

__all__ = ["content_key", "join", "near_pairs", "thumbnail_code"]

CODE = 16  # number of lowest frequencies per axis in the perceptual code
NEAR = 0.985  # pictures whose codes correlate above this are near-duplicates
BLOCK = 1024  # rows of the correlation matrix held in memory at once


def content_key(pixels: Array) -> str:
    """A hash of the decoded pixels, independent of the file format.

    Args:
        pixels: `[C, H, W]`.

    Returns:
        32 hexadecimal digits; "" for a constant picture, because blank pictures are not copies of one another.
    """
    if float(pixels.min()) == float(pixels.max()):
        return ""
    return hashlib.blake2b(repr(pixels.shape).encode() + pixels.tobytes(), digest_size=16).hexdigest()


def thumbnail_code(pixels: Array) -> Array:
    """A perceptual code of unit length: the picture's lowest cosine frequencies without the mean.

    This is the real-valued form of the usual DCT hash (Zauner 2010, "Implementation and benchmarking of perceptual
    image hash functions"). The inner product of two codes is the correlation of the blurred pictures. It separates a
    recompressed copy from another patient better than the signs alone.

    Args:
        pixels: `[C, H, W]`.

    Returns:
        `[CODE * CODE - 1]` float32.
    """
    grey = pixels.mean(axis=0, dtype=np.float32)
    low = fft.dctn(grey, norm="ortho")[:CODE, :CODE].ravel()[1:]
    return np.asarray(low / max(float(np.linalg.norm(low)), 1e-12), np.float32)


def near_pairs(codes: NDArray[np.float32], threshold: float = NEAR) -> list[tuple[int, int]]:
    """Index pairs (i < j) of pictures whose codes correlate above `threshold`.

    Args:
        codes: `[N, D]`, of unit length.
        threshold: on the correlation.
    """
    pairs = []
    for start in range(0, len(codes), BLOCK):
        close = codes[start : start + BLOCK] @ codes[start:].T > threshold
        rows, columns = np.nonzero(np.triu(close, 1))
        pairs += [(start + int(row), start + int(column)) for row, column in zip(rows, columns, strict=True)]
    return pairs


def join(keys: Sequence[Hashable], pairs: Sequence[tuple[int, int]]) -> list[int]:
    """Groups items: those with equal keys, or connected by a chain of pairs, get the same number.

    Args:
        keys: one per item.
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
