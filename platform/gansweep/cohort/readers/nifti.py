"""Reads NIfTI volumes into slices, oriented as a radiologist views them."""

from __future__ import annotations

import logging
import struct
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from gansweep.cohort.readers.acquisition import Acquisition
from gansweep.cohort.readers.limits import check_values
from gansweep.cohort.readers.quiet import quiet
from gansweep.cohort.readers.slices import Flaw, Mask, ScanError, Slice, UnneededError, reason_of, shape_text

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Plane", "check_extensions", "load_canonical", "read_nifti", "slices_along", "stated_forms", "unit_of"]

Plane = Literal["axial", "coronal", "sagittal"]
SPACE_UNIT = 0x07
"""Bits of `xyzt_units` that hold the unit of the voxel size (nifti1.h, XYZT_TO_SPACE)."""
MILLIMETRES = {1: 1000.0, 2: 1.0, 3: 0.001}
"""Millimetres of each unit: metres, millimetres, micrometres. 0 is unknown, and taken for millimetres."""
USUAL_MM = (0.02, 20.0)
"""Voxel sizes of scanners. Many tools write no unit, which is told only if the size is another, as metres would be."""
NO_ORIENTATION = "no orientation (neither qform nor sform): the axes are taken to lead to the left, front and top"
LABELS = {1002, 1005}  # NIFTI_INTENT_LABEL and NIFTI_INTENT_NEURONAME
SIZE_TOLERANCE = 0.05  # relative difference of voxel sizes that is reported
MAX_HEADER = 2**24  # bytes before the first voxel, extensions included
AIR_HU = -500  # air is -1000 HU; no other tissue is below this
# The axis of a canonical volume [X, Y, Z] that each plane is perpendicular to.
AXES: dict[Plane, int] = {"sagittal": 0, "coronal": 1, "axial": 2}


def read_nifti(path: Path, plane: Plane = "axial", modality: str = "", mask: Mask | None = None) -> list[Slice]:
    """Reads all slices of a volume, starting with the lowest (axial), rearmost (coronal) or leftmost (sagittal).

    The volume is first converted to the canonical orientation (RAS+), so the axis order of the file does not matter. An
    axial image then shows the patient's right on its left and the front at the top.

    Args:
        path: `.nii` or `.nii.gz`, three-dimensional. Of four dimensions, the first volume is read, and the remark of
            the first slice mentions the others.
        plane: slicing plane; ignored for a volume of one slice.
        modality: "CT" or "MR"; empty: CT if the darkest value is that of air in Hounsfield units. The slices then state
            that this is a guess.
        mask: mask `[X, Y, Z]` in the canonical orientation; for a single slice also `[H, W]`, as displayed.

    Raises:
        UnneededError: it is a label map, as its header says.
        ScanError: the file is unreadable or not a volume, or the mask has another shape.
    """
    loaded = _load(path)
    if loaded.labels:
        raise UnneededError("a label map, as its intent code says", where=path.name)
    volume = loaded.values
    if 1 in volume.shape:
        plane = next(name for name, axis in AXES.items() if volume.shape[axis] == 1)
    axis = AXES[plane]
    known = modality or ("CT" if float(volume.min()) <= AIR_HU else "MR")
    rows, columns = ((1, 0), (2, 0), (2, 1))[2 - axis]  # the axes of axial, coronal and sagittal pictures
    pictures = slices_along(volume, plane)
    masks = [None] * len(pictures) if mask is None else list(_masks_along(mask, volume, plane, path))
    spacing = None if loaded.zooms is None else (loaded.zooms[rows], loaded.zooms[columns])
    acquisition = Acquisition() if loaded.zooms is None else Acquisition(thickness_mm=loaded.zooms[axis])
    guess = "" if modality else f"NIfTI does not record the modality: taken for {known}"
    slices = []
    for number, (picture, drawn) in enumerate(zip(pictures, masks, strict=True)):
        one = Slice(
            pixels=np.ascontiguousarray(picture[None], np.float32),
            modality=known,
            spacing_mm=spacing,
            series=str(path),
            position=float(number),
            mask=None if drawn is None else np.ascontiguousarray(drawn),
            depth=loaded.depth,
            guess=guess,
            # A remark is about the whole file, so only the first slice has it.
            remark="" if number else loaded.remark,
            flaws=loaded.flaws,
            acquisition=acquisition,
        )
        slices.append(one)
    return slices


def load_canonical(path: Path) -> tuple[Any, tuple[float, float, float] | None]:
    """Loads a volume in the canonical orientation RAS+ (axes to the patient's right, front and top).

    Values that are not finite are replaced: NaN and -inf by the smallest finite value, inf by the largest.

    Returns:
        (volume `[X, Y, Z]` float32, voxel size in mm; None if it is not known).

    Raises:
        ScanError: the file is unreadable, not a volume, or has no finite value.
    """
    loaded = _load(path)
    return loaded.values, loaded.zooms


class _Volume(NamedTuple):
    """A volume in the canonical orientation.

    Args:
        values: `[X, Y, Z]` float32.
        zooms: voxel size in mm; None: not known.
        depth: the stored type of the values.
        remark: what was left out of the file.
        flaws: what is odd in the file.
        labels: whether the header says that the values are labels.
    """

    values: Any
    zooms: tuple[float, float, float] | None
    depth: str
    remark: str
    flaws: tuple[Flaw, ...]
    labels: bool


def _load(path: Path) -> _Volume:
    import nibabel

    # Its logger prints remarks about headers. We raise errors for those that matter.
    logging.getLogger("nibabel.global").setLevel(logging.CRITICAL)
    try:
        # Opening reads the header only.
        with quiet():
            check_extensions(path)
            image: Any = nibabel.load(path)
        shape = tuple(int(side) for side in image.shape)
        stored = image.get_data_dtype()
        offset = float(image.header["vox_offset"]) if "vox_offset" in image.header else 0.0
        sized = _has_size(image, path)
        forms_differ = _forms_differ(image)
        oriented = stated_forms(image) != []
    except ScanError:
        raise
    except Exception as error:  # nibabel, gzip and zlib raise many kinds of errors for a broken file
        raise ScanError(f"not a readable NIfTI file ({reason_of(error, path)})", where=path.name) from None
    remark = ""
    if len(shape) > 3 and shape[3] > 1:
        remark = f"{shape[3] - 1} more volumes of a 4-D file: only the first is read"
    if offset > MAX_HEADER:  # of the other formats that nibabel reads
        raise ScanError("its header is too large", where=path.name)
    # Told before anything is read: there may be a thousand volumes.
    if any(side != 1 for side in shape[4:]):
        raise ScanError(f"not a volume: {shape_text(shape)} voxels", where=path.name)
    if stored.kind not in "iuf":
        raise ScanError(f"values of type {stored} are no intensities", where=path.name)
    check_values(shape[:3], path, bytes_each=stored.itemsize)
    image, volume = _first_volume(image, shape, path)
    if volume.ndim != 3 or sorted(volume.shape)[1] < 2:  # a single slice counts as a volume
        raise ScanError(f"not a volume: {shape_text(volume.shape)} voxels", where=path.name)
    volume, flaws = _finite(volume, path)
    zooms = _voxel_size(image) if sized else None
    if zooms is None:
        flaws.append(Flaw("the voxel size is not three positive numbers: voxels are taken for cubes"))
    elif not unit_of(image) and not all(USUAL_MM[0] <= side <= USUAL_MM[1] for side in zooms):
        flaws.append(Flaw("the header names no unit of the voxel size, which is unusual: taken for millimetres"))
    if forms_differ:
        flaws.append(Flaw("qform and sform differ in voxel size or orientation: the sform is used"))
    if not oriented:
        flaws.append(Flaw(NO_ORIENTATION))
    depth = f"{8 * stored.itemsize}-bit" if stored.kind in "iu" else "float"
    labels = "intent_code" in image.header and int(image.header["intent_code"]) in LABELS
    return _Volume(volume, zooms, depth, remark, tuple(flaws), labels)


def _finite(volume: Any, path: Path) -> tuple[Any, list[Flaw]]:
    """Returns a volume in which the nearest finite values replace all others, and what is told of it.

    Raises:
        ScanError: no value is finite.
    """
    finite = np.isfinite(volume)
    if finite.all():
        return volume, []
    if not finite.any():
        raise ScanError("no finite values", where=path.name)
    low = float(volume[finite].min())
    high = float(volume[finite].max())
    count = int(volume.size - np.count_nonzero(finite))
    flaw = Flaw("voxels that are not finite numbers take the nearest finite value", count)
    return np.nan_to_num(volume, nan=low, neginf=low, posinf=high), [flaw]


def check_extensions(path: Path) -> None:
    """Refuses extensions of the header that would fill the memory. nibabel reads them all when it opens a file.

    Raises:
        ScanError: the header is larger than MAX_HEADER, or an extension than the header.
    """
    from nibabel import Nifti1Header, Nifti2Header
    from nibabel.openers import ImageOpener

    with ImageOpener(path) as file:
        head = file.read(Nifti2Header.sizeof_hdr + 4)
        kind = Nifti1Header if Nifti1Header.may_contain_header(head) else Nifti2Header
        if not kind.may_contain_header(head):
            return
        start = kind.sizeof_hdr
        header = kind(head[:start], check=False)
        offset = float(header["vox_offset"])
        if offset > MAX_HEADER:
            raise ScanError("its header is too large", where=path.name)
        if not any(head[start : start + 1]):  # the flag of extensions (nifti1.h, nifti1_extender)
            return
        file.seek(start + 4)
        room = offset - start - 4
        while room >= 16 or room < 0:
            (size,) = struct.unpack(f"{header.endianness}i", file.read(4))
            if not 8 <= size <= room:
                raise ScanError(f"an extension of its header has {size} bytes, room is for {room:g}", where=path.name)
            file.seek(size - 4, 1)
            room -= size


def _first_volume(image: Any, shape: tuple[int, ...], path: Path) -> tuple[Any, Any]:
    """Returns the first volume of an image in the canonical orientation, and its values `[X, Y, Z]` float32.

    Raises:
        ScanError: it has no orientation, or its values cannot be read.
    """
    import nibabel

    try:
        if len(shape) > 3:
            image = image.slicer[(..., *[0] * (len(shape) - 3))]
        if not np.isfinite(image.affine).all() or np.linalg.matrix_rank(image.affine[:3, :3]) < 3:
            raise ScanError("its affine gives no orientation: it has zeros or NaN for an axis", where=path.name)
        with quiet():
            image = nibabel.as_closest_canonical(image)
            return image, np.asarray(image.dataobj, np.float32)
    except ScanError:
        raise
    except Exception as error:
        raise ScanError(f"not a readable NIfTI file ({reason_of(error, path)})", where=path.name) from None


def stated_forms(image: Any) -> list[Any] | None:
    """Returns the affines that a NIfTI header states, the sform first.

    If it states none, nibabel makes one from the voxel sizes. Returns None for other formats of nibabel.
    """
    header = image.header
    if "qform_code" not in header:
        return None
    forms = (header.get_sform(coded=True)[0], header.get_qform(coded=True)[0])
    return [form for form in forms if form is not None]


def _has_size(image: Any, path: Path) -> bool:
    """Returns whether a file has an affine, or else valid voxel sizes in its header."""
    from nibabel.openers import ImageOpener

    header = image.header
    if "pixdim" not in header:
        return True
    if int(header["sform_code"]) > 0 or int(header["qform_code"]) > 0:
        return True
    # Read again, because nibabel replaces sizes of 0 by 1.
    with ImageOpener(path) as file:
        stored = type(header).from_fileobj(file, check=False)["pixdim"][1:4]
    return all(0 < float(side) < np.inf for side in stored)


def _forms_differ(image: Any) -> bool:
    """Returns whether the two affines of a header give other voxel sizes or another canonical orientation.

    A registration writes a rotated or shifted sform, which changes neither.
    """
    from nibabel import affines, orientations

    header = image.header
    if "qform_code" not in header or not (int(header["qform_code"]) > 0 and int(header["sform_code"]) > 0):
        return False
    qform = header.get_qform()
    sform = header.get_sform()
    if not all(np.isfinite(form).all() and np.linalg.matrix_rank(form[:3, :3]) == 3 for form in (qform, sform)):
        return False
    equal_sizes = np.allclose(affines.voxel_sizes(qform), affines.voxel_sizes(sform), rtol=SIZE_TOLERANCE)
    equal_axes = np.array_equal(orientations.io_orientation(qform), orientations.io_orientation(sform))
    return not (equal_sizes and equal_axes)


def unit_of(image: Any) -> float | None:
    """Returns the unit of the voxel size in millimetres, or None if the header names none."""
    # nibabel raises a KeyError for codes that the format does not define, even for the unit of time, which is not used.
    code = int(image.header["xyzt_units"]) & SPACE_UNIT if "xyzt_units" in image.header else 0
    return MILLIMETRES.get(code)


def _voxel_size(image: Any) -> tuple[float, float, float] | None:
    """Returns millimetres along the axes of an image, from its affine; None if it has no valid size."""
    from nibabel import affines

    sizes = [float(side) for side in affines.voxel_sizes(image.affine)]
    if len(sizes) != 3 or not all(0 < side < np.inf for side in sizes):
        return None
    scale = unit_of(image) or 1.0
    return sizes[0] * scale, sizes[1] * scale, sizes[2] * scale


def slices_along(volume: Any, plane: Plane) -> Any:
    """Returns the slices `[S, H, W]` of a canonical volume.

    Rows start at the front (axial) or the top, columns at the patient's right (at the front in sagittal slices).
    """
    moved = np.moveaxis(volume, AXES[plane], 0)  # sagittal [x, y, z], coronal [y, x, z], axial [z, x, y]
    return np.swapaxes(moved, 1, 2)[:, ::-1, ::-1]


def _masks_along(mask: Mask, volume: Any, plane: Plane, path: Path) -> Any:
    """Returns the slices `[S, H, W]` of a mask, if it fits the volume."""
    displayed = slices_along(volume, plane).shape
    if displayed == (1, *mask.shape):
        return mask[None]
    if mask.shape != volume.shape:
        image = shape_text(volume.shape)
        raise ScanError(f"its mask is {shape_text(mask.shape)} voxels, the image {image}", where=path.name)
    return slices_along(mask, plane)
