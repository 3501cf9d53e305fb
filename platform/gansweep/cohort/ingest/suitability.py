"""Excludes slices that are not useful: surveys, and blank or tiny images."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from gansweep.cohort.readers.slices import Flaw, Slice, shape_text
from gansweep.cohort.sources.bids import SUFFIXES
from gansweep.cohort.sources.source import Rejected, Source

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

__all__ = [
    "TOMOGRAPHY",
    "impossible",
    "is_bids_name",
    "modality_in_name",
    "remarks",
    "repeats_told",
    "surveys_in",
    "two_valued",
    "useless",
]

TOMOGRAPHY = {"CT", "MR"}
PARALLEL = 0.7  # cosine of the maximum angle between slices of one plane; a gantry tilts less
MOST = 0.8  # minimum fraction of parallel slices; a series with fewer is a survey
SMALLEST = 8  # pixels; the minimum size of a cohort
NARROWEST = 4  # pixels; a coronal slice of a small volume may be as narrow
DENSEST_HU = 3071.0  # the brightest value of most scanners; an image without any darker one is not in Hounsfield units
DIGITS = 4  # of a place in mm; a micro-CT has slices of 0.001 mm
REPEATED = "another image of its series shows the same place: times, phases or echoes of one scan are mixed"
_SEQUENCES = "t1 t2 t1w t2w t1c t1ce t1gd t2star flair pd pdw dwi adc swi mr mri mprage"
MR_WORDS = frozenset(_SEQUENCES.split())

Normal = tuple[float, float, float]


def remarks(found: Sequence[tuple[Source, Slice]]) -> list[Rejected]:
    """Returns records of what readers left out of files that are otherwise used."""
    return [Rejected.of(source, part.remark, bad=False) for source, part in found if part.remark]


def surveys_in(found: Sequence[tuple[Source, Slice]]) -> tuple[list[Rejected], set[int]]:
    """Finds the slices of a series whose orientation differs from that of most, or all if there is no majority.

    A survey of three planes is acquired as one series to plan others. In a series of slices, the planes are parallel
    except for the tilt of the gantry.

    Returns:
        (a record of each file with such slices, the indices of these slices in `found`).
    """
    planes: list[tuple[Normal, list[int]]] = []
    for index, (_, part) in enumerate(found):
        if part.normal is None or part.modality not in TOMOGRAPHY:
            continue
        parallel = [plane for plane in planes if abs(float(np.dot(plane[0], part.normal))) > PARALLEL]
        if parallel:
            parallel[0][1].append(index)
        else:
            planes.append((part.normal, [index]))
    if len(planes) < 2:
        return [], set()
    members = [indices for _, indices in planes]
    largest = max(members, key=len)
    survey = len(largest) < MOST * sum(map(len, members))
    outside = {index for indices in members for index in indices if survey or indices is not largest}
    reason = "a survey: its series has several orientations" if survey else "another orientation than its series"
    return _partly_rejected(found, outside, reason), outside


def _partly_rejected(found: Sequence[tuple[Source, Slice]], outside: set[int], reason: str) -> list[Rejected]:
    """Returns a record of each file with slices in `outside`. If others of its slices are used, it says how many."""
    slices = Counter(source.path for source, _ in found)
    left_out = Counter(found[index][0].path for index in outside)
    sources = {source.path: source for source, _ in found}
    records = []
    for path, count in left_out.items():
        part = f" ({count} of {slices[path]} frames)" if count < slices[path] else ""
        records.append(Rejected.of(sources[path], reason + part, bad=False))
    return records


def repeats_told(found: Sequence[tuple[Source, Slice]], digests: Mapping[Path, str]) -> list[tuple[Source, Slice]]:
    """Returns the slices of a series, with a flaw in those that lie where others do.

    So do images that watch a bolus arrive, perfusion, cardiac phases, echoes and diffusion weightings. Copies of a file
    are one image, and so is a file that is listed twice.

    Args:
        found: the slices, each with its file.
        digests: the SHA-256 of each file.
    """
    places = [(part.plane, tuple(round(value, DIGITS) for value in part.place)) for _, part in found]
    images: dict[tuple[str, tuple[float, ...]], set[tuple[str, int]]] = defaultdict(set)
    frames: Counter[int] = Counter()
    for (source, _), place in zip(found, places, strict=True):
        images[place].add((digests[source.path] or str(source.path), frames[id(source)]))
        frames[id(source)] += 1
    return [
        (source, replace(part, flaws=(*part.flaws, Flaw(REPEATED))) if part.place and len(images[place]) > 1 else part)
        for (source, part), place in zip(found, places, strict=True)
    ]


def useless(part: Slice, *, keep_blank: bool) -> str:
    """Returns why an image is not worth training on, or ""."""
    gaps = part.spacing_mm or (1.0, 1.0)
    # In square pixels, because thick slices of a volume give coronal pictures of few rows, which are then stretched.
    sides = [side * gap / min(gaps) for side, gap in zip(part.pixels.shape[-2:], gaps, strict=True)]
    if max(part.pixels.shape[-2:]) < SMALLEST or min(sides) < NARROWEST:
        return f"only {shape_text(part.pixels.shape[-2:])} pixels"
    blank = float(part.pixels.min()) == float(part.pixels.max())
    return "blank: all pixels are equal" if blank and not keep_blank else ""


def two_valued(part: Slice) -> bool:
    """Returns whether an image consists of two grey levels or colours, as a mask does."""
    pixels = part.pixels.reshape(part.pixels.shape[0], -1)
    first = (pixels == pixels[:, :1]).all(axis=0)
    if first.all():
        return False
    second = pixels[:, int(np.argmin(first))][:, None]
    return bool((first | (pixels == second).all(axis=0)).all())


def impossible(part: Slice) -> str:
    """Returns why the values of a CT image cannot be Hounsfield units, or ""."""
    low = float(part.pixels.min())
    if part.modality != "CT" or low <= DENSEST_HU:
        return ""
    high = float(part.pixels.max())
    return f"values from {low:g} to {high:g}, which are no Hounsfield units (--assume-hu takes them as they are)"


def is_bids_name(name: str) -> bool:
    """Returns whether a name is one of BIDS, which defines what its suffix means: `sub-01_ses-2_T1w.nii.gz`."""
    return re.fullmatch(rf"sub-[0-9A-Za-z]+(_[^.]+)?_({'|'.join(SUFFIXES)})\.nii(\.gz)?", name) is not None


def modality_in_name(name: str) -> str:
    """Returns the modality in the name of a NIfTI file (`sub-01_ct.nii`, `T1w.nii.gz`), or ""."""
    words = set(re.split(r"[\W_]+", name.lower()))
    if "ct" in words:
        return "CT"
    return "MR" if words & MR_WORDS else ""
