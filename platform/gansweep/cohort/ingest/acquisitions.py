"""Warns if classes were acquired in different ways, or of different people: a detector could learn that instead."""

from __future__ import annotations

from collections import Counter, defaultdict
from math import comb, isfinite, log, sqrt
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from gansweep.cohort.ingest.ranges import by_class, difference_text
from gansweep.cohort.sources.words import known_patient, patient_spelling
from gansweep.errors import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gansweep.cohort.ingest.reading import Picture

__all__ = ["acquisition_warnings", "intent_warnings", "person_warnings", "pet_warnings"]

LEAST = 0.2  # minimum difference between the shares of two classes that is reported
MOST = 0.9  # a greater difference is always reported, however few the patients are
CHANCE = 0.05  # share of cohorts of equal classes in which a difference is reported
# Attributes of an acquisition with a number, what they are, the factor between medians that is reported, and the unit.
_NUMBERS = (
    ("thickness_mm", "slice thickness", 1.5, "{:g} mm"),
    ("kilovolts", "tube voltage", 1.1, "{:g} kV"),
    ("tesla", "field strength", 1.3, "{:.1f} T"),
    ("echo_ms", "the echo time of MR", 1.5, "{:.3g} ms"),
    ("repetition_ms", "the repetition time of MR", 1.5, "{:.4g} ms"),
    ("years", "the age of patients", 1.25, "{:.2g} years"),
)
# Attributes with a text. The text itself is not shown, because it may name a person.
_TEXTS = (
    ("site", "images of one site"),
    ("scanner", "images of one scanner model"),
    ("kernel", "images with one reconstruction kernel"),
    ("intent", "radiographs of one presentation intent"),
    ("view", "images of one view position"),
    ("side", "images of one side of the body"),
    ("turned", "images that are turned one way (is a class mirrored, or upside down?)"),
    ("body", "images of one body part"),
    ("contrast", "images with a contrast agent"),
    ("sex", "patients of one sex"),
)
YEARS = 20.0  # minimum difference between ages of one patient that is reported; few are followed for so long
_OF_PATIENTS = {"years", "sex"}
_MOST_IDENTIFIERS = 3  # of one name. More patients share what replaced their names, and may share a birthday.


class _Known(NamedTuple):
    """The known values of one attribute in one class.

    Args:
        values: one of each image, or one of each patient if it is of the patient.
        patients: how many patients have them.
    """

    values: list[Any]
    patients: int


def acquisition_warnings(pictures: Sequence[Picture]) -> list[str]:
    """Returns a warning for each attribute of the acquisition or the patient that may give a class away.

    Args:
        pictures: images of the cohort.
    """
    groups = by_class(pictures)
    warnings = []
    for attribute, what, factor, form in _NUMBERS:
        known = _known(groups, attribute)
        medians = {label: median(found.values) for label, found in known.items()}
        if len(medians) > 1 and _numbers_differ(known, medians, factor):
            warnings.append(difference_text(what, medians, form))
    for attribute, what in _TEXTS:
        known = _known(groups, attribute)
        shares = _shares(known)
        if len(shares) > 1 and _is_reported(known, shares):
            warnings.append(difference_text(f"the share of {what}", shares, "{:.0%}"))
    return warnings


def intent_warnings(pictures: Sequence[Picture]) -> list[str]:
    """Returns a warning if some radiographs are as the detector gave them, and others as they are displayed.

    Archives often keep both of one view. Unprocessed ones may be inverted, and are nearly linear in the dose.
    """
    intents = Counter(picture.acquisition.intent for picture in pictures)
    raw = intents["for processing"]
    if not raw or not intents["for presentation"]:
        return []
    unprocessed = f"{raw} of {len(pictures)} radiographs are unprocessed (Presentation Intent Type is FOR PROCESSING)"
    processed = f"{intents['for presentation']} are processed for presentation"
    return [f"{unprocessed}, and {processed}: keep one kind, with a labels.csv of its files"]


def pet_warnings(pictures: Sequence[Picture]) -> list[str]:
    """Returns a warning if PET images have pixel values in different units, such as counts and Bq/ml."""
    units = Counter(picture.acquisition.units for picture in pictures if picture.acquisition.units)
    if len(units) < 2:
        return []
    rest = units.total() - units.most_common(1)[0][1]
    what = f"the pixel values of {rest} of {units.total()} PET images are in other units than those of most"
    return [f"{what}: keep one kind, with a labels.csv of its files"]


def person_warnings(pictures: Sequence[Picture], patients: Sequence[str]) -> list[str]:
    """Returns warnings if the images of one patient cannot be of one person, or those of one person are of several.

    Several hospitals may number their patients from 1, and a folder of a hospital may count as that of a patient. A
    column of numbers that was taken for the patients parts the images of one.

    Args:
        pictures: images of the cohort `[N]`.
        patients: their patients `[N]`.
    """
    sexes: dict[str, set[str]] = defaultdict(set)
    ages: dict[str, list[float]] = defaultdict(list)
    studies: dict[str, set[str]] = defaultdict(set)
    identifiers: dict[str, set[str]] = defaultdict(set)
    labelled: set[str] = set()
    people: dict[str, set[str]] = defaultdict(set)
    names: dict[str, set[str]] = defaultdict(set)
    for picture, patient in zip(pictures, patients, strict=True):
        # Near-duplicates of unknown patients count as those of one, without an identifier that could be wrong.
        if picture.patient and picture.acquisition.sex in {"f", "m"}:
            sexes[patient].add(picture.acquisition.sex)
        if picture.patient and isfinite(picture.acquisition.years):
            ages[patient].append(picture.acquisition.years)
        if picture.study:
            studies[picture.study].add(patient)
        identifier, end, rest = picture.acquisition.identifier.partition("\n")
        if known_patient(identifier):
            key = patient_spelling(identifier) + end + rest
            identifiers[key].add(patient)
            if picture.source.patient:
                labelled.add(key)
        name = _name_in(picture.acquisition.person)
        if known_patient(name):
            people[picture.acquisition.person].add(patient)
            names[name].add(patient)
    several = {patient for patient, found in sexes.items() if len(found) > 1}
    several |= {patient for patient, found in ages.items() if max(found) - min(found) >= YEARS}
    fix = "give patient_id in a CSV"
    warnings = []
    if several:
        found = counted(len(several), "patient has", "patients have")
        what = f"{found} images of both sexes, or of ages {YEARS:g} years apart"
        warnings.append(f"{what}: they may be several people with one identifier; {fix}")
    parted = sum(len(found) > 1 for found in studies.values())
    shared = sum(1 < len(identifiers[key]) <= _MOST_IDENTIFIERS for key in labelled)
    if parted:
        what = f"{counted(parted, 'DICOM study has', 'DICOM studies have')} images of several patients"
        warnings.append(f"{what}: one person may be in several splits, unless the UIDs were overwritten; {fix}")
    elif shared:
        found = counted(shared, "PatientID of DICOM files is", "PatientIDs of DICOM files are")
        what = f"{found} several patients in the labels"
        warnings.append(f"{what}: one person may be in several splits, unless hospitals number their patients alike")
    doubled = sum(len(found) > 1 and len(names[_name_in(who)]) <= _MOST_IDENTIFIERS for who, found in people.items())
    if doubled:
        what = f"by name and date of birth, {counted(doubled, 'person is', 'people are')} several patients"
        warnings.append(f"{what}: one person may be in several splits; {fix}")
    return warnings


def _name_in(person: str) -> str:
    """Returns the name in a name and date of birth."""
    return person.rpartition(" ")[0]


def _known(groups: dict[str, list[Picture]], attribute: str) -> dict[str, _Known]:
    """Returns the known values by class, of those classes in which most are known."""
    known = {}
    for label, group in groups.items():
        values = [getattr(picture.acquisition, attribute) for picture in group]
        pairs = [
            (picture.patient or picture.study or picture.sha256, value)
            for picture, value in zip(group, values, strict=True)
            if (isfinite(value) if isinstance(value, float) else value)
        ]
        if 2 * len(pairs) > len(group):
            of_patients = dict(pairs)
            found = list(of_patients.values()) if attribute in _OF_PATIENTS else [value for _, value in pairs]
            known[label] = _Known(found, len(of_patients))
    return known


def _numbers_differ(known: dict[str, _Known], medians: dict[str, float], factor: float) -> bool:
    """Returns whether the medians of two classes differ, and so do their distributions.

    If each class has both of two thicknesses, one image more or less moves the median from one to the other.
    """
    low = min(medians, key=medians.__getitem__)
    high = max(medians, key=medians.__getitem__)
    if medians[high] < factor * medians[low]:
        return False
    lower = np.sort(known[low].values)
    higher = np.sort(known[high].values)
    steps = np.concatenate([lower, higher])
    below = [np.searchsorted(values, steps, "right") / len(values) for values in (lower, higher)]
    return float(np.abs(below[0] - below[1]).max()) > _least(known, low, high)


def _shares(known: dict[str, _Known]) -> dict[str, float]:
    """Returns the share of one value in each class: of the value whose shares differ most."""
    counts = {label: Counter(found.values) for label, found in known.items()}
    values: set[str] = set().union(*counts.values())
    shares = [
        {label: count[value] / len(known[label].values) for label, count in counts.items()}
        for value in sorted(values, reverse=True)
    ]
    return max(shares, key=lambda share: max(share.values()) - min(share.values()), default={})


def _is_reported(known: dict[str, _Known], shares: dict[str, float]) -> bool:
    low = min(shares, key=shares.__getitem__)
    high = max(shares, key=shares.__getitem__)
    return shares[high] - shares[low] > _least(known, low, high)


def _least(known: dict[str, _Known], low: str, high: str) -> float:
    """Returns by how much the shares of two classes have to differ, so that it is not by chance.

    Two samples of n and m patients differ by more than `sqrt(-log(p / 2) / 2 * (1/n + 1/m))` with probability p
    (Smirnov 1948). The two that differ most are chosen from all pairs of classes (Bonferroni).
    """
    p = CHANCE / comb(len(known), 2)
    chance = sqrt(-log(p / 2) / 2 * (1 / known[low].patients + 1 / known[high].patients))
    return min(max(LEAST, chance), MOST)
