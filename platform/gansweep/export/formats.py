"""How one synthetic image is written: one function and one line in `WRITERS` per format."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from gansweep.cohort.intensity import window_named

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from gansweep.export.record import GeneratorRecord

__all__ = ["CHANNELS", "WRITERS", "Draw", "Format", "own_values", "write_mask"]

Format = Literal["png", "npy", "nifti", "dicom"]

CHANNELS: Mapping[str, tuple[int, ...]] = {"png": (1, 3), "nifti": (1,), "dicom": (1, 3)}
"""The channel counts a format can hold; one that is not named holds any."""


@dataclass(frozen=True)
class Draw:
    """One drawn image among all of a call.

    Args:
        folder: what the images are written into.
        record: what drew it.
        label: the class asked for.
        index: its number, from 0.
        total: how many are drawn.
        seed: of the draw.
    """

    folder: Path
    record: GeneratorRecord
    label: str
    index: int
    total: int
    seed: int

    @property
    def name(self) -> str:
        """Names the image and its subject: each synthetic image is a subject of its own."""
        return f"synthetic-{self.index:06d}"


def own_values(image: NDArray[np.float32], record: GeneratorRecord) -> NDArray[np.float32]:
    """`[C, H, W]` in [-1, 1] as the values the training images had: Hounsfield units for CT, else [0, 1].

    Percentile normalisation differs from series to series, so there is nothing to go back to.
    """
    shown = np.clip((image + 1.0) / 2.0, 0.0, 1.0)
    return window_named(record.window).invert(shown) if record.calibrated else shown.astype(np.float32)


def write_mask(mask: NDArray[np.float32], draw: Draw) -> str:
    """Writes a lesion mask `[H, W]` (positive: lesion) and returns its path below the folder."""
    from PIL import Image

    path = f"masks/{draw.name}.png"
    Image.fromarray(((mask > 0) * 255).astype(np.uint8)).save(draw.folder / path)
    return path


def _png(image: NDArray[np.float32], draw: Draw) -> str:
    """What the training window shows, 8 bits a channel."""
    from PIL import Image

    shown = np.rint(np.clip((image + 1.0) / 2.0, 0.0, 1.0) * 255).astype(np.uint8)
    path = f"images/{draw.name}.png"
    Image.fromarray(shown[0] if len(shown) == 1 else np.moveaxis(shown, 0, -1)).save(draw.folder / path)
    return path


def _npy(image: NDArray[np.float32], draw: Draw) -> str:
    """Row `index` of one `[N, C, H, W]` float32 array, written in place: it may be larger than memory."""
    path = "images/images.npy"
    shape = (draw.total, *image.shape) if draw.index == 0 else None
    mode: Literal["r+", "w+"] = "r+" if shape is None else "w+"
    stack = np.lib.format.open_memmap(draw.folder / path, mode, np.float32, shape)
    stack[draw.index] = own_values(image, draw.record)
    return path


def _nifti(image: NDArray[np.float32], draw: Draw) -> str:
    """One slice `[W, H, 1]` in RAS+; the picture's top left is the patient's front right.

    NIfTI has no place for the modality; BIDS puts it into the name, and `gansweep ingest` looks for `_ct` there.
    """
    import nibabel

    values = own_values(image, draw.record)[0]
    volume = nibabel.Nifti1Image(values[::-1, ::-1].T[..., None], np.eye(4))
    volume.header["descrip"] = b"SYNTHETIC - NOT FOR DIAGNOSIS"
    ct = "_ct" if draw.record.calibrated and draw.record.modality == "CT" else ""
    path = f"images/{draw.name}{ct}.nii.gz"
    nibabel.save(volume, draw.folder / path)
    return path


def _dicom(image: NDArray[np.float32], draw: Draw) -> str:
    from gansweep.export.dicom import write_synthetic_dicom

    values = own_values(image, draw.record)
    pixels = values[0] if len(values) == 1 else np.moveaxis(values, 0, -1)
    path = f"images/{draw.name}.dcm"
    write_synthetic_dicom(draw.folder / path, pixels, draw)
    return path


WRITERS: Mapping[Format, Callable[[NDArray[np.float32], Draw], str]] = {
    "png": _png,
    "npy": _npy,
    "nifti": _nifti,
    "dicom": _dicom,
}
"""Each writes one image `[C, H, W]` in [-1, 1] and returns its path below the folder."""
