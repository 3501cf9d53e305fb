"""Images that stand in a collection twice: exactly, or nearly (resized, recompressed, the next slice of a web page)."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from typing import TYPE_CHECKING

import numpy as np
from scipy import fft

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from numpy.typing import NDArray

    from gansweep.cohort.scan import Array

__all__ = ["content_key", "join", "near_pairs", "thumbnail_code"]

CODE = 16  # lowest frequencies each way that make the perceptual hash
NEAR = 0.985  # correlation of two codes above which pictures are called near-duplicates
BLOCK = 1024


def content_key(pixels: Array) -> str:
    """A hash of the decoded pixels, whatever file they came in; "" for a picture of one value (nothing to compare)."""
    if float(pixels.min()) == float(pixels.max()):
        return ""
    return hashlib.blake2b(repr(pixels.shape).encode() + pixels.tobytes(), digest_size=16).hexdigest()


def thumbnail_code(pixels: Array) -> Array:
    """A perceptual code `[CODE * CODE - 1]` of unit length: the picture's lowest cosine frequencies, without the mean.

    The real-valued form of the usual DCT hash (Zauner 2010): its inner product is the correlation of the blurred
    pictures, which separates a recompressed copy from another patient better than the signs alone.
    """
    grey = pixels.mean(axis=0, dtype=np.float32)
    low = fft.dctn(grey, norm="ortho")[:CODE, :CODE].ravel()[1:]
    return np.asarray(low / max(float(np.linalg.norm(low)), 1e-12), np.float32)


def near_pairs(codes: NDArray[np.float32], threshold: float = NEAR) -> list[tuple[int, int]]:
    """Pairs (i < j) of pictures whose codes correlate above `threshold`."""
    pairs = []
    for start in range(0, len(codes), BLOCK):
        close = codes[start : start + BLOCK] @ codes[start:].T > threshold
        rows, columns = np.nonzero(np.triu(close, 1))
        pairs += [(start + int(row), start + int(column)) for row, column in zip(rows, columns, strict=True)]
    return pairs


def join(keys: Sequence[Hashable], pairs: Sequence[tuple[int, int]]) -> list[int]:
    """Groups `[N]`: items with equal keys or joined by a chain of pairs share a number (in order of appearance)."""
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
