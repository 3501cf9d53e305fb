"""Writes one axial CT slice as a DICOM CT Image (PS3.3 A.3) that names nobody."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gansweep import __version__

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["CtSlice", "write_ct"]

INTERCEPT = -1024


@dataclass(frozen=True)
class CtSlice:
    """Where a slice belongs.

    Args:
        patient: PatientID; PatientName is made of it.
        study: what the study, series and frame-of-reference UIDs are derived from (reproducibly).
        instance: 1 for the first slice of the series.
        position_mm: centre height of the slice.
        spacing_mm: between pixels, rows and columns alike.
        thickness_mm: of the slice.
        description: SeriesDescription; say here what the image is.
        comments: ImageComments.
    """

    patient: str
    study: str
    instance: int
    position_mm: float
    spacing_mm: float
    thickness_mm: float
    description: str
    comments: str = ""


def write_ct(path: Path, hu: NDArray[np.float32], place: CtSlice) -> None:
    """Writes Hounsfield units `[H, W]` (-1024 to 3071, rounded) to `path` as 12-bit CT, explicit VR little endian."""
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian, generate_uid

    def uid(*parts: object) -> UID:
        return generate_uid(entropy_srcs=["gansweep", place.study, *map(str, parts)])

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = uid("instance", place.instance)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID, dataset.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = uid("study"), uid("series")
    dataset.FrameOfReferenceUID = uid("frame")
    _describe(dataset, place)
    _place(dataset, hu.shape, place)
    stored = np.clip(np.round(hu) - INTERCEPT, 0, 4095).astype("<u2")
    dataset.PixelData = stored.tobytes()
    dataset.save_as(path, enforce_file_format=True)


def _describe(dataset: object, place: CtSlice) -> None:
    """Patient, study, series and equipment; type 2 attributes stand empty."""
    values = {
        "PatientName": place.patient.replace("-", "^"),
        "PatientID": place.patient,
        "PatientBirthDate": "",
        "PatientSex": "",
        "PatientIdentityRemoved": "YES",
        "DeidentificationMethod": "synthetic: no patient exists",
        "StudyDate": "",
        "StudyTime": "",
        "AccessionNumber": "",
        "ReferringPhysicianName": "",
        "StudyID": "",
        "Modality": "CT",
        "SeriesNumber": 1,
        "SeriesDescription": place.description,
        "BodyPartExamined": "HEAD",
        "PatientPosition": "HFS",
        "Manufacturer": "gansweep",
        "ManufacturerModelName": "synthetic",
        "SoftwareVersions": __version__,
        "PositionReferenceIndicator": "",
        "KVP": "",
        "BurnedInAnnotation": "NO",
        "ImageComments": place.comments,
    }
    for keyword, value in values.items():
        setattr(dataset, keyword, value)


def _place(dataset: object, shape: tuple[int, ...], place: CtSlice) -> None:
    """Geometry and how stored values become Hounsfield units."""
    rows, columns = shape
    corner = [-(columns - 1) / 2 * place.spacing_mm, -(rows - 1) / 2 * place.spacing_mm, place.position_mm]
    values = {
        "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
        "InstanceNumber": place.instance,
        "AcquisitionNumber": 1,
        "ContentDate": "",
        "ContentTime": "",
        "ImagePositionPatient": [round(value, 6) for value in corner],
        "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
        "SliceLocation": round(place.position_mm, 6),
        "SliceThickness": place.thickness_mm,
        "PixelSpacing": [round(place.spacing_mm, 8)] * 2,
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "Rows": rows,
        "Columns": columns,
        "BitsAllocated": 16,
        "BitsStored": 12,
        "HighBit": 11,
        "PixelRepresentation": 0,
        "RescaleIntercept": INTERCEPT,
        "RescaleSlope": 1,
        "RescaleType": "HU",
        "WindowCenter": 40,
        "WindowWidth": 80,
    }
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
