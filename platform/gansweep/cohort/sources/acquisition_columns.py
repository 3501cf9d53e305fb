"""Reads how images were made, and of whom, from the columns of a table: what PNG and JPEG files cannot tell."""

from __future__ import annotations

import re
from math import inf, nan
from typing import TYPE_CHECKING, Any

from gansweep.cohort.readers.acquisition import Acquisition
from gansweep.cohort.sources.words import given

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

__all__ = ["acquisition_columns", "acquisition_in"]

# Names of such columns in public datasets, without case and punctuation, by the attribute of `Acquisition`.
_NUMBERS = {
    "years": ("age", "patientage", "ageyears", "ageinyears", "ageapprox", "ageapproximate", "ageatscan"),
    "thickness_mm": ("slicethickness", "slicethicknessmm"),
    "kilovolts": ("kvp", "kv", "tubevoltage"),
    "tesla": ("tesla", "fieldstrength", "magneticfieldstrength"),
}
_TEXTS = {
    "sex": ("sex", "gender", "patientsex", "patientgender"),
    "site": ("site", "hospital", "institution", "center", "centre", "clinic", "dataset", "datasource", "source"),
    "scanner": ("scanner", "scannermodel", "manufacturermodelname", "device", "camera", "manufacturer", "vendor"),
    "kernel": ("kernel", "convolutionkernel", "reconstructionkernel"),
    "view": ("view", "viewposition", "projection"),
    "side": ("side", "laterality", "imagelaterality", "eye"),
    "body": ("bodypart", "bodypartexamined", "anatomsite", "anatomsitegeneral", "localization", "localisation"),
}
_MOST_YEARS = 90.0  # a greater age could identify a patient


def acquisition_columns(columns: Sequence[str], used: Collection[str]) -> dict[str, str]:
    """Returns the columns of a table that tell of the acquisition, by the attribute of `Acquisition`.

    Args:
        columns: columns of the table.
        used: those with another meaning, such as the label.
    """
    letters = {re.sub(r"[\W_]", "", name.casefold()): name for name in reversed(columns) if name not in used}
    found = {}
    for attribute, names in (_NUMBERS | _TEXTS).items():
        name = next((letters[name] for name in names if name in letters), "")
        if name:
            found[attribute] = name
    return found


def acquisition_in(row: Mapping[str, str], columns: Mapping[str, str]) -> Acquisition:
    """Returns what a row tells of the acquisition.

    Args:
        row: cells by column.
        columns: result of `acquisition_columns`.
    """
    values: dict[str, Any] = {}
    for attribute, column in columns.items():
        cell = given(row.get(column, "")).casefold()
        values[attribute] = _number(cell) if attribute in _NUMBERS else cell
    if "years" in values:
        values["years"] = min(values["years"], _MOST_YEARS)
    if "sex" in values:
        values["sex"] = values["sex"][:1]
    return Acquisition(**values)


def _number(cell: str) -> float:
    """Returns a positive number, or NaN for anything else. Excel writes a decimal comma in some countries."""
    match = re.fullmatch(r"(\d+(?:[.,]\d+)?)\s*(?:y|yrs?|years?|mm|kvp?|t)?", cell)
    number = float(match[1].replace(",", ".")) if match else nan
    return number if 0 < number < inf else nan
