"""Reads DICOM images, single-frame or multi-frame, into slices in Hounsfield or scanner units."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from gansweep.cohort.readers.acquisition import acquisition_of
from gansweep.cohort.readers.attributes import functional_group, values_of
from gansweep.cohort.readers.dicom_header import header_of, open_dicom
from gansweep.cohort.readers.dicom_kind import (
    check_kind,
    frame_reason,
    frame_type,
    image_type,
    is_displayed,
    modality_of,
    no_signal,
)
from gansweep.cohort.readers.quiet import quiet
from gansweep.cohort.readers.sequences import sequence_in
from gansweep.cohort.readers.slices import Array, Flaw, ScanError, Slice, UnneededError, reason_of
from gansweep.cohort.readers.stored_values import bits_stored, decode, padding_of

if TYPE_CHECKING:
    from pathlib import Path

    from pydicom import Dataset

__all__ = ["read_dicom"]

AIR_HU = -1000.0
NO_IMAGE_TYPE = "CT without Image Type: taken for an original image in Hounsfield units"
_UNITS = {"OD", "HU", "US", "MGML", "Z_EFF", "ED", "EDW", "HU_MOD", "PCT"}  # terms of RescaleType (PS3.3 C.11.1.1.2)


def read_dicom(path: Path, *, derived: bool = False, assume_hu: bool = False) -> list[Slice]:
    """Reads the slices of one DICOM file.

    Padding pixels become air (CT) or the smallest value. MONOCHROME1 images without calibrated units are inverted, so
    that larger is brighter, all frames by the same constant. Hounsfield units mean the same in either photometric
    interpretation. In an enhanced multi-frame object, a frame's functional group takes precedence over the attributes
    of the file.

    Args:
        path: a DICOM file, with any or no suffix.
        derived: also read CT and MR images that were computed from others, and secondary captures.
        assume_hu: take CT whose units the file does not give for Hounsfield units; a missing slope is 1, a missing
            intercept 0.

    Returns:
        One slice per frame, except for frames that are localizers or derived, which the remark of the first slice
        mentions: Hounsfield units for CT, scanner units for MR and radiographs, values in [0, 1] for pictures.

    Raises:
        ScanError: the file is not DICOM, truncated, too large or undecodable, or is CT with unknown units.
        UnneededError: the file has no pixels, has burned-in text, or is a localizer, a screen save, a derived image or
            the label of a slide.
    """
    dataset = open_dicom(path, header_only=False)
    try:
        with quiet():
            check_kind(dataset, path, derived=derived)
            frames = decode(dataset, path)
            reasons = [frame_reason(dataset, number, derived=derived) for number in range(len(frames))]
            if all(reasons):
                raise UnneededError(reasons[0], where=path.name)
            slices = [
                _slice(dataset, frame, number, path, assume_hu)
                for number, (frame, reason) in enumerate(zip(frames, reasons, strict=True))
                if not reason
            ]
            # A remark is about the whole file, so only the first slice has it.
            return [replace(slices[0], remark=_remark(reasons)), *slices[1:]]
    except (ScanError, UnneededError):
        raise
    except Exception as error:  # pydicom parses an attribute on first access, and a broken one raises any error
        raise ScanError(f"an attribute cannot be read ({reason_of(error, path)})", where=path.name) from None


def _remark(reasons: list[str]) -> str:
    """Returns what was left out, given the reason for each frame, "" for those that are used."""
    counts = Counter(reason for reason in reasons if reason)
    return "; ".join(f"{reason} ({count} of {len(reasons)} frames)" for reason, count in counts.items())


def _slice(dataset: Dataset, stored: Any, number: int, path: Path, assume_hu: bool) -> Slice:
    modality = modality_of(dataset)
    displayed = is_displayed(dataset, stored)
    padding = None if stored.ndim == 3 else padding_of(dataset, stored[None])
    palette = dataset.get("PhotometricInterpretation") == "PALETTE COLOR"
    bits = 8 * stored.dtype.itemsize if palette else bits_stored(dataset, stored)

    if stored.ndim == 3:  # colour
        pixels = np.moveaxis(stored.astype(np.float32), -1, 0) / np.float32(2**bits - 1)
    else:
        inverted = dataset.get("PhotometricInterpretation") == "MONOCHROME1" and modality != "CT"
        pixels = _rescaled(dataset, stored, number, modality, path, assume_hu)[None]
        if displayed:
            # A slope has no unit here, but may turn black into white.
            levels = _rescaled(dataset, np.arange(2**bits, dtype=stored.dtype), number, modality, path, assume_hu)
            pixels = _as_shares(pixels, levels, path)
            pixels = 1 - pixels if inverted else pixels
        else:
            pixels = _ends(stored, bits) - pixels if inverted else pixels

    if padding is not None:
        fill = AIR_HU if modality == "CT" else float(pixels[~padding].min())
        pixels = np.where(padding, fill, pixels)
    if not np.isfinite(pixels).all():
        raise ScanError("values that are not finite", where=path.name)

    header = header_of(dataset)
    spacing, flaws = _spacing(dataset, number)
    position, place = _position(dataset, number)
    return Slice(
        pixels=np.ascontiguousarray(pixels, np.float32),
        modality="raster" if displayed else modality,
        spacing_mm=spacing,
        aspect=_aspect(dataset),
        series=header.series or str(path),
        position=position,
        place=place,
        patient=header.patient,
        issuer=header.issuer,
        study=header.study,
        depth=f"{bits}-bit" if stored.dtype.kind in "iu" else "float",
        normal=_normal(dataset, number),
        flaws=(*flaws, *_kind_flaws(dataset, number)),
        sequence=_sequence(dataset, header.description) if modality == "MR" else "",
        acquisition=acquisition_of(dataset, number),
    )


def _sequence(dataset: Dataset, description: str) -> str:
    """Returns the sequence that Image Type, the series or its protocol names. A map has the name of what it is from."""
    texts = (" ".join(image_type(dataset)[2:]), description, str(dataset.get("ProtocolName") or ""))
    return next((found for found in map(sequence_in, texts) if found), "")


def _kind_flaws(dataset: Dataset, number: int) -> list[Flaw]:
    """Returns what is odd about the kind of an image: CT without Image Type, which is required, and MR of no signal."""
    if modality_of(dataset) == "CT" and not image_type(dataset) and not frame_type(dataset, number):
        return [Flaw(NO_IMAGE_TYPE)]
    shown = no_signal(dataset, number)
    return [Flaw(shown)] if shown else []


def _as_shares(pixels: Array, levels: Array, path: Path) -> Array:
    """Returns pixels as shares of the range of `levels`, which are all values that an image may have.

    Raises:
        ScanError: there is one level only.
    """
    low = levels.min()
    high = levels.max()
    if low == high:
        raise ScanError("its Modality LUT makes all values equal", where=path.name)
    return np.asarray((pixels - low) / (high - low), np.float32)


def _ends(stored: Any, bits: int) -> float:
    """Returns the sum of the smallest and the largest value that `bits` can store.

    Values are inverted with this constant and not with a frame's own extremes. One series has one window, so all its
    frames need the same map.
    """
    # More than 16 bits would leave float32 no precision for the values themselves.
    if stored.dtype.kind == "f" or bits > 16:
        return 0.0
    return -1.0 if stored.dtype.kind == "i" else float(2**bits - 1)


def _rescaled(dataset: Dataset, stored: Any, number: int, modality: str, path: Path, assume_hu: bool) -> Array:
    """Applies the Modality LUT module (PS3.3 C.11.1): a lookup table, or slope and intercept of the frame or the file.

    The result has the shape of `stored`, and is in Hounsfield or scanner units.

    Raises:
        ScanError: it is CT, and the file does not say that the result is in Hounsfield units.
    """
    from pydicom.pixels.processing import apply_modality_lut

    group = functional_group(dataset, number, "PixelValueTransformationSequence")
    source = group if group is not None else dataset
    if modality == "CT" and not assume_hu:
        _check_units(source, path)
    if source.get("ModalityLUTSequence"):
        # pydicom computes the index of an entry in the type of the values, and a table may have more than 256 entries.
        return np.asarray(apply_modality_lut(stored.astype(np.int64), source), np.float32)
    slope = _number(source, "RescaleSlope", 1.0)
    if slope == 0:
        raise ScanError("RescaleSlope is 0, so all values are equal", where=path.name)
    intercept = _number(source, "RescaleIntercept", 0.0)
    if slope == 1 and intercept == 0:
        return np.asarray(stored, np.float32)
    return np.asarray(stored * np.float64(slope) + intercept, np.float32)


def _check_units(source: Dataset, path: Path) -> None:
    """Refuses CT whose header states units other than Hounsfield units (PS3.3 C.8.2.1 and C.11.1)."""
    table = source.get("ModalityLUTSequence")
    missing = [name for name in ("RescaleSlope", "RescaleIntercept") if source.get(name) in (None, "")]
    kind = table[0].get("ModalityLUTType") if table else source.get("RescaleType")
    hint = "--assume-hu takes them as they are"
    if missing and not table:
        what = " and ".join(missing)
        raise ScanError(f"CT without {what}, so its Hounsfield units are unknown ({hint})", where=path.name)
    units = str(kind or "HU").strip().upper()
    if units != "HU":
        shown = repr(str(kind)) if units in _UNITS else "without a known name"  # it could name the patient
        raise ScanError(f"CT in units {shown} instead of Hounsfield units ({hint})", where=path.name)


def _number(source: Dataset, name: str, default: float) -> float:
    value = source.get(name)
    return default if value is None or value == "" else float(value)


def _spacing(dataset: Dataset, number: int) -> tuple[tuple[float, float] | None, tuple[Flaw, ...]]:
    """Millimetres between rows and between columns (PS3.3 10.7.1.3), at the detector for projections; and flaws."""
    wrong = ""
    group = functional_group(dataset, number, "PixelMeasuresSequence")
    for source, name in ((group, "PixelSpacing"), (dataset, "PixelSpacing"), (dataset, "ImagerPixelSpacing")):
        values = values_of(source.get(name)) if source is not None else []
        if len(values) == 2 and all(0 < float(value) < np.inf for value in values):
            return (float(values[0]), float(values[1])), ()
        wrong = wrong or (name if values else "")
    return None, (Flaw(f"{wrong} is not two positive numbers: pixels are taken for square"),) if wrong else ()


def _aspect(dataset: Dataset) -> float:
    """Returns the height of a pixel divided by its width (PS3.3 C.7.6.3.1.7); 1 if the file does not give it."""
    values = [float(value) for value in values_of(dataset.get("PixelAspectRatio"))]
    if len(values) != 2 or not all(0 < value < np.inf for value in values):
        return 1.0
    return values[0] / values[1]


def _normal(dataset: Dataset, number: int) -> tuple[float, float, float] | None:
    """Returns the unit vector perpendicular to a slice (PS3.3 C.7.6.2.1.1), or None if the orientation is not given."""
    orientation = functional_group(dataset, number, "PlaneOrientationSequence") or dataset
    axes = [float(value) for value in values_of(orientation.get("ImageOrientationPatient"))]
    if len(axes) != 6:
        return None
    normal = np.cross(axes[:3], axes[3:])
    length = float(np.linalg.norm(normal))
    if not 0 < length < np.inf:
        return None
    return float(normal[0]) / length, float(normal[1]) / length, float(normal[2]) / length


def _position(dataset: Dataset, number: int) -> tuple[float, tuple[float, ...]]:
    """Returns the position along the slice normal in mm (PS3.3 C.7.6.2.1.1), and the place in the patient.

    Without geometry, returns the instance and frame number, and no place.
    """
    position = functional_group(dataset, number, "PlanePositionSequence") or dataset
    orientation = functional_group(dataset, number, "PlaneOrientationSequence") or dataset
    corner = [float(value) for value in values_of(position.get("ImagePositionPatient"))]
    axes = values_of(orientation.get("ImageOrientationPatient"))
    # Frames without a position of their own lie anywhere from the file's: those of a volume do not say it.
    placed = position is not dataset or int(dataset.get("NumberOfFrames") or 1) == 1
    if len(corner) == 3 and len(axes) == 6:
        normal = np.cross([float(v) for v in axes[:3]], [float(v) for v in axes[3:]])
        along = float(np.dot(normal, corner))
        return along, (along,) if placed else ()
    if len(corner) == 3:
        return corner[2], tuple(corner) if placed else ()
    return float(dataset.get("InstanceNumber") or 0) + number, ()
