"""Writes one axial CT slice of the phantom as a DICOM CT Image (PS3.3 A.3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gansweep._version import __version__

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["NO_DATE", "CtSlice", "write_ct"]

NO_DATE = "19000101"
"""The study date of what was never acquired. Archives want one, and no scanner is as old."""

INTERCEPT = -1024  # stored 0 is -1024 HU, as in most CT files


@dataclass(frozen=True)
class CtSlice:
    """The attributes of a slice.

    Args:
        patient: PatientID; PatientName is derived from it.
        study: text from which study, series and frame-of-reference UIDs are derived, so that they are reproducible.
        instance: InstanceNumber, 1 for the first slice of the series.
        position_mm: height of the centre of the slice.
        spacing_mm: pixel spacing, the same for rows and columns.
        thickness_mm: slice thickness.
        description: SeriesDescription; it should say what the image is.
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


def write_ct(path: Path, hu: NDArray[np.float32], attributes: CtSlice) -> None:
    """Writes a slice as 12-bit CT in Explicit VR Little Endian.

    Args:
        path: the file.
        hu: Hounsfield units `[H, W]`; rounded, and clipped to -1024 to 3071.
        attributes: of the slice.
    """
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian, generate_uid

    def uid(*parts: object) -> UID:
        return generate_uid(entropy_srcs=["gansweep", attributes.study, *map(str, parts)])

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = uid("instance", attributes.instance)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID = CTImageStorage
    dataset.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    dataset.StudyInstanceUID = uid("study")
    dataset.SeriesInstanceUID = uid("series")
    dataset.FrameOfReferenceUID = uid("frame")
    _set_identity(dataset, attributes)
    _set_geometry(dataset, hu.shape, attributes)
    stored = np.clip(np.round(hu) - INTERCEPT, 0, 4095).astype("<u2")
    dataset.PixelData = stored.tobytes()
    dataset.save_as(path, enforce_file_format=True)


def _set_identity(dataset: object, attributes: CtSlice) -> None:
    """Sets the patient, study, series and equipment modules; type 2 attributes may be empty (PS3.5, 7.4.3)."""
    values = {
        "PatientName": attributes.patient.replace("-", "^"),
        "PatientID": attributes.patient,
        "PatientBirthDate": "",
        "PatientSex": "",
        "PatientIdentityRemoved": "YES",
        "DeidentificationMethod": "synthetic: no patient exists",
        "StudyDate": NO_DATE,
        "StudyTime": "000000",
        "AccessionNumber": "",
        "ReferringPhysicianName": "",
        "StudyID": "PHANTOM",
        "Modality": "CT",
        "SeriesNumber": 1,
        "SeriesDescription": attributes.description,
        "BodyPartExamined": "HEAD",
        "PatientPosition": "HFS",
        "Manufacturer": "gansweep",
        "ManufacturerModelName": "synthetic",
        "SoftwareVersions": __version__,
        "PositionReferenceIndicator": "",
        "KVP": "",
        "BurnedInAnnotation": "NO",
        "ImageComments": attributes.comments,
    }
    for keyword, value in values.items():
        setattr(dataset, keyword, value)


def _set_geometry(dataset: object, shape: tuple[int, ...], attributes: CtSlice) -> None:
    """Sets the image plane (PS3.3 C.7.6.2), image pixel (C.7.6.3) and CT image (C.8.2.1) modules."""
    rows, columns = shape
    corner = [
        -(columns - 1) / 2 * attributes.spacing_mm,
        -(rows - 1) / 2 * attributes.spacing_mm,
        attributes.position_mm,
    ]
    values = {
        "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
        "InstanceNumber": attributes.instance,
        "AcquisitionNumber": 1,
        "ContentDate": "",
        "ContentTime": "",
        "ImagePositionPatient": [round(value, 6) for value in corner],
        "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
        "SliceLocation": round(attributes.position_mm, 6),
        "SliceThickness": attributes.thickness_mm,
        "PixelSpacing": [round(attributes.spacing_mm, 8)] * 2,
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
