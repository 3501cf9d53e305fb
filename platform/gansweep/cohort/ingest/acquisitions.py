"""Warns if classes were acquired in different ways, or of different people: a detector could learn that instead."""

from __future__ import annotations

from collections import Counter
from math import isfinite
from statistics import median
from typing import TYPE_CHECKING

from gansweep.cohort.ingest.ranges import by_class, difference_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gansweep.cohort.ingest.reading import Picture

__all__ = ["acquisition_warnings"]

# Scanners and kernels vary between patients, so in small classes half of the images may differ by chance.
SHARE = 0.5  # minimum difference between classes in the share of one value that is reported
# Attributes of an acquisition with a number, what they are, the factor between medians that is reported, and the unit.
_NUMBERS = (
    ("thickness_mm", "slice thickness", 1.5, "{:g} mm"),
    ("kilovolts", "tube voltage", 1.1, "{:g} kV"),
    ("tesla", "field strength", 1.3, "{:.1f} T"),
    ("years", "the age of patients", 1.25, "{:.0f} years"),
)
# Attributes with a text. The text itself is not shown, because it may name a person.
_TEXTS = (
    ("scanner", "of one scanner model"),
    ("kernel", "with one reconstruction kernel"),
    ("view", "of one view position"),
    ("body", "of one body part"),
    ("contrast", "with a contrast agent"),
    ("sex", "of one sex"),
)


def acquisition_warnings(pictures: Sequence[Picture]) -> list[str]:
    """Returns a warning for each attribute of the acquisition or the patient that may give a class away.

    Args:
        pictures: images of the cohort.
    """
    groups = by_class(pictures)
    if len(groups) < 2:
        return []
    warnings = []
    for attribute, what, factor, form in _NUMBERS:
        medians = {
            label: _median(getattr(picture.acquisition, attribute) for picture in group)
            for label, group in groups.items()
        }
        known = [value for value in medians.values() if isfinite(value)]
        if len(known) == len(groups) and max(known) >= factor * min(known):
            warnings.append(difference_text(what, medians, form))
    for attribute, what in _TEXTS:
        shares = _shares(
            {
                label: Counter(getattr(picture.acquisition, attribute) for picture in group)
                for label, group in groups.items()
            }
        )
        if max(shares.values()) - min(shares.values()) > SHARE:
            warnings.append(difference_text(f"the share of images {what}", shares, "{:.0%}"))
    return warnings


def _median(values: Iterable[float]) -> float:
    """Returns the median of the known values, or NaN if most are unknown."""
    found = list(values)
    known = [value for value in found if isfinite(value)]
    return median(known) if 2 * len(known) > len(found) else float("nan")


def _shares(counts: dict[str, Counter[str]]) -> dict[str, float]:
    """Returns the share of one value in each class: of the value whose shares differ most, if possible a known one."""
    values = set().union(*counts.values())
    shares = [
        {label: group[value] / group.total() for label, group in counts.items()}
        for value in sorted(values, reverse=True)
    ]
    return max(shares, key=lambda share: max(share.values()) - min(share.values()))
