"""Reads DICOM images, single-frame or multi-frame, into slices in Hounsfield or scanner units."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from gansweep.cohort.readers.dicom_header import header_of, open_dicom
from gansweep.cohort.readers.slices import Array, ScanError, Slice, UnneededError, reason_of

if TYPE_CHECKING:
    from pathlib import Path

    from pydicom import Dataset

__all__ = ["read_dicom"]

AIR_HU = -1000.0
# Modalities of objects that are not images of a patient: segmentations, radiotherapy, presentation states, reports.
NO_ANATOMY = {"SEG", "RTDOSE", "RTSTRUCT", "RTPLAN", "PR", "KO", "SR", "REG"}


def read_dicom(path: Path) -> list[Slice]:
    """Reads the slices of one DICOM file.

    Padding pixels become air (CT) or the smallest value. MONOCHROME1 images without calibrated units are inverted, so
    that larger is brighter. Hounsfield units mean the same in either photometric interpretation. In an enhanced
    multi-frame object, a frame's functional group takes precedence over the attributes of the file.

    Args:
        path: a DICOM file, with any or no suffix.

    Returns:
        One slice per frame: Hounsfield units for CT, scanner units for MR, values in [0, 1] for screenshots.

    Raises:
        ScanError: the file is not DICOM, truncated or undecodable, has burned-in text, or is CT with unknown units.
        UnneededError: the file is a localizer or has no pixels.
    """
    dataset = open_dicom(path, header_only=False)
    try:
        return _slices(dataset, path)
    except (ValueError, TypeError, OverflowError) as error:  # pydicom parses an attribute on first access
        raise ScanError(f"an attribute cannot be read ({reason_of(error, path)})", where=path.name) from None


def _slices(dataset: Dataset, path: Path) -> list[Slice]:
    if "Rows" not in dataset or not ({"PixelData", "FloatPixelData", "DoubleFloatPixelData"} & set(dataset.dir())):
        raise UnneededError(f"a DICOM object without pixels ({_sop_class(dataset)})", where=path.name)
    # A localizer is a projection or a thick overview slice for planning (Image Type value 3; PS3.3 C.8.2.1.1.1).
    if "LOCALIZER" in [str(part).upper() for part in _values(dataset.get("ImageType"))]:
        raise UnneededError("a localizer image", where=path.name)
    if str(dataset.get("Modality", "")) in NO_ANATOMY:
        raise UnneededError(f"not an image of a patient ({_sop_class(dataset)})", where=path.name)
    if dataset.get("BurnedInAnnotation") == "YES":
        raise ScanError("text burned into the image may name the patient", where=path.name)
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
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian  # the default of DICOM (PS3.5, 10.1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            stored = pixel_array(dataset)
            if dataset.get("PhotometricInterpretation") == "PALETTE COLOR":
                return _frames(apply_color_lut(stored, dataset)[..., :3], 3)
        except Exception as error:  # each decoder raises errors of its own
            raise ScanError(f"its pixels cannot be decoded ({reason_of(error, path)})", where=path.name) from None
    return _frames(stored, 3 if dataset.get("SamplesPerPixel", 1) == 3 else 2)


def _frames(stored: Any, single: int) -> Any:
    """Adds a leading axis of frames if `stored` is one frame, which has `single` axes."""
    return stored[None] if stored.ndim == single else stored


def _slice(dataset: Dataset, stored: Any, number: int, path: Path) -> Slice:
    modality = str(dataset.get("Modality", "")) or _modality_of_class(dataset)
    screenshot = modality not in {"CT", "MR"} and stored.dtype == np.uint8
    padding = _padding(dataset, stored)

    if stored.ndim == 3:  # colour
        pixels = np.moveaxis(stored.astype(np.float32), -1, 0) / np.iinfo(stored.dtype).max
        modality = "raster"
    else:
        inverted = dataset.get("PhotometricInterpretation") == "MONOCHROME1" and modality != "CT"
        if screenshot:  # also ultrasound: grey levels as displayed
            pixels = stored[None] / np.float32(255)
            modality = "raster"
            pixels = 1 - pixels if inverted else pixels
        else:
            pixels = _rescaled(dataset, stored, padding, number, modality, path)[None]
            pixels = pixels.max() + pixels.min() - pixels if inverted else pixels

    if padding is not None:
        fill = AIR_HU if modality == "CT" else float(pixels[~padding].min())
        pixels = np.where(padding, fill, pixels)
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
    """Applies the Modality LUT module (PS3.3 C.11.1): a lookup table, or slope and intercept of the frame or the file.

    CT without either is accepted as Hounsfield units if it contains air; padding pixels do not count as air.

    `stored` is `[H, W]`, `padding` a mask `[1, H, W]` or None; the result is `[H, W]` in Hounsfield or scanner units.
    """
    from pydicom.pixels.processing import apply_modality_lut

    group = _group(dataset, number, "PixelValueTransformationSequence")
    source = group if group is not None else dataset
    if "ModalityLUTSequence" in source or "RescaleSlope" in source or "RescaleIntercept" in source:
        if "ModalityLUTSequence" in source:
            return np.asarray(apply_modality_lut(stored, source), np.float32)
        slope = float(source.get("RescaleSlope", 1) or 1)
        intercept = float(source.get("RescaleIntercept", 0) or 0)
        return np.asarray(stored * np.float64(slope) + intercept, np.float32)
    visible = stored if padding is None else stored[~padding[0]]
    if modality == "CT" and float(visible.min()) > -500:  # air is -1000 HU
        raise ScanError(
            "CT without RescaleSlope and RescaleIntercept, so its Hounsfield units are unknown", where=path.name
        )
    return np.asarray(stored, np.float32)


def _padding(dataset: Dataset, stored: Any) -> Any:
    """Mask `[1, H, W]` of the padding pixels (PS3.3 C.7.5.1.1.2), or None if there are none.

    Padding is PixelPaddingValue, or the range from it to PixelPaddingRangeLimit.
    """
    value = dataset.get("PixelPaddingValue")
    if value is None or stored.ndim == 3:
        return None
    first = _signed(dataset, value)
    last = _signed(dataset, dataset.get("PixelPaddingRangeLimit", value))
    mask = (stored >= min(first, last)) & (stored <= max(first, last))
    return mask[None] if mask.any() and not mask.all() else None


def _signed(dataset: Dataset, value: Any) -> int:
    """A padding value with its sign restored: many writers store a signed value under an unsigned VR."""
    if isinstance(value, bytes):
        value = int.from_bytes(value[:2], "little")
    bits = int(dataset.get("BitsAllocated", 16))
    signed = int(dataset.get("PixelRepresentation", 0)) == 1
    return int(value) - 2**bits if signed and int(value) >= 2 ** (bits - 1) else int(value)


def _group(dataset: Dataset, number: int, name: str) -> Dataset | None:
    """A functional group of one frame, or else the shared one (PS3.3 C.7.6.16); None if there is neither."""
    frames = dataset.get("PerFrameFunctionalGroupsSequence")
    shared = dataset.get("SharedFunctionalGroupsSequence")
    for candidate in ([frames[number]] if frames and number < len(frames) else []) + list(shared or []):
        if candidate.get(name):
            found: Dataset = candidate[name][0]
            return found
    return None


def _spacing(dataset: Dataset, number: int) -> tuple[float, float] | None:
    """Millimetres between rows and between columns (PS3.3 10.7.1.3); at the detector for projection images."""
    group = _group(dataset, number, "PixelMeasuresSequence")
    for source, name in ((group, "PixelSpacing"), (dataset, "PixelSpacing"), (dataset, "ImagerPixelSpacing")):
        values = _values(source.get(name)) if source is not None else []
        if len(values) == 2 and all(0 < float(value) < np.inf for value in values):
            return float(values[0]), float(values[1])
    return None


def _position(dataset: Dataset, number: int) -> float:
    """Position along the slice normal in mm (PS3.3 C.7.6.2.1.1); without geometry, the instance and frame number."""
    position = _group(dataset, number, "PlanePositionSequence") or dataset
    orientation = _group(dataset, number, "PlaneOrientationSequence") or dataset
    corner = _values(position.get("ImagePositionPatient"))
    axes = _values(orientation.get("ImageOrientationPatient"))
    if len(corner) == 3 and len(axes) == 6:
        normal = np.cross([float(v) for v in axes[:3]], [float(v) for v in axes[3:]])
        return float(np.dot(normal, [float(v) for v in corner]))
    if len(corner) == 3:
        return float(corner[2])
    return float(dataset.get("InstanceNumber") or 0) + number


def _modality_of_class(dataset: Dataset) -> str:
    """The modality according to the SOP class, for files without Modality."""
    name = _sop_class(dataset)
    return "CT" if " CT " in f" {name} " else "MR" if " MR " in f" {name} " else "OT"


def _sop_class(dataset: Dataset) -> str:
    uid = dataset.get("SOPClassUID")
    return str(getattr(uid, "name", uid) or "unknown class")


def _values(value: Any) -> list[Any]:
    """The values of an attribute: pydicom returns a bare value for multiplicity 1, and None or "" for an empty one."""
    if value is None or value == "":
        return []
    return [value] if isinstance(value, str | int | float) else list(value)
