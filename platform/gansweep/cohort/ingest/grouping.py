"""Groups files that are read together: a DICOM series, or a single other file."""

from __future__ import annotations

import fnmatch
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gansweep.cohort.ingest.parallel import map_in_order
from gansweep.cohort.ingest.suitability import TOMOGRAPHY
from gansweep.cohort.readers.dicom_header import read_header
from gansweep.cohort.readers.placeholders import placeholder_in
from gansweep.cohort.readers.slices import ScanError, UnneededError
from gansweep.cohort.sources.source import Rejected, Source, format_of
from gansweep.cohort.sources.words import known_patient

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from gansweep.cohort.ingest.settings import IngestSettings
    from gansweep.files import ProgressCallback

__all__ = ["Unit", "group_by_series"]


@dataclass(frozen=True)
class Unit:
    """Files that are read together.

    Args:
        sources: the files.
        digests: the SHA-256 of each.
    """

    sources: tuple[Source, ...]
    digests: Mapping[Path, str]


def group_by_series(
    sources: Sequence[Source],
    settings: IngestSettings,
    digests: Mapping[Path, str],
    progress: ProgressCallback | None = None,
) -> tuple[list[Unit], list[Rejected]]:
    """Groups sources into units that are read together: a DICOM series of one patient, or a single other file.

    The SeriesInstanceUID alone does not identify a series: some de-identification tools empty it, or give all patients
    the same one. Secondary captures among CT or MR images are left out, unless `settings.derived` takes them.

    Args:
        sources: sources in order. A unit has the position of its first file.
        settings: options of the ingest, such as the pattern that the description of a series must match.
        digests: the SHA-256 of each file.
        progress: called with (stage, files done, total files).

    Returns:
        (units, rejected).
    """

    def scan_of(source: Source) -> _Scan | Rejected:
        return _scan_of(source, settings.series)

    dicom = [source for source in sources if format_of(source.path) == "dicom"]
    found = list(map_in_order(scan_of, dicom, "reading headers", progress))
    # By identity, because a file may be listed twice.
    known = {id(source): scan for source, scan in zip(dicom, found, strict=True)}
    tomography = any(isinstance(scan, _Scan) and scan.tomography for scan in found)
    units: dict[str, list[Source]] = defaultdict(list)
    rejected = []
    for source in sources:
        scan = known.get(id(source)) or _Scan(str(source.path))
        if isinstance(scan, Rejected):
            rejected.append(scan)
        elif scan.captured and tomography and not settings.derived:
            rejected.append(Rejected.of(source, "a secondary capture among CT or MR images", bad=False))
        else:
            units[scan.series].append(source)
    made = []
    for members in units.values():
        own_digests = {source.path: digests.get(source.path, "") for source in members}
        made.append(Unit(tuple(members), own_digests))
    return made, rejected


@dataclass(frozen=True)
class _Scan:
    """Facts from the header of a DICOM file that determine how files are grouped.

    Args:
        series: identifier of the series, equal for files that are read together.
        tomography: whether the file is a CT or MR image.
        captured: whether the file is a secondary capture of another modality.
    """

    series: str
    tomography: bool = False
    captured: bool = False


def _scan_of(source: Source, series: str | None) -> _Scan | Rejected:
    """Reads the header of a file. Returns a `Rejected` if the file is not used."""
    try:
        header = read_header(source.path)
    except (ScanError, UnneededError) as error:
        return Rejected.of(source, placeholder_in(source.path) or error.what, bad=isinstance(error, ScanError))
    if series is not None and not fnmatch.fnmatch(header.description, series):
        return Rejected.of(source, f"its series is not {series!r}", bad=False)
    patient = source.patient or known_patient(header.patient) or source.folder
    name = f"{header.series} {header.study} {patient}" if header.series else str(source.path)
    tomography = header.modality in TOMOGRAPHY
    return _Scan(name, tomography and not header.captured, header.captured and not tomography)
