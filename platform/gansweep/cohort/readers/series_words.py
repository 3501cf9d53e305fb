"""Recognises in the description of a CT or MR series what Image Type does not say.

Image Type often calls reformats and maps originals. The description is free text, so it is trusted only where a word
has one meaning: a spine may have a fusion, and a patient CPR.
"""

from __future__ import annotations

import re

__all__ = ["names_derived", "names_localizer", "names_screen", "names_wait"]


def _words(*patterns: str) -> re.Pattern[str]:
    """Returns a pattern of whole words."""
    return re.compile(rf"\b({'|'.join(patterns)})\b", re.IGNORECASE)


_LOCALIZER = re.compile(
    r"lo[ck]ali[sz](er|ator)|scout|\b(topograms?|scanograms?|surviews?|3[- ]?plane[ _-]loc)\b", re.IGNORECASE
)
# Words that may mean something else if Image Type says that a CT is axial. A CT for planning radiotherapy shows
# anatomy, so `plan` counts only alone. A survey of the bones is a CT of the whole body.
_MAY_BE_LOCALIZER = re.compile(
    r"\b(loc|topo|(?<!skeletal[ -])(?<!bone[ -])surveys?|3[- ]?planes?|plan[ _-]scan)\b|^\W*plan\W*$",
    re.IGNORECASE,
)
_SCREEN = _words(r"dose ?(report|info|summary)", r"patient ?protocol", r"screen ?(save|shot|capture)s?")

# Images of one place that wait for a bolus of contrast agent, of a low dose.
_WAIT = _words(r"(test|timing)[- ]?bolus", r"bolus[- ]?(test|timing)", r"pr[eé][- ]?mon(i\w*)?")
# Words that also name the protocol of a whole examination count only at the beginning, and not in an angiography.
_WAIT_FIRST = re.compile(
    r"^\W*(monitor\w*|(smart|real) ?prep|sure ?start|(care ?)?bolus[- ]?(track\w*|monitor\w*|locator)|care ?bolus|"
    r"tracker|locator)\b|^\W*(bolus|timing( run)?|S ?& ?V)\W*$",
    re.IGNORECASE,
)
_ANGIOGRAPHY = re.compile(r"\bCT-?P?A\b|angio", re.IGNORECASE)

# What a series is made for, or comes after, and does not show: `thin for MPR`, `post CPR`.
_NOT_SHOWN = re.compile(
    r"\b(for|pour|para(?![- ](ax|cor|sag|trans))|per|für|fuer|fur)\b.*|\b(post|after|nach|p)[- ](CPR|iodine)\b",
    re.IGNORECASE,
)
_SOURCE = _words("source", "thins")
_PROJECTION = _words(r"\w{0,3}(MIP|MINIP|MIN IP)s?\d*", r"reformat\w*", r"re?fmt")
# In MR, MPR stands for MPRAGE, too.
_REFORMAT = _words(
    r"(c|sag|cor|tra|ax)?MPRs?\d*", r"CPR(?! arrest)", r"VRT?", r"3D ?VR", r"volume ?render\w*", "SSD", "AVG|average"
)
# Images and maps of CT whose values are not the Hounsfield units of its beam: perfusion, two energies, differences.
_COMPUTED = _words(
    r"r?CB[VF]|MTT|TT[PDS]|T ?max|(Lung)?PBV",
    r"(perfused )?blood (volume|flow)|time to (peak|drain|start)|transit time|permeability|mismatch",
    r"maps?|colou?r(ed)?",
    r"VNCa?|virtual[- ]?(non|un|native)\w*",
    r"iodine",
    r"\d+ ?keV|VMI|mono[- ]?e(nerg\w*)?|mono ?(\+|plus|\d+)",
    r"(effective|eff)[- ]?(Z|atomic)|Z[- ]?eff\w*|electron density",
    r"subtract\w*|DSA|bone ?remov\w*",
    r"(PET|SPECT|NM)\b.*\bfus(ed|ion)|fus(ed|ion)\b.*\b(PET|SPECT|NM)",
)


def names_localizer(series: str, *, axial: bool) -> bool:
    """Returns whether a description names a localizer.

    Args:
        series: the description.
        axial: whether Image Type says that the image is axial. Then some words may mean something else.
    """
    return bool(_LOCALIZER.search(series) or (not axial and _MAY_BE_LOCALIZER.search(series)))


def names_screen(series: str) -> bool:
    """Returns whether a description names a screen save or a report."""
    return _SCREEN.search(series) is not None


def names_wait(series: str) -> bool:
    """Returns whether the description of a CT series names images that wait for a bolus of contrast agent."""
    first = _WAIT_FIRST.search(series) and not _ANGIOGRAPHY.search(series)
    return bool(_WAIT.search(series) or first)


def names_derived(series: str, modality: str) -> bool:
    """Returns whether a description names images that were computed from others.

    Args:
        series: the description.
        modality: CT or MR.
    """
    if _SOURCE.search(series):
        return False
    shown = _NOT_SHOWN.sub("", series)
    patterns = (_PROJECTION, _REFORMAT, _COMPUTED) if modality == "CT" else (_PROJECTION,)
    return any(pattern.search(shown) for pattern in patterns)
