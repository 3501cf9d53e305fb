"""What a training would use on this machine: device, driver, precision, capture, and room for the cohort."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Literal

__all__ = ["Verdict", "capture", "devices", "precisions", "room"]

Verdict = Literal["ok", "warning", "problem"]

_DRIVER = Path("/proc/driver/nvidia/version")


def devices() -> tuple[Verdict, str]:
    """The GPUs and their driver, or why there is none."""
    import torch

    from gansweep.devices import why_no_gpu

    if reason := why_no_gpu():
        there = _DRIVER.exists()
        detail = f"{reason}; trainings run on the CPU, {os.cpu_count()} cores; full-size searches want GPUs"
        # With a driver there is a GPU, and a sweep that asks for it would fail.
        return ("problem" if there else "warning"), detail
    gpus = [torch.cuda.get_device_properties(number) for number in range(torch.cuda.device_count())]
    names = ", ".join(f"{gpu.name} ({gpu.total_memory / 2**30:.0f} GiB)" for gpu in gpus)
    known = {int(name.removeprefix("sm_").rstrip("af")) for name in torch.cuda.get_arch_list() if name[:3] == "sm_"}
    for gpu in gpus:
        if known and gpu.major * 10 + gpu.minor < min(known):
            fix = "install torch for an older CUDA"
            return "problem", f"torch {torch.__version__} has no code for {gpu.name} ({gpu.major}.{gpu.minor}); {fix}"
    return "ok", f"{names}; driver {_driver()}, CUDA {torch.version.cuda}"


def precisions() -> tuple[Verdict, str]:
    """Which values of `precision` this machine has."""
    import torch

    from gansweep.devices import check_precision
    from gansweep.errors import ConfigError

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    had: list[str] = []
    for precision in ("float32", "tf32", "bfloat16"):
        try:
            check_precision(precision, device)
        except ConfigError:
            continue
        had.append(precision)
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    return "ok", f"{', '.join(had)} on {where}; float32 unless a trial sets precision"


def capture(workers: int) -> tuple[Verdict, str]:
    """How the steps of a trial of so many workers run: captured in CUDA graphs, or eagerly."""
    import torch

    from gansweep.training.capture import several_workers

    if reason := several_workers(workers):
        return "ok", f"eager: {reason}"
    if not torch.cuda.is_available():
        return "ok", "eager: steps are captured on a GPU only"
    return "ok", "captured as CUDA graphs where they compute what eager steps do; each row says which"


def room(path: str) -> tuple[Verdict, str]:
    """Where the training images of a cohort would be, and whether scoring has room for them."""
    import psutil
    import torch

    from gansweep.cohort.dataset import Cohort
    from gansweep.devices import has_room

    cohort = Cohort.open(path)
    stored = cohort.load_stored("train")
    bytes_stored = sum(part.nbytes for part in (stored.images, stored.masks, stored.paired) if part is not None)
    # Scoring, and training on a CPU, hold images as float32 in host memory.
    pixels = sum(part.shape[1] for part in (stored.images, stored.masks, stored.paired) if part is not None)
    wanted = len(stored) * pixels * cohort.info.size**2 * 4
    free = psutil.virtual_memory().available
    sizes = f"{len(stored)} training images of {cohort.info.size} pixels: {_gib(bytes_stored)} stored"
    sizes += f", {_gib(wanted)} float32"
    if wanted > free:
        return "problem", f"{sizes}; host memory has {_gib(free)} free: use a machine with more, or a smaller --size"
    if not torch.cuda.is_available():
        return "ok", f"{sizes}; in host memory, {_gib(free)} free"
    if has_room(bytes_stored, torch.device("cuda")):
        return "ok", f"{sizes}; trained from the GPU, which has room (images_on=device)"
    return "warning", f"{sizes}; trained from the host, for the GPU has no room (images_on=host)"


def _driver() -> str:
    try:
        found = re.search(r"\b(\d{3,}\.\d+(?:\.\d+)?)\b", _DRIVER.read_text())
    except OSError:
        return "of unknown version"
    return found[1] if found else "of unknown version"


def _gib(count: float) -> str:
    return f"{count / 2**30:.2f} GiB"
