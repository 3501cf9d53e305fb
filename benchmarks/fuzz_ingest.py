"""Damages real files and reads them: no traceback, no hang, bounded memory, nothing half-written.

Run: `python benchmarks/fuzz_ingest.py FOLDER [FOLDER ...] [--minutes 20] [--seed 0]`. The folders hold DICOM, NIfTI,
PNG, JPEG, WebP, TIFF or CSV files. Each case takes one of them, damages it with its own seed (flipped bits, a cut end,
bytes that are zeroed, doubled or come from another file), and reads it as `ingest` does. Every fiftieth case is a whole
ingest of a folder with one damaged file. A worker process reads, so that a decoder that ends the process, or never
ends, is counted too.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import shutil
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gansweep.cohort.dataset import Cohort
from gansweep.cohort.ingest.run import IngestSettings, ingest
from gansweep.cohort.readers.dicom import read_dicom
from gansweep.cohort.readers.dicom_header import read_header
from gansweep.cohort.readers.masks import read_mask
from gansweep.cohort.readers.nifti import read_nifti
from gansweep.cohort.readers.raster import read_raster
from gansweep.cohort.sources.find import find_sources
from gansweep.cohort.sources.source import format_of
from gansweep.errors import CohortError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from multiprocessing.connection import Connection

HANG = 10.0  # seconds
WHOLE = 30.0  # seconds, for an ingest of many files
LARGEST = 4_000_000  # bytes: larger files are left out, because most damage to them changes nothing
EVERY = 50  # of so many cases, one is a whole ingest
PER_KIND = 60  # files of each suffix
GOOD = 8  # undamaged files in a folder that is ingested


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--seed", type=int, default=0, help="of the first case; each next case has the next seed")
    arguments = parser.parse_args()
    print(json.dumps(fuzz(arguments.folders, arguments.minutes, arguments.seed), indent=2))


def fuzz(folders: Sequence[Path], minutes: float, seed: int) -> dict[str, Any]:
    """Reads damaged files for a while.

    Args:
        folders: where undamaged files are.
        minutes: how long.
        seed: of the first case.

    Returns:
        Counts of outcomes by format, the slowest case, the peak memory in MB, and what must not happen, with seeds.
    """
    files = _files(folders)
    until = time.monotonic() + 60 * minutes
    counts: Counter[str] = Counter()
    faults: list[dict[str, Any]] = []
    slowest: dict[str, Any] = {"seconds": 0.0}
    first = seed
    peak = 0.0
    while time.monotonic() < until:
        mine, other = multiprocessing.Pipe()
        worker = multiprocessing.Process(target=_work, args=(other, files, seed, until), daemon=True)
        worker.start()
        other.close()
        began = time.monotonic()
        try:
            mine.recv()  # it has imported what it needs
            while mine.poll(WHOLE if seed % EVERY == 0 else HANG):
                case = mine.recv()
                began = time.monotonic()
                seed = case["seed"] + 1
                peak = max(peak, case["peak_mb"])
                counts[f"{case['kind']}: {case['outcome']}"] += 1
                if case["seconds"] > slowest["seconds"]:
                    slowest = case
                if case["outcome"] == "fault":
                    faults.append(case)
            what = f"no answer for {time.monotonic() - began:.0f} s"
        except EOFError:
            worker.join()
            what = f"the process ended with {worker.exitcode}"
            if worker.exitcode == 0:
                break
        faults.append({"seed": seed, "fault": what})
        seed += 1
        worker.kill()
        worker.join()
    return {
        "files": len(files),
        "seeds": [first, seed - 1],
        "counts": dict(sorted(counts.items())),
        "slowest": slowest,
        "peak_mb": round(peak),
        "faults": faults,
    }


def _files(folders: Sequence[Path]) -> list[Path]:
    """At most PER_KIND files of each suffix, spread over all of them."""
    by_suffix: dict[str, list[Path]] = {}
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            if path.is_file() and path.stat().st_size < LARGEST and (format_of(path) or path.suffix == ".csv"):
                by_suffix.setdefault(path.suffix, []).append(path)
    return [paths[place] for paths in by_suffix.values() for place in _spread(len(paths))]


def _spread(count: int) -> list[int]:
    return sorted(set(np.linspace(0, count - 1, min(PER_KIND, count)).astype(int).tolist()))


def _work(connection: Connection, files: list[Path], seed: int, until: float) -> None:
    import torch.nn.functional  # noqa: F401  # so that the first ingest is not charged with it

    connection.send("ready")
    with tempfile.TemporaryDirectory() as folder:
        while time.monotonic() < until:
            connection.send(_case(Path(folder), files, seed))
            seed += 1
    connection.close()


def _case(folder: Path, files: list[Path], seed: int) -> dict[str, Any]:
    random = np.random.default_rng(seed)
    original = files[int(random.integers(len(files)))]
    other = files[int(random.integers(len(files)))]
    data = damaged(original.read_bytes(), other.read_bytes(), random)
    whole = seed % EVERY == 0
    kind = "ingest" if whole else "csv" if original.suffix == ".csv" else format_of(original)
    began = time.perf_counter()
    outcome = "read"
    fault = ""
    try:
        if whole:
            _ingest(folder, files, original, data)
        else:
            _read(folder, original, data)
    except CohortError as error:
        outcome = "refused"
        if "\n" in str(error):
            outcome = "fault"
            fault = f"a message of several lines: {error}"
    except Exception:  # a traceback is what the benchmark looks for
        outcome = "fault"
        fault = "".join(traceback.format_exc().splitlines(keepends=True)[-4:])
    return {
        "seed": seed,
        "kind": kind,
        "file": original.name,
        "outcome": outcome,
        "fault": fault,
        "seconds": round(time.perf_counter() - began, 3),
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def damaged(data: bytes, other: bytes, random: np.random.Generator) -> bytes:
    """The bytes of a file after one kind of damage.

    Args:
        data: of the file.
        other: of another file, from which a piece may come.
        random: decides.
    """
    values = np.frombuffer(data, np.uint8).copy()
    if not len(values):
        return data
    kind = int(random.integers(6))
    if kind == 0:  # bits anywhere
        where = random.integers(len(values), size=int(random.integers(1, 64)))
        values[where] ^= np.uint8(1) << random.integers(0, 8, len(where)).astype(np.uint8)
    elif kind == 1:  # bits in the header
        where = random.integers(min(len(values), 2048), size=int(random.integers(1, 16)))
        values[where] ^= np.uint8(1) << random.integers(0, 8, len(where)).astype(np.uint8)
    elif kind == 2:
        values = values[: int(random.integers(len(values)))]
    elif kind == 3:
        start = int(random.integers(len(values)))
        values[start : start + int(random.integers(1, 512))] = int(random.choice([0, 255]))
    elif kind == 4:
        start = int(random.integers(len(values)))
        piece = values[start : start + int(random.integers(1, 4096))]
        values = np.concatenate([values[:start], piece, values[start:]])
    else:
        start = int(random.integers(len(values)))
        begin = int(random.integers(max(len(other), 1)))
        piece = np.frombuffer(other, np.uint8)[begin : begin + int(random.integers(1, 1024))]
        values[start : start + len(piece)] = piece[: len(values) - start]
    return values.tobytes()


def _read(folder: Path, original: Path, data: bytes) -> None:
    if original.suffix == ".csv":
        table = folder / "labels.csv"
        table.write_bytes(data)
        try:
            find_sources(folder, table)
        finally:
            table.unlink()
        return
    path = folder / f"case{''.join(original.suffixes[-2:]) if original.name.endswith('.nii.gz') else original.suffix}"
    path.write_bytes(data)
    kind = format_of(original)
    try:
        if kind == "dicom":
            format_of(path)
            read_header(path)
            read_dicom(path, derived=True, assume_hu=True)
        elif kind == "nifti":
            read_nifti(path)
            read_mask(path)
        else:
            read_raster(path)
            read_mask(path)
    finally:
        path.unlink()


def _ingest(folder: Path, files: list[Path], original: Path, data: bytes) -> None:
    """A whole ingest with one damaged file: the result is a cohort, or a refusal that leaves nothing behind."""
    suffix = original.suffix if original.suffix != ".csv" else ".png"
    kin = [path for path in files if path.suffix == suffix and path != original]
    source = folder / "source"
    out = folder / "out"
    for number, path in enumerate(kin[: 2 * GOOD]):
        place = source / ("control" if number % 2 else "fahr") / f"scan {number}{''.join(path.suffixes[-2:])}"
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, place)
    (source / "control").mkdir(parents=True, exist_ok=True)
    (source / "control" / f"case{''.join(original.suffixes[-2:])}").write_bytes(data)
    try:
        made = ingest(source, out, IngestSettings(size=16, skip_bad=True, label_per="image", slices=2))
        Cohort.open(made.path)
    except CohortError:
        left = [path.name for path in folder.iterdir() if path.name not in {"source", "out-duplicates.csv"}]
        if left:
            raise RuntimeError(f"refused, but left {left}") from None
        raise
    finally:
        for path in folder.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()


if __name__ == "__main__":
    main()
