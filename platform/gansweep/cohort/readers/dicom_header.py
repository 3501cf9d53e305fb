"""Reads the DICOM attributes that identify patient, study and series."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gansweep.cohort.readers.dicom_kind import image_type, is_secondary_capture, modality_of
from gansweep.cohort.readers.limits import check_deflated
from gansweep.cohort.readers.quiet import quiet
from gansweep.cohort.readers.slices import ScanError, UnneededError, reason_of

if TYPE_CHECKING:
    from pathlib import Path

    from pydicom import Dataset

MEDIA_DIRECTORY = "1.2.840.10008.1.3.10"  # the SOP class of a DICOMDIR (PS3.10, 8)

__all__ = ["Header", "header_of", "is_dicom", "open_dicom", "read_header"]


@dataclass(frozen=True, repr=False)
class Header:
    """Attributes that identify a file and its kind, "" if missing. Never written out.

    Args:
        patient: PatientID.
        issuer: IssuerOfPatientID.
        name: PatientName.
        study: StudyInstanceUID, or SeriesInstanceUID if it is missing.
        series: SeriesInstanceUID.
        description: SeriesDescription.
        modality: Modality, or that of the SOP class.
        captured: whether it is a secondary capture, such as a screenshot, and not one of our synthetic images.
    """

    patient: str
    issuer: str
    name: str
    study: str
    series: str
    description: str
    modality: str
    captured: bool


def is_dicom(path: Path, *, without_preamble: bool = False) -> bool:
    """Returns whether the content of a file is DICOM, whatever its name.

    Args:
        path: the file.
        without_preamble: whether to recognise old files that start with the first attribute, too.
    """
    # 128 bytes of preamble, then the prefix DICM (PS3.10, 7.1).
    with path.open("rb") as file:
        head = file.read(132)
    if head[128:] == b"DICM":
        return True
    # An old file starts with an attribute of group 2 or 8, which has a small even group number in little endian.
    if not (without_preamble and len(head) > 8 and head[:2] in {b"\x02\x00", b"\x08\x00"}):
        return False
    try:
        dataset = open_dicom(path, header_only=True)
    except (ScanError, UnneededError):
        return False
    return "Rows" in dataset or "SOPClassUID" in dataset


def open_dicom(path: Path, *, header_only: bool) -> Dataset:
    """Reads the attributes of a file.

    Args:
        path: the file.
        header_only: stop before the pixel data.

    Raises:
        ScanError: the file is not DICOM.
        UnneededError: it is a DICOMDIR.
    """
    from pydicom import dcmread

    check_deflated(path)
    with quiet():
        try:
            # `force` also reads old files without a preamble. Read that way, a text file has none of these attributes.
            dataset = dcmread(path, stop_before_pixels=header_only, force=True)
            known = any(tag in dataset for tag in ("SOPClassUID", "Modality", "Rows", "StudyInstanceUID"))
            listing = getattr(dataset, "file_meta", {}).get("MediaStorageSOPClassUID") == MEDIA_DIRECTORY
        except Exception as error:
            raise ScanError(f"not a readable DICOM file ({reason_of(error, path)})", where=path.name) from None
    if listing:
        raise UnneededError("a DICOMDIR, which lists files", where=path.name)
    if not known:
        raise ScanError("not a DICOM file", where=path.name)
    return dataset


def read_header(path: Path) -> Header:
    """Reads the identifying attributes of a file.

    Raises:
        ScanError: the file is not DICOM, or one of the attributes cannot be read.
        UnneededError: it is a DICOMDIR.
    """
    dataset = open_dicom(path, header_only=True)
    try:
        return header_of(dataset)
    except Exception as error:  # pydicom parses an attribute on first access, and a broken one raises any error
        raise ScanError(f"an attribute cannot be read ({reason_of(error, path)})", where=path.name) from None


def header_of(dataset: Dataset) -> Header:
    """Returns the identifying attributes of a dataset."""

    def text(keyword: str) -> str:
        return str(dataset.get(keyword) or "").strip()

    with quiet():
        return Header(
            patient=text("PatientID"),
            issuer=text("IssuerOfPatientID"),
            name=text("PatientName"),
            study=text("StudyInstanceUID") or text("SeriesInstanceUID"),
            series=text("SeriesInstanceUID"),
            description=text("SeriesDescription"),
            modality=modality_of(dataset),
            captured=is_secondary_capture(text("SOPClassUID")) and "SYNTHETIC" not in image_type(dataset),
        )
