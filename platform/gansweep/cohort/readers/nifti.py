"""Reads NIfTI volumes into slices, oriented as a radiologist views them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from gansweep.cohort.readers.slices import Mask, ScanError, Slice, reason_of, shape_text

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Plane", "load_canonical", "read_nifti", "slices_along"]

Plane = Literal["axial", "coronal", "sagittal"]
# The axis of a canonical volume [X, Y, Z] that each plane is perpendicular to.
AXES: dict[Plane, int] = {"sagittal": 0, "coronal": 1, "axial": 2}


def read_nifti(path: Path, plane: Plane = "axial", modality: str = "", mask: Mask | None = None) -> list[Slice]:
    """Reads all slices of a volume, starting with the lowest (axial), rearmost (coronal) or leftmost (sagittal).

    The volume is first brought to the canonical orientation (RAS+), so the axis order of the file does not matter. An
    axial picture then shows the patient's right on its left and the front at the top.

    Args:
        path: `.nii` or `.nii.gz`, three-dimensional. Of four dimensions, the first volume is read.
        plane: the slicing plane; ignored for a volume of one slice.
        modality: "CT" or "MR"; empty: CT if the darkest value is that of air in Hounsfield units.
        mask: `[X, Y, Z]` in the canonical orientation; for a single slice also `[H, W]`, as displayed.

    Raises:
        ScanError: the file is unreadable or not a volume, or the mask has another shape.
    """
    volume, zooms = load_canonical(path)
    if 1 in volume.shape:
        plane = next(name for name, axis in AXES.items() if volume.shape[axis] == 1)
    axis = AXES[plane]
    known = modality or ("CT" if float(volume.min()) <= -500 else "MR")
    rows, columns = ((1, 0), (2, 0), (2, 1))[2 - axis]  # the axes of axial, coronal and sagittal pictures
    pictures = slices_along(volume, plane)
    masks = [None] * len(pictures) if mask is None else list(_masks_along(mask, volume, plane, path))
    return [
        Slice(
            pixels=np.ascontiguousarray(picture[None], np.float32),
            modality=known,
            spacing_mm=(zooms[rows], zooms[columns]),
            series=str(path),
            position=float(number),
            mask=None if drawn is None else np.ascontiguousarray(drawn),
        )
        for number, (picture, drawn) in enumerate(zip(pictures, masks, strict=True))
    ]


def load_canonical(path: Path) -> tuple[Any, tuple[float, float, float]]:
    """Loads a volume in the canonical orientation RAS+ (axes to the patient's right, front and top).

    Values that are not finite are replaced: NaN and -inf by the smallest finite value, inf by the largest.

    Returns:
        (volume `[X, Y, Z]` float32, voxel size in mm).

    Raises:
        ScanError: the file is unreadable, not a volume, or has no finite value.
    """
    import nibabel

    try:
        image = nibabel.as_closest_canonical(nibabel.load(path))
        volume = np.asarray(image.dataobj, np.float32)
    except Exception as error:  # nibabel, gzip and zlib raise many kinds of errors for a broken file
        raise ScanError(f"not a readable NIfTI file ({reason_of(error, path)})", where=path.name) from None
    while volume.ndim > 3 and (volume.ndim == 4 or volume.shape[-1] == 1):
        volume = volume[..., 0]
    if volume.ndim != 3 or sorted(volume.shape)[1] < 2:  # a single slice counts as a volume
        raise ScanError(f"not a volume: {shape_text(volume.shape)} voxels", where=path.name)
    finite = np.isfinite(volume)
    if not finite.any():
        raise ScanError("no finite values", where=path.name)
    if not finite.all():
        low = float(volume[finite].min())
        high = float(volume[finite].max())
        volume = np.nan_to_num(volume, nan=low, neginf=low, posinf=high)
    zooms = tuple(float(zoom) for zoom in image.header.get_zooms()[:3])
    return volume, (zooms[0], zooms[1], zooms[2])


def slices_along(volume: Any, plane: Plane) -> Any:
    """The slices `[S, H, W]` of a canonical volume.

    Rows start at the front (axial) or the top, columns at the patient's right (at the front in sagittal slices).
    """
    moved = np.moveaxis(volume, AXES[plane], 0)  # sagittal [x, y, z], coronal [y, x, z], axial [z, x, y]
    return np.swapaxes(moved, 1, 2)[:, ::-1, ::-1]


def _masks_along(mask: Mask, volume: Any, plane: Plane, path: Path) -> Any:
    """The slices `[S, H, W]` of a mask, if it fits the volume."""
    displayed = slices_along(volume, plane).shape
    if displayed == (1, *mask.shape):
        return mask[None]
    if mask.shape != volume.shape:
        image = shape_text(volume.shape)
        raise ScanError(f"its mask is {shape_text(mask.shape)} voxels, the image {image}", where=path.name)
    return slices_along(mask, plane)
