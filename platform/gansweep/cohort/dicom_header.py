"""What DICOM files say of themselves: whose they are, and what belongs together."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gansweep.cohort.scan import ScanError, reason_of

if TYPE_CHECKING:
    from pathlib import Path

    from pydicom import Dataset

__all__ = ["Header", "header_of", "is_dicom", "open_dicom", "read_header"]


@dataclass(frozen=True, repr=False)
class Header:
    """What a file says of itself, "" where it does not. Never written out.

    Args:
        patient: PatientID.
        issuer: who gave the patient that ID.
        name: PatientName.
        study: StudyInstanceUID, or SeriesInstanceUID where there is none.
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
    """Whether the file carries DICOM's mark, whatever it is called."""
    with path.open("rb") as file:
        file.seek(128)
        return file.read(4) == b"DICM"


def open_dicom(path: Path, *, header_only: bool) -> Dataset:
    """The attributes of a file, with or without those that hold pixels.

    Raises:
        ScanError: not a DICOM file.
    """
    from pydicom import dcmread

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom warns of every odd value; only what is used here matters
        try:
            # `force` reads old files without the preamble; a text file then has none of these attributes.
            dataset = dcmread(path, stop_before_pixels=header_only, force=True)
            known = any(tag in dataset for tag in ("SOPClassUID", "Modality", "Rows", "StudyInstanceUID"))
        except Exception as error:
            raise ScanError(f"not a readable DICOM file ({reason_of(error, path)})", where=path.name) from None
    if not known:
        raise ScanError("not a DICOM file", where=path.name)
    return dataset


def read_header(path: Path) -> Header:
    """What is said of a file, without its pixels.

    Raises:
        ScanError: not a DICOM file.
    """
    return header_of(open_dicom(path, header_only=True))


def header_of(dataset: Dataset) -> Header:
    """What is said in a file that is open."""

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
