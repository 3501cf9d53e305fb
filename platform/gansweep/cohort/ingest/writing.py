"""Writes the data files of a cohort."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from gansweep.errors import CohortError, counted

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import ArrayLike

    from gansweep.cohort.ingest.reading import Picture

__all__ = ["manifest_of", "write_arrays"]


def write_arrays(folder: Path, pictures: Sequence[Picture], size: int) -> dict[str, str]:
    """Writes images.npy and, if there are masks or pairs, masks.npy and pairs.npy.

    Args:
        folder: an existing folder.
        pictures: images in the order of the rows.
        size: height and width in pixels.

    Returns:
        The SHA-256 of each file, by name.

    Raises:
        CohortError: some images have a pair and others do not.
    """
    total = len(pictures)
    channels = max(picture.pixels.shape[0] for picture in pictures)
    # Among colour pictures, a grey one is broadcast to all channels.
    shape = (channels, size, size)
    files = {"images.npy": _write(folder / "images.npy", "uint16", shape, [picture.pixels for picture in pictures])}
    if any(picture.mask is not None for picture in pictures):
        nothing = np.zeros((size, size), bool)
        masks = [nothing if picture.mask is None else picture.mask for picture in pictures]
        files["masks.npy"] = _write(folder / "masks.npy", "uint8", (1, size, size), masks)

    paired = [picture.paired for picture in pictures if picture.paired is not None]
    if paired:
        if len(paired) < total:
            raise CohortError(
                f"{counted(total - len(paired), 'image has', 'images have')} no pair",
                fix="give every row a pair, or drop the column",
            )
        shape = (max(part.shape[0] for part in paired), size, size)
        files["pairs.npy"] = _write(folder / "pairs.npy", "uint16", shape, paired)
    return files


def _write(path: Path, kind: str, shape: tuple[int, ...], arrays: Sequence[ArrayLike]) -> str:
    """Writes an array `[N, *shape]` one element at a time, because a cohort may be larger than memory.

    Args:
        path: a new file.
        kind: NumPy type of the array.
        shape: shape of each element.
        arrays: the elements, each of this shape or broadcast to it.

    Returns:
        The SHA-256 of the file.
    """
    dtype = np.dtype(kind)
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": (len(arrays), *shape)}
    with path.open("w+b") as file:
        np.lib.format.write_array_header_1_0(file, header)
        file.seek(0)
        digest = hashlib.sha256(file.read())
        for array in arrays:
            content = np.broadcast_to(np.asarray(array, dtype), shape).tobytes()
            digest.update(content)
            file.write(content)
    return digest.hexdigest()


def manifest_of(pictures: Sequence[Picture], patients: Sequence[str], splits: Sequence[str]) -> pd.DataFrame:
    """The manifest: one row per image, in the order of images.npy. It has a column `flaws` if any image has one.

    Args:
        pictures: images `[N]`.
        patients: salted hashes `[N]`.
        splits: splits `[N]`.
    """
    table = pd.DataFrame(
        {
            "image_id": [f"{index:06d}" for index in range(len(pictures))],
            "patient": list(patients),
            "label": [picture.label for picture in pictures],
            "split": list(splits),
            "has_mask": [picture.mask is not None for picture in pictures],
            "source_sha256": [picture.sha256 for picture in pictures],
            "rows": np.array([picture.shape[0] for picture in pictures], np.int32),
            "cols": np.array([picture.shape[1] for picture in pictures], np.int32),
            "spacing_mm": np.array([picture.spacing_mm for picture in pictures], np.float32),
            "modality": [picture.modality for picture in pictures],
        }
    )
    if any(picture.flaws for picture in pictures):
        table["flaws"] = ["; ".join(_flaw(*flaw) for flaw in picture.flaws) for picture in pictures]
    return table


def _flaw(what: str, values: int) -> str:
    return f"{what} ({values} in the file)" if values else what
