"""DICOM images, single-frame and multi-frame, compressed or not, to slices in Hounsfield or scanner units."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from gansweep.cohort.dicom_header import header_of, open_dicom
from gansweep.cohort.scan import Array, ScanError, Slice, UnneededError, reason_of

if TYPE_CHECKING:
    from pathlib import Path

    from pydicom import Dataset

__all__ = ["read_dicom"]

AIR_HU = -1000.0
NO_ANATOMY = {"SEG", "RTDOSE", "RTSTRUCT", "RTPLAN", "PR", "KO", "SR", "REG"}


def read_dicom(path: Path) -> list[Slice]:
    """The slices of one DICOM file, in Hounsfield units for CT.

    Padding pixels become air (CT) or the smallest value. MONOCHROME1 images without calibrated units are inverted, so
    that larger is brighter; Hounsfield units mean the same in either photometric interpretation. A frame's own
    functional group (enhanced multi-frame objects) goes before the attributes of the whole file.

    Raises:
        ScanError: not DICOM, truncated, undecodable, with text burned in, or CT whose Hounsfield units cannot be known.
        UnneededError: a localizer, or an object without pixels.
    """
    dataset = open_dicom(path, header_only=False)
    try:
        return _slices(dataset, path)
    except (ValueError, TypeError, OverflowError) as error:  # pydicom reads an attribute when it is asked for
        raise ScanError(f"an attribute that cannot be read ({reason_of(error, path)})", where=path.name) from None


def _slices(dataset: Dataset, path: Path) -> list[Slice]:
    if "Rows" not in dataset or not ({"PixelData", "FloatPixelData", "DoubleFloatPixelData"} & set(dataset.dir())):
        raise UnneededError(f"a DICOM object without pixels ({_sop_class(dataset)})", where=path.name)
    if "LOCALIZER" in [str(part).upper() for part in _values(dataset.get("ImageType"))]:
        raise UnneededError("a localizer image", where=path.name)
    if str(dataset.get("Modality", "")) in NO_ANATOMY:
        raise UnneededError(f"no picture of a patient ({_sop_class(dataset)})", where=path.name)
    if dataset.get("BurnedInAnnotation") == "YES":
        raise ScanError("text burned into the picture may name the patient", where=path.name)
    frames = _decode(dataset, path)
    return [_slice(dataset, frame, number, path) for number, frame in enumerate(frames)]


def _decode(dataset: Dataset, path: Path) -> Array | Any:
    """Stored values as `[frames, H, W]` or `[frames, H, W, 3]`."""
    from pydicom.pixels.processing import apply_color_lut
    from pydicom.pixels.utils import pixel_array

    if not getattr(dataset, "file_meta", None) or "TransferSyntaxUID" not in dataset.file_meta:
        from pydicom.dataset import FileMetaDataset
        from pydicom.uid import ImplicitVRLittleEndian

        dataset.file_meta = getattr(dataset, "file_meta", None) or FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian  # DICOM's default (PS3.5, 10.1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            stored = pixel_array(dataset)
            if dataset.get("PhotometricInterpretation") == "PALETTE COLOR":
                return _frames(apply_color_lut(stored, dataset)[..., :3], 3)
        except Exception as error:
            raise ScanError(f"its pixels cannot be decoded ({reason_of(error, path)})", where=path.name) from None
    return _frames(stored, 3 if dataset.get("SamplesPerPixel", 1) == 3 else 2)


def _frames(stored: Any, single: int) -> Any:
    """`stored` with an axis of frames before the `single` axes of one."""
    return stored[None] if stored.ndim == single else stored


def _slice(dataset: Dataset, stored: Any, number: int, path: Path) -> Slice:
    modality = str(dataset.get("Modality", "")) or _modality_of_class(dataset)
    picture = modality not in {"CT", "MR"} and stored.dtype == np.uint8
    padding = _padding(dataset, stored)
    if stored.ndim == 3:
        pixels = np.moveaxis(stored.astype(np.float32), -1, 0) / np.iinfo(stored.dtype).max
        modality = "raster"
    else:
        turned = dataset.get("PhotometricInterpretation") == "MONOCHROME1" and modality != "CT"
        if picture:  # screenshots, ultrasound: grey levels as they are shown
            pixels, modality = stored[None] / np.float32(255), "raster"
            pixels = 1 - pixels if turned else pixels
        else:
            pixels = _rescaled(dataset, stored, padding, number, modality, path)[None]
            pixels = pixels.max() + pixels.min() - pixels if turned else pixels
    if padding is not None:
        pixels = np.where(padding, AIR_HU if modality == "CT" else _smallest(pixels, padding), pixels)
    if not np.isfinite(pixels).all():
        raise ScanError("values that are not finite", where=path.name)
    header = header_of(dataset)
    return Slice(
        pixels=np.ascontiguousarray(pixels, np.float32),
        modality=modality,
        spacing_mm=_spacing(dataset, number),
        series=header.series or str(path),
        position=_position(dataset, number),
        patient=header.patient,
        issuer=header.issuer,
        study=header.study,
    )


def _rescaled(dataset: Dataset, stored: Any, padding: Any, number: int, modality: str, path: Path) -> Array:
    """The modality transformation (PS3.3 C.11.1): a lookup table, or slope and intercept of the frame or the file.

    CT without either is taken for Hounsfield units where it has air, which no padding can stand for: `[1, H, W]` or
    None.
    """
    from pydicom.pixels.processing import apply_modality_lut

    group = _group(dataset, number, "PixelValueTransformationSequence")
    source = group if group is not None else dataset
    if "ModalityLUTSequence" in source or "RescaleSlope" in source or "RescaleIntercept" in source:
        if "ModalityLUTSequence" in source:
            return np.asarray(apply_modality_lut(stored, source), np.float32)
        slope, intercept = float(source.get("RescaleSlope", 1) or 1), float(source.get("RescaleIntercept", 0) or 0)
        return np.asarray(stored * np.float64(slope) + intercept, np.float32)
    seen = stored if padding is None else stored[~padding[0]]
    if modality == "CT" and float(seen.min()) > -500:
        raise ScanError(
            "CT without RescaleSlope and RescaleIntercept, so its Hounsfield units are unknown", where=path.name
        )
    return np.asarray(stored, np.float32)


def _padding(dataset: Dataset, stored: Any) -> Any:
    """Where the file says there is no image (PixelPaddingValue, or the range up to its limit), or None."""
    value = dataset.get("PixelPaddingValue")
    if value is None or stored.ndim == 3:
        return None
    first, last = _signed(dataset, value), _signed(dataset, dataset.get("PixelPaddingRangeLimit", value))
    where = (stored >= min(first, last)) & (stored <= max(first, last))
    return where[None] if where.any() and not where.all() else None


def _signed(dataset: Dataset, value: Any) -> int:
    """A padding value read with the wrong sign (an old fault of many writers) put right."""
    if isinstance(value, bytes):
        value = int.from_bytes(value[:2], "little")
    bits = int(dataset.get("BitsAllocated", 16))
    signed = int(dataset.get("PixelRepresentation", 0)) == 1
    return int(value) - 2**bits if signed and int(value) >= 2 ** (bits - 1) else int(value)


def _smallest(pixels: Array, padding: Any) -> float:
    return float(pixels[~padding].min())


def _group(dataset: Dataset, number: int, name: str) -> Dataset | None:
    """A functional group of one frame, or the shared one (PS3.3 C.7.6.16)."""
    frames, shared = dataset.get("PerFrameFunctionalGroupsSequence"), dataset.get("SharedFunctionalGroupsSequence")
    for candidate in ([frames[number]] if frames and number < len(frames) else []) + list(shared or []):
        if candidate.get(name):
            found: Dataset = candidate[name][0]
            return found
    return None


def _spacing(dataset: Dataset, number: int) -> tuple[float, float] | None:
    group = _group(dataset, number, "PixelMeasuresSequence")
    for source, name in ((group, "PixelSpacing"), (dataset, "PixelSpacing"), (dataset, "ImagerPixelSpacing")):
        values = _values(source.get(name)) if source is not None else []
        if len(values) == 2 and all(0 < float(value) < np.inf for value in values):
            return float(values[0]), float(values[1])
    return None


def _position(dataset: Dataset, number: int) -> float:
    """Height along the slice normal, mm; where the geometry is missing, the instance and frame number."""
    place = _group(dataset, number, "PlanePositionSequence") or dataset
    turn = _group(dataset, number, "PlaneOrientationSequence") or dataset
    corner, axes = _values(place.get("ImagePositionPatient")), _values(turn.get("ImageOrientationPatient"))
    if len(corner) == 3 and len(axes) == 6:
        normal = np.cross([float(v) for v in axes[:3]], [float(v) for v in axes[3:]])
        return float(np.dot(normal, [float(v) for v in corner]))
    if len(corner) == 3:
        return float(corner[2])
    return float(dataset.get("InstanceNumber") or 0) + number


def _modality_of_class(dataset: Dataset) -> str:
    name = _sop_class(dataset)
    return "CT" if " CT " in f" {name} " else "MR" if " MR " in f" {name} " else "OT"


def _sop_class(dataset: Dataset) -> str:
    uid = dataset.get("SOPClassUID")
    return str(getattr(uid, "name", uid) or "unknown class")


def _values(value: Any) -> list[Any]:
    if value is None or value == "":
        return []
    return [value] if isinstance(value, str | int | float) else list(value)
