"""Reads how images were made, and of whom, from the columns of a table: what PNG and JPEG files cannot tell."""

from __future__ import annotations

import re
from math import inf, nan
from typing import TYPE_CHECKING, Any

from gansweep.cohort.readers.acquisition import Acquisition, tesla_of, years_of
from gansweep.cohort.sources.source import is_split
from gansweep.cohort.sources.words import given, may_be_missing

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

__all__ = ["acquisition_columns", "acquisition_in"]

# Names of such columns in public datasets, without case and punctuation, by the attribute of `Acquisition`.
_NUMBERS = {
    "years": ("age", "patientage", "ageyears", "ageinyears", "ageyrs", "ageapprox", "ageapproximate", "ageatscan"),
    "thickness_mm": ("slicethickness", "slicethicknessmm"),
    "kilovolts": ("kvp", "kv", "tubevoltage"),
    "tesla": ("tesla", "fieldstrength", "magneticfieldstrength"),
}
_TEXTS = {
    "sex": ("sex", "gender", "patientsex", "patientgender", "ptgender", "mf"),
    "site": (
        *("site", "siteid", "hospital", "institution", "center", "centre", "clinic", "attribution"),
        *("dataset", "datasource", "source"),
    ),
    "scanner": (
        *("scanner", "scannermodel", "manufacturermodelname", "device", "camera", "machineid"),
        *("manufacturer", "vendor"),
    ),
    "kernel": ("kernel", "convolutionkernel", "reconstructionkernel"),
    "view": ("view", "viewposition", "imageview", "projection", "appa", "frontallateral"),
    "side": ("side", "laterality", "imagelaterality", "leftorrightbreast", "eye"),
    "body": ("bodypart", "bodypartexamined", "anatomsite", "anatomsitegeneral", "localization", "localisation"),
}
_SIDES = {"left": "l", "os": "l", "right": "r", "od": "r"}  # as DICOM writes them; OS and OD are eyes
_NUMBER = r"(\d+(?:[.,]\d+)?)"  # Excel writes a decimal comma in some countries
# An age without spaces: 45, 058Y, 18months, >89, 90+, or a range, 20-25.
_AGE = re.compile(
    rf"(?:>=?|\u2265)?{_NUMBER}(?:[-\u2013]{_NUMBER})?\+?(y|yo|yrs?|years?|m|mos?|months?|w|weeks?|d|days?)?(?:old)?"
)


def acquisition_columns(columns: Sequence[str], used: Collection[str]) -> dict[str, str]:
    """Returns the columns of a table that tell of the acquisition, by the attribute of `Acquisition`.

    Args:
        columns: columns of the table.
        used: those with another meaning, such as the label.
    """
    letters = {_letters(name): name for name in reversed(columns) if name not in used}
    found = {}
    for attribute, names in (_NUMBERS | _TEXTS).items():
        name = next((letters[name] for name in names if name in letters), "")
        if name:
            found[attribute] = name
    return found


def _letters(name: str) -> str:
    """Returns the letters of a column's name, without its unit or codes: `patientage` of `Patient's Age (years)`.

    An age in months is none in years. PadChest writes `_DICOM` after what a header says.
    """
    bare = re.sub(r"\s*[(\[](?!months?|weeks?|days?).*|['\u2019]s\b", "", name.casefold(), flags=re.DOTALL)
    return re.sub(r"[\W_]", "", bare).removesuffix("dicom")


def acquisition_in(row: Mapping[str, str], columns: Mapping[str, str]) -> Acquisition:
    """Returns what a row tells of the acquisition.

    Args:
        row: cells by column.
        columns: result of `acquisition_columns`.
    """
    values: dict[str, Any] = {}
    for attribute, column in columns.items():
        cell = given(row.get(column, "")).casefold()
        if not may_be_missing(cell):
            values[attribute] = _value(attribute, cell)
    return Acquisition(**values)


def _value(attribute: str, cell: str) -> Any:
    """Returns the value of an attribute in a cell; a number is NaN for anything else."""
    if attribute == "years":
        return _years(cell)
    if attribute in _NUMBERS:
        number = _number(cell)
        return tesla_of(number) if attribute == "tesla" else number
    if attribute == "site" and is_split(cell):
        return ""
    if attribute == "side":
        return _SIDES.get(cell, cell)
    return cell[:1] if attribute == "sex" else cell


def _years(cell: str) -> float:
    """Returns an age in years; of a range its middle."""
    match = _AGE.fullmatch("".join(cell.split()))
    if match is None:
        return nan
    first, last, unit = match.groups()
    number = (_float(first) + _float(last or first)) / 2
    return years_of(number, (unit or "y")[0].upper()) if number > 0 else nan


def _number(cell: str) -> float:
    """Returns a positive number."""
    match = re.fullmatch(rf"{_NUMBER}\s*(?:mm|kvp?|t|tesla)?", cell)
    number = _float(match[1]) if match else nan
    return number if 0 < number < inf else nan


def _float(text: str) -> float:
    return float(text.replace(",", "."))
