"""Compares where a mask and its image lie, as their headers say.

A DICOM mask is used in the stored grid of its image. A NIfTI file is turned to the canonical orientation by its own
affine. A mask that was saved with another affine than its image, such as the identity, would therefore be used
mirrored.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from gansweep.cohort.readers.attributes import values_of
from gansweep.cohort.readers.dicom_header import open_dicom
from gansweep.cohort.readers.nifti import check_extensions, stated_forms, unit_of
from gansweep.cohort.readers.quiet import quiet
from gansweep.cohort.readers.slices import Flaw, ScanError, reason_of

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["check_orientation", "fits", "mask_flaws"]

OFFSET = 1.0  # voxels by which the corners of a mask may lie beside those of its image
TURNED = 0.1  # difference of direction cosines from which on a DICOM mask is turned: 6 degrees
ELSEWHERE = "the mask has another affine than the image, with the same axes: their voxels are paired one to one"


class _Grid(NamedTuple):
    """Where the voxels of a volume lie.

    Args:
        shape: numbers of voxels along the canonical axes.
        axes: where the axes of the file lead, such as `LAS`.
        forms: affines of the canonical volume in millimetres. The header may state two, or none.
    """

    shape: tuple[int, ...]
    axes: str
    forms: list[Any]


def mask_flaws(image: Path, mask: Path) -> tuple[Flaw, ...]:
    """Returns what is odd about the places of an image and its mask.

    If the axes of both files lead the same way, the voxels fit, whatever else the affines say. Otherwise the affines
    must place the corners of both volumes alike.

    Args:
        image: a NIfTI volume.
        mask: the NIfTI volume of its mask. One of another shape is left to the reader.

    Raises:
        ScanError: the axes differ and the corners too, or a file is unreadable.
    """
    shown = _grid_of(image)
    drawn = _grid_of(mask)
    neither = not shown.forms and not drawn.forms
    if shown.shape != drawn.shape or neither or _same_place(shown, drawn):
        return ()
    if shown.axes == drawn.axes:
        return (Flaw(ELSEWHERE),)
    axes = [grid.axes if grid.forms else "not given" for grid in (shown, drawn)]
    raise ScanError(
        f"its mask has other axes ({axes[1]}) than the image ({axes[0]}) and lies elsewhere, so it would be mirrored; "
        "save it with the image's affine",
        where=image.name,
    )


def fits(image: Path, mask: Path) -> bool:
    """Returns whether a NIfTI mask has the voxels of an image, at the same places as far as both files say.

    False for an unreadable file.
    """
    try:
        shown = _grid_of(image)
        drawn = _grid_of(mask)
    except ScanError:
        return False
    unknown = not shown.forms or not drawn.forms
    return shown.shape == drawn.shape and (unknown or _same_place(shown, drawn))


def check_orientation(image: Path, mask: Path) -> None:
    """Checks that rows and columns of a DICOM image and its mask lead the same way (PS3.3 C.7.6.2.1.1).

    Args:
        image: a DICOM image.
        mask: the DICOM image of its mask, which may not state an orientation.

    Raises:
        ScanError: they do not, or a file is unreadable.
    """
    shown, drawn = (_directions(path) for path in (image, mask))
    if len(shown) == len(drawn) == 6 and np.abs(np.subtract(shown, drawn)).max() > TURNED:
        raise ScanError("another orientation than the image; save it in the image's grid", where=image.name)


def _directions(path: Path) -> list[float]:
    dataset = open_dicom(path, header_only=True)
    try:
        return [float(value) for value in values_of(dataset.get("ImageOrientationPatient"))]
    except Exception as error:  # pydicom parses an attribute on first access, and a broken one raises any error
        raise ScanError(f"an attribute cannot be read ({reason_of(error, path)})", where=path.name) from None


def _same_place(shown: _Grid, drawn: _Grid) -> bool:
    ends = [(0, side - 1) for side in shown.shape]
    corners = np.array([*np.meshgrid(*ends), np.ones((2, 2, 2))], float).reshape(4, 8)
    for one in shown.forms:
        for other in drawn.forms:
            moved = np.linalg.inv(one) @ other @ corners - corners
            if np.abs(moved).max() <= OFFSET:
                return True
    return False


def _grid_of(path: Path) -> _Grid:
    import nibabel
    from nibabel import orientations

    try:
        with quiet():
            check_extensions(path)
            image: Any = nibabel.load(path)
            shape = tuple(int(side) for side in (*image.shape, 1, 1)[:3])
            turn = orientations.io_orientation(image.affine)
            stated = stated_forms(image)
            forms = [image.affine] if stated is None else stated
            # A qform of another orientation than the sform is not used to turn the volume.
            used = [form for form in forms if np.array_equal(orientations.io_orientation(form), turn)]
            from_canonical = orientations.inv_ornt_aff(turn, shape)
    except ScanError:
        raise
    except Exception as error:  # nibabel, gzip and zlib raise many kinds of errors for a broken file
        raise ScanError(f"not a readable NIfTI file ({reason_of(error, path)})", where=path.name) from None
    scale = np.diag([*[unit_of(image) or 1.0] * 3, 1.0])
    sides = tuple(shape[int(axis)] for axis in np.argsort(turn[:, 0]))
    axes = "".join(orientations.ornt2axcodes(turn))
    return _Grid(sides, axes, [scale @ form @ from_canonical for form in used])
