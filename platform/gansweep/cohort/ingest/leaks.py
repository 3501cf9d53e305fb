"""Finds files that are in two splits, byte for byte, before any image is decoded, and lists all pairs of copies."""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gansweep.cohort.ingest.parallel import map_in_order
from gansweep.cohort.ingest.split import SPLITS
from gansweep.cohort.sources.naming import name_of, patients_of
from gansweep.cohort.sources.source import Rejected, Source
from gansweep.errors import CohortError, counted
from gansweep.files import sha256_of, write_atomically

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from gansweep.files import ProgressCallback

__all__ = [
    "Leak",
    "digests_of",
    "drop_leaks",
    "leak_between",
    "leak_error",
    "leaks_of_bytes",
    "list_pairs",
    "pairs_file",
    "write_pairs",
]


@dataclass(frozen=True)
class Leak:
    """Two images that are, or look, the same.

    Args:
        kind: `bytes` (equal files), `pixels` (equal images) or `near`.
        first: first source.
        second: second source.
        splits: split of each.
        images: position of each in the cohort, or None if there is no cohort.
    """

    kind: str
    first: Source
    second: Source
    splits: tuple[str, str]
    images: tuple[int, int] | None = None


def leak_between(kind: str, one: Source, other: Source) -> Leak:
    """Returns the pair of two sources with given splits, the one in the less strict split first."""
    first, second = sorted((one, other), key=lambda source: SPLITS.index(source.split))
    return Leak(kind, first, second, (first.split, second.split))


def digests_of(sources: Sequence[Source], progress: ProgressCallback | None) -> dict[Path, str]:
    """Returns the SHA-256 of each readable file. The readers report unreadable files."""
    paths = list(dict.fromkeys(source.path for source in sources))
    digests = map_in_order(_digest, paths, "hashing files", progress)
    return {path: digest for path, digest in zip(paths, digests, strict=True) if digest}


def _digest(path: Path) -> str:
    try:
        return sha256_of(path)
    except OSError:
        return ""


def leaks_of_bytes(sources: Sequence[Source], digests: Mapping[Path, str]) -> list[Leak]:
    """Returns pairs of equal files in different splits: each file with the first equal one of every other split.

    Files with two labels are excluded. They are left out entirely, because it is unknown which label is right.
    """
    labels: dict[str | None, set[str]] = defaultdict(set)
    for source in sources:
        labels[digests.get(source.path)].add(source.label)
    first: dict[str, dict[str, Source]] = {}
    leaks = []
    for source in sources:
        digest = digests.get(source.path)
        has_split = source.split in SPLITS
        has_conflict = len(labels[digest]) > 1
        if digest is None or not has_split or has_conflict:
            continue
        seen = first.setdefault(digest, {})
        leaks += [leak_between("bytes", other, source) for split, other in seen.items() if split != source.split]
        seen.setdefault(source.split, source)
    return leaks


def leak_error(leaks: Sequence[Leak], out: Path) -> CohortError:
    """Writes the pairs to a file next to `out`, and returns the error that names this file.

    Raises:
        CohortError: the file cannot be written.
    """
    listed = list_pairs(leaks, out)
    count = len({leak.second.name for leak in leaks})
    splits = " and ".join(sorted(set(leaks[0].splits), key=SPLITS.index))
    example = name_of(leaks[0].second, _labels(leaks), patients_of(_sources(leaks)))
    found = counted(count, "image is", "images are")
    return CohortError(
        f"{found} in two splits, the first in {splits}: {example} (all pairs: {listed.name})",
        fix="make a new split with --resplit, or leave the copies out with --drop-leaks",
    )


def list_pairs(leaks: Sequence[Leak], out: Path) -> Path:
    """Writes the pairs to a file next to `out`, because there is no cohort, and returns its path.

    Raises:
        CohortError: the file cannot be written.
    """
    listed = pairs_file(out)
    try:
        write_pairs(listed, leaks)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise CohortError(f"cannot write here: {reason}", where=str(listed), fix="choose a writable folder") from None
    return listed


def pairs_file(out: Path) -> Path:
    """Returns the path of the list of pairs if there is no cohort."""
    return out.with_name(f"{out.name}-duplicates.csv")


def write_pairs(path: Path, leaks: Sequence[Leak]) -> None:
    """Writes one line per pair. Names that may identify a person are replaced by the file's position in its folder.

    So are those with the identifier of a patient, from the labels, the folder or PatientID.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    header = ["kind"]
    for side in ("first", "second"):
        header += [side, f"{side}_label", f"{side}_split", f"{side}_image"]
    writer.writerow(header)
    labels = _labels(leaks)
    patients = patients_of(_sources(leaks))
    names: dict[str, str] = {}  # a file of many pairs is looked at once
    for leak in leaks:
        cells: list[str] = [leak.kind]
        for number, source in enumerate((leak.first, leak.second)):
            if source.name not in names:
                names[source.name] = name_of(source, labels, patients)
            name = names[source.name].encode("utf-8", "backslashreplace").decode()
            image = "" if leak.images is None else f"{leak.images[number]:06d}"
            cells += [name, source.label, leak.splits[number], image]
        writer.writerow(cells)
    write_atomically(path, text.getvalue().encode())


def drop_leaks(sources: Sequence[Source], leaks: Sequence[Leak]) -> tuple[list[Source], list[Rejected]]:
    """Keeps, of equal files, only those in the strictest split: test before val before train.

    Returns:
        (kept, rejected).
    """
    strictest: dict[Path, str] = {}
    for leak in leaks:
        split = max(*leak.splits, key=SPLITS.index)
        for source in (leak.first, leak.second):
            strictest[source.path] = max(strictest.get(source.path, "train"), split, key=SPLITS.index)
    kept = []
    rejected = []
    for source in sources:
        split = strictest.get(source.path, source.split)
        if source.split == split:
            kept.append(source)
        else:
            rejected.append(Rejected.of(source, f"the same image is in {split}", bad=False))
    return kept, rejected


def _sources(leaks: Sequence[Leak]) -> list[Source]:
    return [leak.first for leak in leaks] + [leak.second for leak in leaks]


def _labels(leaks: Sequence[Leak]) -> set[str]:
    return {source.label for source in _sources(leaks)}
