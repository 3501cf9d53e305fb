"""Writes the data files of a cohort."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from gansweep.errors import CohortError
from gansweep.files import sha256_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

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
    images = _array(folder / "images.npy", "uint16", (total, channels, size, size))
    for index, picture in enumerate(pictures):
        images[index] = np.asarray(picture.pixels)  # among colour pictures, a grey one is broadcast to all channels
    images.flush()

    names = ["images.npy"]
    if any(picture.mask is not None for picture in pictures):
        masks = _array(folder / "masks.npy", "uint8", (total, 1, size, size))
        for index, picture in enumerate(pictures):
            masks[index] = 0 if picture.mask is None else np.asarray(picture.mask)
        masks.flush()
        names.append("masks.npy")

    paired = [picture.paired for picture in pictures if picture.paired is not None]
    if paired:
        if len(paired) < total:
            raise CohortError(
                f"{total - len(paired)} images have no pair", fix="give every row a pair, or drop the column"
            )
        pairs = _array(folder / "pairs.npy", "uint16", (total, max(part.shape[0] for part in paired), size, size))
        for index, part in enumerate(paired):
            pairs[index] = np.asarray(part)
        pairs.flush()
        names.append("pairs.npy")
    return {name: sha256_of(folder / name) for name in names}


def _array(path: Path, dtype: str, shape: tuple[int, ...]) -> Any:
    """Creates a memory-mapped array, because a cohort may be larger than memory."""
    return np.lib.format.open_memmap(path, mode="w+", dtype=np.dtype(dtype), shape=shape)


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
