"""Keeps the arrays of pictures on disk while a cohort is made, so that memory does not grow with their size."""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["Spool", "Spooled", "spool_in"]


@contextmanager
def spool_in(folder: Path) -> Iterator[Spool]:
    """Provides a spool in an unnamed file of a folder. The file is deleted when the block ends."""
    with tempfile.TemporaryFile(dir=folder) as file:
        yield Spool(file)


class Spool:
    """A file of arrays, one after the other.

    Args:
        file: an empty file, open for reading and writing.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._end = 0

    def put(self, array: Any) -> Spooled:
        """Writes an array, and returns an object that reads it."""
        data = np.ascontiguousarray(array)
        offset = self._end
        self._file.seek(offset)
        self._file.write(data.tobytes())
        self._end += data.nbytes
        return Spooled(self, offset, data.shape, data.dtype.str)

    def read(self, offset: int, size: int) -> bytes:
        """Reads `size` bytes of the file."""
        self._file.seek(offset)
        return self._file.read(size)


@dataclass(frozen=True, slots=True)
class Spooled:
    """An array in a spool. NumPy functions read it like an array: `np.asarray(spooled)`.

    Args:
        spool: the spool.
        offset: position of the first byte.
        shape: shape of the array.
        kind: NumPy type of the array, such as `<u2`.
    """

    spool: Spool
    offset: int
    shape: tuple[int, ...]
    kind: str

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        """Reads the array."""
        stored = np.dtype(self.kind)
        count = int(np.prod(self.shape))
        content = self.spool.read(self.offset, count * stored.itemsize)
        shaped = np.frombuffer(content, stored, count).reshape(self.shape)
        return shaped if dtype is None else shaped.astype(dtype, copy=False)
