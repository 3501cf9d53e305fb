"""File formats of synthetic images. Each is one function and one entry in `WRITERS`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from gansweep.cohort.intensity import window_named

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from gansweep.export.draw import Draw
    from gansweep.training.record import GeneratorRecord

__all__ = ["CHANNELS", "WRITERS", "Format", "own_values", "write_mask"]

Format = Literal["png", "npy", "nifti", "dicom"]

CHANNELS: Mapping[str, tuple[int, ...]] = {"png": (1, 3), "nifti": (1,), "dicom": (1, 3)}
"""Numbers of channels that a format supports. Formats that are not listed support any number."""


def own_values(image: NDArray[np.float32], record: GeneratorRecord) -> NDArray[np.float32]:
    """Converts an image to the values of the training images: Hounsfield units for CT, else [0, 1].

    Percentile normalisation differs between series, so it cannot be inverted.

    Args:
        image: image `[C, H, W]` in [-1, 1].
        record: record of the generator.

    Returns:
        Values `[C, H, W]` float32.
    """
    shown = _shown(image)
    return window_named(record.window).invert(shown) if record.calibrated else shown.astype(np.float32)


def write_mask(mask: NDArray[np.float32], draw: Draw) -> str:
    """Writes a lesion mask `[H, W]` (positive: lesion) and returns its path relative to the folder."""
    from PIL import Image

    path = f"masks/{draw.name}.png"
    Image.fromarray(((mask > 0) * 255).astype(np.uint8)).save(draw.folder / path)
    return path


def _shown(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Converts `[C, H, W]` in [-1, 1] to values in [0, 1]."""
    return np.asarray(np.clip((image + 1.0) / 2.0, 0.0, 1.0))


def _png(image: NDArray[np.float32], draw: Draw) -> str:
    """Writes the image in the training window, with 8 bits per channel."""
    from PIL import Image

    shown = np.rint(_shown(image) * 255).astype(np.uint8)
    path = f"images/{draw.name}.png"
    Image.fromarray(shown[0] if len(shown) == 1 else np.moveaxis(shown, 0, -1)).save(draw.folder / path)
    return path


def _npy(image: NDArray[np.float32], draw: Draw) -> str:
    """Writes row `index` of one `[N, C, H, W]` float32 array, memory-mapped because it may be larger than memory."""
    path = "images/images.npy"
    shape = (draw.total, *image.shape) if draw.index == 0 else None
    mode: Literal["r+", "w+"] = "r+" if shape is None else "w+"
    # The first image creates the file with its final shape.
    stack = np.lib.format.open_memmap(draw.folder / path, mode, np.float32, shape)
    stack[draw.index] = own_values(image, draw.record)
    return path


def _nifti(image: NDArray[np.float32], draw: Draw) -> str:
    """Writes one axial slice `[W, H, 1]` in RAS+: the top left of the image is the patient's front right.

    NIfTI does not record the modality. BIDS puts it into the name, where `gansweep ingest` looks for `_ct`.
    """
    import nibabel

    # Reversing both axes and transposing turns rows and columns into x and y of RAS+.
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
"""Functions that write one image `[C, H, W]` in [-1, 1] and return its path relative to the folder."""
