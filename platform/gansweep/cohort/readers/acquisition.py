"""Reads how an image was made, and of whom: what a detector can recognise in place of the disease."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from math import inf, nan
from typing import TYPE_CHECKING, Any

from gansweep.cohort.readers.attributes import functional_group, values_of

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["Acquisition", "acquisition_of", "tesla_of", "years_of"]

# The unit of Patient's Age (PS3.5 6.2, AS) in years.
_YEARS = {"Y": 1.0, "M": 1 / 12, "W": 7 / 365.25, "D": 1 / 365.25}
_MOST_YEARS = 90.0  # a greater age could identify a patient
_NO_AGE = 120.0  # years that nobody reaches: 999 stands for no age
# What is written in the field of the agent if there was none, in several languages.
_NO_AGENT = re.compile(
    r"(n|no|non|none|noncontrast|nil|n/?a|w/?o|without|unenhanced|plain|sans|ohne|kein\w*|nein|nativ\w*|sin|senza)\b.*|[\W0]*",
    re.DOTALL,
)
# The groups of an enhanced object in which a frame has an attribute (PS3.3 C.7.6.16 and C.8.15.3).
_GROUPS = {
    "SliceThickness": "PixelMeasuresSequence",
    "ConvolutionKernel": "CTReconstructionSequence",
    "KVP": "CTXRayDetailsSequence",
    "EffectiveEchoTime": "MREchoSequence",
    "RepetitionTime": "MRTimingAndRelatedParametersSequence",
    "ImageOrientationPatient": "PlaneOrientationSequence",
}
_FUNCTIONAL_GROUPS = ("PerFrameFunctionalGroupsSequence", "SharedFunctionalGroupsSequence")


@dataclass(frozen=True, repr=False)
class Acquisition:
    """How an image was made, and of whom. Never written out, because some of it is free text.

    Args:
        thickness_mm: thickness of the slice; NaN if it is not known, as with the other numbers.
        kilovolts: peak voltage of the X-ray tube.
        tesla: strength of the magnetic field.
        echo_ms: echo time of MR.
        repetition_ms: repetition time of MR.
        years: age of the patient, at most 90: a greater age could identify one.
        sex: of the patient; "" if the file does not give it, as with the other texts.
        site: the hospital or dataset, of a table alone.
        scanner: the model, or else the manufacturer: the spelling of a manufacturer changes with the years.
        kernel: reconstruction kernel.
        intent: whether a radiograph is `for processing`, as the detector gave it, or `for presentation`.
        view: direction of a projection: `AP`.
        side: left or right, of a paired part of the body.
        turned: to which sides of the patient rows and columns run: `+x+y`.
        body: the part of the body.
        contrast: "given" if a contrast agent was given, "absent" if the file names none.
        units: units of the pixel values of PET.
        person: name and date of birth of the patient; "" unless the file gives both.
        identifier: PatientID with its issuer, and the date of birth; "" if the file gives no PatientID.
    """

    thickness_mm: float = nan
    kilovolts: float = nan
    tesla: float = nan
    echo_ms: float = nan
    repetition_ms: float = nan
    years: float = nan
    sex: str = ""
    site: str = ""
    scanner: str = ""
    kernel: str = ""
    intent: str = ""
    view: str = ""
    side: str = ""
    turned: str = ""
    body: str = ""
    contrast: str = ""
    units: str = ""
    person: str = ""
    identifier: str = ""

    def filled_from(self, other: Acquisition) -> Acquisition:
        """Returns this acquisition with the values of another where its own are not known."""
        missing = {name: getattr(other, name) for name, value in vars(self).items() if value == "" or value != value}
        return replace(self, **missing)


def acquisition_of(dataset: Dataset, number: int) -> Acquisition:
    """Returns how a frame of a DICOM object was made. An attribute that cannot be read counts as missing.

    Args:
        dataset: the object.
        number: of the frame.
    """
    enhanced = any(name in dataset for name in _FUNCTIONAL_GROUPS)

    def value(keyword: str) -> Any:
        try:
            named = _GROUPS.get(keyword) if enhanced else None
            group = functional_group(dataset, number, named) if named else None
            return (dataset if group is None else group).get(keyword)
        except Exception:  # pydicom parses an attribute on first access, and a broken one raises any error
            return None

    def text(keyword: str) -> str:
        parts = [part for part in values_of(value(keyword)) if isinstance(part, str)]
        return " ".join(parts).strip().casefold()

    given = _NO_AGENT.fullmatch(text("ContrastBolusAgent")) is None or bool(value("ContrastBolusAgentSequence"))
    return Acquisition(
        thickness_mm=_positive(value("SliceThickness")),
        kilovolts=_positive(value("KVP")),
        tesla=tesla_of(value("MagneticFieldStrength")),
        echo_ms=_positive(value("EffectiveEchoTime") or value("EchoTime")),
        repetition_ms=_positive(value("RepetitionTime")),
        years=_years(value("PatientAge")),
        sex=text("PatientSex")[:1],
        scanner=text("ManufacturerModelName") or text("Manufacturer"),
        kernel=text("ConvolutionKernel"),
        intent=text("PresentationIntentType"),
        view=text("ViewPosition"),
        side=text("ImageLaterality") or text("Laterality"),
        turned=_turned(value("ImageOrientationPatient")),
        body=text("BodyPartExamined"),
        contrast="given" if given else "absent",
        units=text("Units"),
        person=_person(value("PatientName"), text("PatientBirthDate")),
        identifier=_identifier(text("PatientID"), text("IssuerOfPatientID"), text("PatientBirthDate")),
    )


def _person(name: Any, born: str) -> str:
    """Returns a patient's name and date of birth, or "" unless both are known. Spellings of one name are equal.

    A name may be written three times, in Latin letters, in ideographs and in sounds; the first is taken (PS3.5 6.2).
    A year alone is that of many.
    """
    groups = (" ".join(re.findall(r"\w+", group)) for group in str(name or "").casefold().split("="))
    spelling = next((group for group in groups if group), "")
    day = re.sub(r"\D", "", born)
    return f"{spelling} {day}" if spelling and len(day) == 8 and not day.endswith("0000") else ""


def _identifier(patient: str, issuer: str, born: str) -> str:
    return "\n".join((patient, issuer, re.sub(r"\D", "", born))) if patient else ""


def _positive(value: Any) -> float:
    """Returns a positive number, or NaN for anything else."""
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return nan
    return number if 0 < number < inf else nan


def _turned(value: Any) -> str:
    """Returns to which sides of the patient rows and columns run, or "" if the file does not give it."""
    try:
        cosines = [float(cosine) for cosine in values_of(value)]
    except (TypeError, ValueError):
        return ""
    if len(cosines) != 6:
        return ""
    row = max(range(3), key=lambda axis: abs(cosines[axis]))
    column = max(range(3), key=lambda axis: abs(cosines[3 + axis]))
    return f"{'-+'[cosines[row] > 0]}{'xyz'[row]}{'-+'[cosines[3 + column] > 0]}{'xyz'[column]}"


def tesla_of(value: Any) -> float:
    """Returns the strength of a field in tesla. No scanner has 100 T: old files give it in gauss."""
    strength = _positive(value)
    return strength / 10_000 if strength >= 100 else strength


def years_of(number: float, unit: str) -> float:
    """Returns an age in years, at most 90, or NaN for one that nobody reaches.

    Args:
        number: the age in the unit.
        unit: Y, M, W or D, as in DICOM.
    """
    years = number * _YEARS[unit]
    return min(years, _MOST_YEARS) if years < _NO_AGE else nan


def _years(value: Any) -> float:
    """Returns an age of DICOM (`045Y`, `018M`) in years, or NaN for anything else: `000Y` stands for no age."""
    match = re.fullmatch(r"(\d{1,3})([DWMY])", str(value or "").strip().upper())
    return nan if match is None or match[0] == "000Y" else years_of(int(match[1]), match[2])
