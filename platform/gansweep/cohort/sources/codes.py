"""Codes of patients in the file names of public datasets, which name the same patient wherever they occur.

Without them, the left and the right breast of a woman in INbreast, or two slides of BreakHis, would count as two
patients and could lie in two splits.
"""

from __future__ import annotations

import re

from gansweep.cohort.sources.source import subject_in

__all__ = ["code_in", "patient_in", "person_in"]

_CODES = {
    "INbreast": r"\d{8}_(?P<code>[0-9a-f]{16})_MG_[LR]_[A-Z]+_ANON",
    "CBIS-DDSM": r"(?:Mass|Calc)-(?:Training|Test)_(?P<code>P_\d{5})_(?:LEFT|RIGHT)",
    "TCGA": r"(?P<code>TCGA[-_][A-Z0-9]{2}[-_][A-Z0-9]{4})",
    "OASIS": r"(?P<code>OAS[12]_\d{4}|OAS[34]\d{4})",
    "ADNI": r"(?P<code>\d{3}_S_\d{4,5})",
    "LIDC-IDRI": r"(?P<code>LIDC-IDRI-\d{4})",
    "IXI": r"(?P<code>IXI\d{3})",
    "BraTS": r"(?P<code>BraTS-[A-Z]{3}-\d{5})-\d{3}",
    "BreakHis": r"SOB_[BM]_[A-Z]+-(?P<code>\d\d-\w+)-\d+-\d+",
    "ChestX-ray14": r"(?P<code>000\d{5})_\d{3}(?=\.[a-z]+$)",
    "CheXpert or MURA": r"(?P<code>patient\d{5})/study\d+",
    "MIMIC-CXR": r"p\d\d/(?P<code>p\d{8})/s\d{8}",
}
_PATTERNS = {name: re.compile(rf"(?<![0-9A-Za-z]){text}(?![0-9A-Za-z])") for name, text in _CODES.items()}


def code_in(name: str) -> tuple[str, str]:
    """Returns the dataset and the code in a path relative to the source folder, or ("", "")."""
    path = name.replace("\\", "/")
    for dataset, pattern in _PATTERNS.items():
        found = pattern.search(path)
        if found:
            return dataset, found["code"]
    return "", ""


def patient_in(name: str) -> str:
    """Returns the subject (BIDS) or the code of the patient in a path, or ""."""
    return subject_in(name) or code_in(name)[1]


def person_in(identifier: str) -> str:
    """Returns a patient identifier without the view: CBIS-DDSM writes Mass-Training_P_00001_LEFT_CC in PatientID."""
    dataset, code = code_in(identifier)
    return code if dataset == "CBIS-DDSM" else identifier
