"""Measures ingest, a trial and the memorisation examination on large cohorts: seconds, and peak resident memory.

    python benchmarks/cohort_size.py [--cohorts 10000x64 5000x256] [--cores 1 2] [--stages ingest trial] [--keep FOLDER]
    python benchmarks/cohort_size.py --cohorts 10000x64 --strangers 3

The cohort is made of smooth random fields with a little noise, as PNG files with a CSV of labels, ten images to a
patient. Each stage runs in a new process, whose peak of resident memory is the figure; it includes the libraries and
those pages of mapped files that the system kept. The peaks of the processes that ingest starts are added to that of its
own, as if all were at once. Ingest is run once for each number of cores. The trial trains a DCGAN for a few iterations
and scores it once, with few detector updates, so that what depends on the number of images is seen. Prints a table and
one JSON line.

With `--strangers`, only ingest is run, in rounds of three: on one core, on two, and by two processes that know nothing
of each other and each ingest half as many pictures at the same time, on a core each. These show what two cores can do
at all here.
"""

from __future__ import annotations

import argparse
import csv
import json
import multiprocessing
import os
import re
import shutil
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
import torch
from PIL import Image
from torch.nn import functional as F

from gansweep.cohort.dataset import Cohort
from gansweep.cohort.ingest.run import IngestSettings, ingest
from gansweep.config import DataView, ScoringSettings, TrialConfig
from gansweep.scoring.memorisation.examination import assess
from gansweep.scoring.networks.encoder import extractor_of, train_encoder
from gansweep.scoring.trial import TrialScorer
from gansweep.training.build import build_gan
from gansweep.training.loop import train
from gansweep.training.reporters import MemoryReporter
from trainables import TRAINABLES

if TYPE_CHECKING:
    from collections.abc import Callable

CPU = torch.device("cpu")
MIB = 1024**2
KIB = 1024
IMAGES_PER_PATIENT = 10
CHUNK = 500
STAGES = ["ingest", "trial", "memorisation"]
SCORING = ScoringSettings(samples=256, encoder_steps=50, detector_steps=50, detector_seeds=1)
CONFIG = TrialConfig(
    architecture={"latent": 16, "width": 16},
    batch_size=16,
    n_critic=1,
    iterations=20,
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cohorts", nargs="+", default=["1000x64"], metavar="IMAGESxSIZE")
    parser.add_argument("--cores", nargs="+", type=int, default=[1, 2], help="for ingest")
    parser.add_argument("--strangers", type=int, default=0, metavar="ROUNDS", help="compare ingest with them")
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=STAGES)
    parser.add_argument("--keep", type=Path, help="a folder that keeps the pictures and the cohorts")
    options = parser.parse_args()
    lines = []
    with nullcontext(options.keep) if options.keep else tempfile.TemporaryDirectory() as folder:
        for cohort in options.cohorts:
            images, size = map(int, cohort.split("x"))
            place = Path(folder) / cohort
            if options.strangers:
                lines.append(beside_strangers(place, images, size, options.strangers))
            else:
                lines.append(measure(place, images, size, options.cores, options.stages))
                print_line(lines[-1])
    print(json.dumps({"benchmark": "cohort_size", "cohorts": lines}))


def measure(folder: Path, images: int, size: int, cores: list[int], stages: list[str]) -> dict[str, Any]:
    """Returns the figures of one cohort. Without ingest, the cohort of an earlier run is taken."""
    pictures = folder / "pictures"
    if not (pictures / "labels.csv").exists():
        write_pictures(pictures, images, size)
    line: dict[str, Any] = {"images": images, "size": size}
    for count in cores if "ingest" in stages else []:
        line[f"ingest, cores: {count}"] = ingested_anew(folder, size, count)
    if "trial" in stages:
        line["trial"] = in_new_process(run_trial, folder)
    if "memorisation" in stages:
        line["memorisation"] = in_new_process(run_memorisation, folder)
    return line


def ingested_anew(folder: Path, size: int, cores: int) -> dict[str, float]:
    """Returns the figures of ingest, in place of the cohort of an earlier run."""
    shutil.rmtree(folder / "cohort", ignore_errors=True)
    return in_new_process(run_ingest, folder, size, cores)


def beside_strangers(folder: Path, images: int, size: int, rounds: int) -> dict[str, Any]:
    """Returns the seconds of ingest on one core, on two, and by two strangers with half of the pictures each."""
    half = folder / "half"
    write_pictures(folder / "pictures", images, size)
    write_pictures(half / "pictures", images // 2, size)
    seconds: dict[str, list[float]] = {"one": [], "two": [], "strangers": []}
    for _ in range(rounds):
        seconds["one"].append(ingested_anew(folder, size, 1)["seconds"])
        seconds["two"].append(ingested_anew(folder, size, 2)["seconds"])
        seconds["strangers"].append(by_strangers(half, size))
        one, two, strangers = (values[-1] for values in seconds.values())
        print(
            f"{images} images of {size} pixels: {one:.1f} s on one core, {two:.1f} s on two ({one / two:.2f} times as"
            f" fast), {strangers:.1f} s by strangers ({one / strangers:.2f})",
            flush=True,
        )
    return {"images": images, "size": size, **seconds}


def by_strangers(folder: Path, size: int) -> float:
    """Returns the seconds of two processes that ingest the same pictures at the same time, each on its own core."""
    context = multiprocessing.get_context("spawn")
    start = context.Barrier(2)
    receiver, sender = context.Pipe(duplex=False)
    processes = [context.Process(target=as_stranger, args=(sender, start, folder, size, core)) for core in range(2)]
    for process in processes:
        process.start()
    seconds = max(receiver.recv() for _ in processes)
    for process in processes:
        process.join()
    return seconds


def as_stranger(sender: Any, start: Any, folder: Path, size: int, core: int) -> None:
    """Ingests the pictures when the other one is ready, too, and sends the seconds."""
    torch.set_num_threads(1)
    os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[core]})
    cohort = folder / f"cohort {core}"
    shutil.rmtree(cohort, ignore_errors=True)
    start.wait()
    began = time.monotonic()
    ingest(folder / "pictures", cohort, IngestSettings(size=size))
    sender.send(time.monotonic() - began)


def print_line(line: dict[str, Any]) -> None:
    """Prints the figures of one cohort."""
    print(f"{line['images']} images of {line['size']} pixels")
    for stage, figures in line.items():
        if isinstance(figures, dict):
            print(f"  {stage:20}{figures['seconds']:10.1f} s{figures['peak_mib']:10.0f} MiB", flush=True)


def write_pictures(folder: Path, images: int, size: int) -> None:
    """Writes PNG files of two classes and their CSV."""
    folder.mkdir(parents=True)
    starts = range(0, images, CHUNK)
    with ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn")) as pool:
        for _ in pool.map(write_some, [(folder, start, min(CHUNK, images - start), size) for start in starts]):
            pass
    with (folder / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "patient_id"])
        for number in range(images):
            patient = number // IMAGES_PER_PATIENT
            writer.writerow([f"{number}.png", ("control", "case")[patient % 2], f"p{patient}"])


def write_some(part: tuple[Path, int, int, int]) -> None:
    """Writes `count` pictures from number `start` on."""
    folder, start, count, size = part
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(start)
    coarse = torch.randn(count, 1, 8, 8, generator=generator)
    fields = F.interpolate(coarse, size=size, mode="bicubic", align_corners=False)
    fields = fields + 0.1 * torch.randn(fields.shape, generator=generator)
    grey = ((fields + 3) * 255 / 6).clamp(0, 255).byte().numpy()[:, 0]
    for offset, picture in enumerate(grey):
        Image.fromarray(np.ascontiguousarray(picture)).save(folder / f"{start + offset}.png", compress_level=1)


def in_new_process(stage: Callable[..., None], folder: Path, *arguments: int) -> dict[str, float]:
    """Returns the seconds of a stage and the peak of its resident memory, libraries included."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=measured, args=(sender, stage, folder, *arguments))
    process.start()
    sender.close()
    try:
        return receiver.recv()
    except EOFError:
        sys.exit(f"{stage.__name__} failed")
    finally:
        process.join()


def measured(sender: Any, stage: Callable[..., None], folder: Path, *arguments: int) -> None:
    """Runs a stage and sends its figures."""
    torch.set_num_threads(1)
    began = time.monotonic()
    stage(folder, *arguments)
    seconds = time.monotonic() - began
    # Processes of ingest are alive until they have been idle for a while, so what they took can still be read.
    others = [peak_of(process.pid) for process in psutil.Process().children(recursive=True)]
    sender.send({"seconds": seconds, "peak_mib": (peak_of(os.getpid()) + sum(others)) / MIB})


def peak_of(process: int) -> int:
    """Returns the peak of a process's resident memory in bytes, as Linux tells it."""
    status = Path(f"/proc/{process}/status").read_text()
    peak = re.search(r"VmHWM:\s+(\d+) kB", status)
    return int(peak[1]) * KIB if peak else 0


def run_ingest(folder: Path, size: int, cores: int) -> None:
    os.sched_setaffinity(0, set(sorted(os.sched_getaffinity(0))[:cores]))
    ingest(folder / "pictures", folder / "cohort", IngestSettings(size=size))


def run_trial(folder: Path) -> None:
    cohort = Cohort.open(folder / "cohort")
    config = CONFIG.model_copy(update={"data": DataView(size=cohort.spec().size)})
    with tempfile.TemporaryDirectory() as cache:
        scorer = TrialScorer(cohort, SCORING, TRAINABLES, Path(cache), CPU)
        gan = build_gan(config, cohort.spec(config.data), TRAINABLES)
        real = cohort.load("train", config.data)
        train(
            config,
            gan,
            real,
            MemoryReporter(),
            lambda sampler, iteration: scorer.score(sampler, config, iteration),
            reports=1,
            device=CPU,
        )


def run_memorisation(folder: Path) -> None:
    cohort = Cohort.open(folder / "cohort")
    training = cohort.load("train")
    held_out = cohort.load("val")
    encoder = train_encoder(training, len(cohort.info.classes), SCORING.encoder_steps, CPU)
    copied = training.images[:: max(1, len(training) // SCORING.samples)]
    found = assess(copied, training, held_out, extractor_of(encoder.state_dict(), CPU), seed=0)
    if not found.memorised:
        sys.exit("copies were not found")


if __name__ == "__main__":
    main()
