"""Reads the DICOM attributes that identify patient, study and series."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gansweep.cohort.readers.slices import ScanError, reason_of

if TYPE_CHECKING:
    from pathlib import Path

    from pydicom import Dataset

__all__ = ["Header", "header_of", "is_dicom", "open_dicom", "read_header"]


@dataclass(frozen=True, repr=False)
class Header:
    """Identifying attributes of a file, "" if missing. Never written out.

    Args:
        patient: PatientID.
        issuer: IssuerOfPatientID.
        name: PatientName.
        study: StudyInstanceUID, or SeriesInstanceUID if it is missing.
        series: SeriesInstanceUID.
        description: SeriesDescription.
    """

    patient: str
    issuer: str
    name: str
    study: str
    series: str
    description: str


def is_dicom(path: Path) -> bool:
    """Whether the file starts with a DICOM preamble, whatever its name."""
    # 128 bytes of preamble, then the prefix DICM (PS3.10, 7.1).
    with path.open("rb") as file:
        file.seek(128)
        return file.read(4) == b"DICM"


def open_dicom(path: Path, *, header_only: bool) -> Dataset:
    """Reads the attributes of a file.

    Args:
        path: the file.
        header_only: stop before the pixel data.

    Raises:
        ScanError: the file is not DICOM.
    """
    from pydicom import dcmread

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom warns about every odd value, also in unused attributes
        try:
            # `force` also reads old files without a preamble. Read that way, a text file has none of these attributes.
            dataset = dcmread(path, stop_before_pixels=header_only, force=True)
            known = any(tag in dataset for tag in ("SOPClassUID", "Modality", "Rows", "StudyInstanceUID"))
        except Exception as error:
            raise ScanError(f"not a readable DICOM file ({reason_of(error, path)})", where=path.name) from None
    if not known:
        raise ScanError("not a DICOM file", where=path.name)
    return dataset


def read_header(path: Path) -> Header:
    """The identifying attributes of a file.

    Raises:
        ScanError: the file is not DICOM.
    """
    return header_of(open_dicom(path, header_only=True))


def header_of(dataset: Dataset) -> Header:
    """The identifying attributes of a dataset."""

    def text(keyword: str) -> str:
        return str(dataset.get(keyword) or "").strip()

    return Header(
        patient=text("PatientID"),
        issuer=text("IssuerOfPatientID"),
        name=text("PatientName"),
        study=text("StudyInstanceUID") or text("SeriesInstanceUID"),
        series=text("SeriesInstanceUID"),
        description=text("SeriesDescription"),
    )
