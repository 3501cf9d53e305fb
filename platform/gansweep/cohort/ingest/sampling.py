"""Tells which slices, sequences and planes a cohort holds, where a part was chosen or several are mixed."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from gansweep.cohort.ingest.selection import DEFAULT_SLICES
from gansweep.cohort.sources.source import format_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from gansweep.cohort.ingest.reading import Picture
    from gansweep.cohort.ingest.selection import Chosen, Rule
    from gansweep.cohort.ingest.settings import IngestSettings

__all__ = ["plane_warnings", "sequence_warnings", "slice_warnings"]

SHARE = 0.2  # minimum difference between classes in a sequence's share that is reported


def slice_warnings(pictures: Sequence[Picture], settings: IngestSettings) -> list[str]:
    """Returns, for each rule that selects slices, how many it does not take."""
    files: dict[Rule, dict[Path, Chosen]] = defaultdict(dict)
    for picture in pictures:
        chosen = picture.chosen
        if chosen.rule != "all" and chosen.taken < chosen.slices:
            files[chosen.rule][picture.source.path] = chosen
    most = "" if settings.slices is None else f", at most {settings.slices}"
    rules: dict[Rule, str] = {
        "middle": f"up to {settings.slices or DEFAULT_SLICES} from the middle half of each file are; --slices takes "
        "another number",
        "lesion": f"those with a lesion are{most}",
        "both": f"those with a lesion are{most}, and as many without",
    }
    warnings = []
    for rule, counts in files.items():
        total = sum(chosen.slices for chosen in counts.values())
        left = total - sum(chosen.taken for chosen in counts.values())
        warnings.append(f"{left} of {total} slices in {len(counts)} volumes or cines are not taken: {rules[rule]}")
    return warnings


def sequence_warnings(pictures: Sequence[Picture]) -> list[str]:
    """Returns a warning if the MR sequence differs between classes, or else if there are several sequences.

    Images whose sequence is not known do not count, because only their names may differ.
    """
    known = [picture for picture in pictures if picture.sequence]
    counts = Counter(picture.sequence for picture in known)
    # A few PNGs may have such words in their names by chance.
    if len(counts) < 2 or (known[0].modality == "raster" and 2 * len(known) < len(pictures)):
        return []
    formats = {format_of(picture.source.path) for picture in known}
    ways = ["--series", "a labels.csv of its files"] if "dicom" in formats else ["a labels.csv of its files"]
    fix = f"keep one with {' or '.join(ways)}"
    if all(_may_be_visit(picture) for picture in known):
        fix += "; if T1 and T2 are visits, give patient_id in a CSV, so that a patient's visits stay in one split"
    differences = _differences([(picture.label, picture.sequence) for picture in known])
    if differences:
        return [f"the MR sequence differs between classes, which may give them away: {differences}; {fix}"]
    return [f"the images are of several MR sequences ({_listed(counts)}); {fix}"]


def plane_warnings(pictures: Sequence[Picture]) -> list[str]:
    """Returns a warning if the anatomical plane differs between classes, or else if there are several planes."""
    known = [picture for picture in pictures if picture.plane]
    counts = Counter(picture.plane for picture in known)
    if len(counts) < 2:
        return []
    differences = _differences([(picture.label, picture.plane) for picture in known])
    if differences:
        return [f"the plane differs between classes, which may give them away: {differences}"]
    return [
        f"the images are in several planes ({_listed(counts)}); keep one with --series or a labels.csv of its files"
    ]


def _differences(found: Sequence[tuple[str, str]]) -> str:
    """Returns the shares of each kind by class if those of one kind differ, else "".

    Args:
        found: class and kind of each image.
    """
    by_class: dict[str, Counter[str]] = defaultdict(Counter)
    for label, kind in found:
        by_class[label][kind] += 1
    for kind in {kind for _, kind in found}:
        shares = [counts[kind] / counts.total() for counts in by_class.values()]
        if max(shares) - min(shares) > SHARE:
            return "; ".join(f"{label}: {_shares(counts)}" for label, counts in sorted(by_class.items()))
    return ""


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{count} x {kind}" for kind, count in counts.most_common())


def _may_be_visit(picture: Picture) -> bool:
    """Returns whether a name has T1 or T2 as a word, which may also be the first or second visit of a patient."""
    if format_of(picture.source.path) == "dicom":
        return False
    words = set(re.split(r"[\W_]+", picture.source.path.name.casefold()))
    return picture.sequence in {"T1", "T2"} and not words.isdisjoint(("t1", "t2"))


def _shares(counts: Counter[str]) -> str:
    return ", ".join(f"{count / counts.total():.0%} {sequence}" for sequence, count in counts.most_common())
