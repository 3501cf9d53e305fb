"""Measures the ingest of real image sets on one core and on two: seconds, and peak resident memory.

    python benchmarks/ingest_real.py FOLDER [--size 64] [--rounds 2]

FOLDER holds the sets of `SETS`, each as a folder; those that are not there are left out. Each ingest runs in a new
process, as `benchmarks/cohort_size.py` runs it, and takes turns between one core and two. The figure is the least of
the rounds. Prints a table in Markdown and one JSON line.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from cohort_size import in_new_process

from gansweep.cohort.ingest.run import IngestSettings, ingest

CORES = [1, 2]
SETS: dict[str, dict[str, Any]] = {
    "head_ct_hemorrhage200": {},
    "br35h_tumour_masks": {"resplit": True},
    "isic9_dermoscopy": {"resplit": True, "classes": ("melanoma", "nevus")},
    "harvard_ct_mr_pairs": {"split_column": "patient_split"},
    "dicom_head_samples": {"modality": "MR", "split": (1, 0, 0)},
    "hippocampus_mr3d": {"label_from": "mask", "slices": 3},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="holds the sets, each as a folder")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    print("| Set | Images | One core | Two cores | Ratio |")
    print("|---|---|---|---|---|")
    lines = []
    for name in SETS:
        if (options.folder / name).is_dir():
            lines.append(measure(options.folder / name, options.size, options.rounds))
            print_line(lines[-1])
    print(json.dumps({"benchmark": "ingest_real", "size": options.size, "sets": lines}))


def measure(source: Path, size: int, rounds: int) -> dict[str, Any]:
    """Returns the figures of one set."""
    line: dict[str, Any] = {"set": source.name}
    for _ in range(rounds):
        for cores in CORES:
            with tempfile.TemporaryDirectory() as folder:
                figures = in_new_process(run_ingest, source, Path(folder), size, cores)
                line["images"] = image_count(Path(folder))
            least = line.setdefault(f"cores: {cores}", figures)
            if figures["seconds"] < least["seconds"]:
                line[f"cores: {cores}"] = figures
    return line


def run_ingest(source: Path, folder: Path, size: int, cores: int) -> None:
    os.sched_setaffinity(0, set(sorted(os.sched_getaffinity(0))[:cores]))
    ingest(source, folder / "cohort", IngestSettings(size=size, **SETS[source.name]))


def image_count(folder: Path) -> int:
    """Returns the number of images in a cohort."""
    info = json.loads((folder / "cohort" / "cohort.json").read_text(encoding="utf-8"))
    return sum(info["images"].values())


def print_line(line: dict[str, Any]) -> None:
    """Prints the figures of one set."""
    one, two = (line[f"cores: {cores}"] for cores in CORES)
    ratio = one["seconds"] / two["seconds"]
    cells = [f"{part['seconds']:.1f} s, {part['peak_mib']:.0f} MiB" for part in (one, two)]
    print(f"| {line['set']} | {line['images']} | {cells[0]} | {cells[1]} | {ratio:.2f} |", flush=True)


if __name__ == "__main__":
    main()
