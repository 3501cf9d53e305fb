"""NIfTI volumes to slices, turned the way a radiologist looks at them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from gansweep.cohort.scan import Mask, ScanError, Slice, reason_of

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Plane", "load_canonical", "read_nifti", "slices_along"]

Plane = Literal["axial", "coronal", "sagittal"]
AXES: dict[Plane, int] = {"sagittal": 0, "coronal": 1, "axial": 2}


def read_nifti(path: Path, plane: Plane = "axial", modality: str = "", mask: Mask | None = None) -> list[Slice]:
    """All slices of a volume, lowest (rightmost, hindmost) first.

    The volume is brought to the canonical orientation (RAS+) first, so a file's own axis order does not matter; axial
    pictures then show the patient's right on their left and the front at the top.

    Args:
        path: `.nii` or `.nii.gz`, three-dimensional (of four dimensions, the first volume).
        plane: how it is cut; a single slice is taken as it lies.
        modality: "CT" or "MR"; empty: CT where the darkest values are those of air in Hounsfield units.
        mask: `[X, Y, Z]` in the canonical orientation; of a single slice also `[H, W]`, as it is seen.

    Raises:
        ScanError: unreadable, not a volume, or a mask of another shape.
    """
    volume, zooms = load_canonical(path)
    if 1 in volume.shape:
        plane = next(name for name, axis in AXES.items() if volume.shape[axis] == 1)
    axis = AXES[plane]
    known = modality or ("CT" if float(volume.min()) <= -500 else "MR")
    rows, columns = ((1, 0), (2, 0), (2, 1))[2 - axis]
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
    """(volume `[X, Y, Z]` float32 in RAS+, voxel size in mm).

    Raises:
        ScanError: unreadable, not a volume, or without any finite value.
    """
    import nibabel

    try:
        image = nibabel.as_closest_canonical(nibabel.load(path))
        volume = np.asarray(image.dataobj, np.float32)
    except Exception as error:  # nibabel, gzip and zlib raise many kinds for a broken file
        raise ScanError(f"not a readable NIfTI file ({reason_of(error, path)})", where=path.name) from None
    while volume.ndim > 3 and (volume.ndim == 4 or volume.shape[-1] == 1):
        volume = volume[..., 0]
    if volume.ndim != 3 or sorted(volume.shape)[1] < 2:  # a single slice is a volume too
        raise ScanError(f"not a volume: {_by(volume.shape)} voxels", where=path.name)
    finite = np.isfinite(volume)
    if not finite.any():
        raise ScanError("no finite values", where=path.name)
    if not finite.all():
        low, high = float(volume[finite].min()), float(volume[finite].max())
        volume = np.nan_to_num(volume, nan=low, neginf=low, posinf=high)
    zooms = tuple(float(zoom) for zoom in image.header.get_zooms()[:3])
    return volume, (zooms[0], zooms[1], zooms[2])


def slices_along(volume: Any, plane: Plane) -> Any:
    """`[S, H, W]` of a canonical volume: rows run from the front or the top, columns from the patient's right."""
    moved = np.moveaxis(volume, AXES[plane], 0)  # sagittal [x, y, z], coronal [y, x, z], axial [z, x, y]
    return np.swapaxes(moved, 1, 2)[:, ::-1, ::-1]


def _masks_along(mask: Mask, volume: Any, plane: Plane, path: Path) -> Any:
    """`[S, H, W]` of a mask that fits the volume."""
    seen = slices_along(volume, plane).shape
    if seen == (1, *mask.shape):
        return mask[None]
    if mask.shape != volume.shape:
        raise ScanError(f"its mask is {_by(mask.shape)} voxels, the image {_by(volume.shape)}", where=path.name)
    return slices_along(mask, plane)


def _by(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
