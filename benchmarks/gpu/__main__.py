"""Measures everything about this machine's GPU in at most eight minutes; on a CPU, tiny, to show that it runs.

    PYTHONPATH=platform:. python -m benchmarks.gpu [--out gpu-report] [--minutes 8] [--device auto|cuda|cpu]

Needs torch, numpy, pydantic and safetensors; neither Ray nor MONAI nor a network. Writes gpu.json and gpu.md.

The sections run in a process of their own. One that fails, hangs, or takes CUDA down with it is told in its row, and
the others go on in a new process.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu.bench import CPU_SIZES, GPU_SIZES, Bench
from benchmarks.gpu.report import CPU_NOTE, write
from benchmarks.gpu.sections import SECTIONS, run_sections

PATIENCE = 150.0
"""Seconds without a figure after which a section's process is ended."""

GRACE = 20.0
"""Seconds that the last section may go on after the time for everything."""

POLL = 0.2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("gpu-report"), help="a folder")
    parser.add_argument("--minutes", type=float, default=8.0, help="for everything")
    parser.add_argument("--device", choices=("auto", "cuda", "cpu"), default="auto")
    parser.add_argument("--sections", nargs="+", metavar="NAME", help=f"of: {'; '.join(SECTIONS)}")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, default=60.0, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    names = arguments.sections or list(SECTIONS)
    if unknown := [name for name in names if name not in SECTIONS]:
        parser.error(f"unknown section {unknown[0]!r}; known: {'; '.join(SECTIONS)}")
    device = _device(arguments.device)
    if device is None:
        parser.error("--device cuda, but torch sees no GPU here; see: gansweep doctor")
    if arguments.child:
        torch.set_num_threads(1 if device.type == "cpu" else torch.get_num_threads())
        bench = Bench(device, GPU_SIZES if device.type == "cuda" else CPU_SIZES)
        run_sections(bench, names, arguments.child, arguments.seconds)
        return
    started = time.monotonic()
    sections = _measured(names, device, ends=started + 60 * arguments.minutes)
    found = {
        "benchmark": "gpu",
        "note": "" if device.type == "cuda" else CPU_NOTE,
        "machine": _machine(device),
        "seconds": time.monotonic() - started,
        "sections": sections,
    }
    for path in write(found, arguments.out):
        print(path)
    if any(section["status"] == "failed" for section in sections):
        sys.exit(1)


def _device(wanted: str) -> torch.device | None:
    """The device; None where the one that is asked for is not there."""
    there = torch.cuda.is_available()
    if wanted == "cuda" and not there:
        return None
    return torch.device("cuda", 0) if there and wanted != "cpu" else torch.device("cpu")


def _machine(device: torch.device) -> dict[str, str]:
    facts = {"torch": torch.__version__, "Python": platform.python_version(), "device": "CPU"}
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        facts["device"] = f"{properties.name} ({properties.total_memory / 2**30:.0f} GiB)"
        facts["GPUs"] = str(torch.cuda.device_count())
        facts["CUDA"] = str(torch.version.cuda)
        facts["cuDNN"] = str(torch.backends.cudnn.version())
    return facts


def _measured(names: list[str], device: torch.device, *, ends: float) -> list[dict[str, Any]]:
    """What each section found, in processes that are replaced when they end before their time."""
    found: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        while left := names[len(found) :]:
            remaining = ends - time.monotonic()
            if remaining <= 0:
                found += [_section(name, "not run", "the time was up") for name in left]
                break
            file = Path(folder) / f"{len(found)}.jsonl"
            file.touch()
            command = [sys.executable, *_flags(), "-m", "benchmarks.gpu", "--child", str(file), "--device", device.type]
            child = subprocess.Popen([*command, "--seconds", str(remaining), "--sections", *left])
            found += _followed(child, file, ends)
    return found


def _flags() -> list[str]:
    """How this interpreter was started, as far as its path depends on it."""
    return ["-S"] if sys.flags.no_site else []


def _followed(child: subprocess.Popen[bytes], file: Path, ends: float) -> list[dict[str, Any]]:
    """The sections that a child began; ends it when one of them does not end."""
    said = ""
    since = time.monotonic()
    seen = 0
    while child.poll() is None:
        time.sleep(POLL)
        size = file.stat().st_size
        if size != seen:
            seen = size
            since = time.monotonic()
        if time.monotonic() > min(since + PATIENCE, ends + GRACE):
            child.kill()
            child.wait()
            said = f"it did not end within {time.monotonic() - since:.0f} s of its last figure"
    found: list[dict[str, Any]] = []
    for line in file.read_text(encoding="utf-8").splitlines():
        told = json.loads(line)
        if "section" in told:
            found.append(
                _section(told["section"], "failed", said or f"its process ended with status {child.returncode}")
            )
        elif "row" in told:
            found[-1]["rows"].append(told["row"])
        else:
            found[-1].update(told)
    if not found:
        raise SystemExit(f"the measuring process could not start (status {child.returncode})")
    return found


def _section(name: str, status: str, reason: str) -> dict[str, Any]:
    return {"name": name, "status": status, "reason": reason, "seconds": 0.0, "rows": []}


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
