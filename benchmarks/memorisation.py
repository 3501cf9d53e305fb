"""Evaluates the memorisation test on generators with a known answer.

Run: `python benchmarks/memorisation.py [--source FOLDER] [--patients 60] [--repeats 10] [--gan-iterations 400]`.

Real images (phantoms, or those of `--source`, which `gansweep ingest` can read) are divided by patient: half are the
training images, a quarter is held out, and a quarter acts as a perfect generator. The other generators reproduce
training images: unchanged, with noise, flipped, or only every twentieth; or they show noise, or the mean image; or they
are a DCGAN of 32 pixels trained for a while on the training part, or on eight of its images, or four times as long on
these. Each repeat divides the images anew and trains its own encoder. Prints a table and a JSON line.
"""

from __future__ import annotations

import argparse
import json
import time
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from gansweep.cohort.dataset import Cohort
from gansweep.cohort.ingest.run import IngestSettings, ingest
from gansweep.cohort.phantom.scans import write_phantom
from gansweep.config import DataView, ScoringSettings, TrialConfig
from gansweep.contracts import Condition, ImageSet, ImageSpec, Sampler
from gansweep.scoring.memorisation.examination import Memorisation, assess
from gansweep.scoring.networks.encoder import extractor_of, train_encoder
from gansweep.training.build import build_gan
from gansweep.training.loop import train
from gansweep.training.reporters import MemoryReporter
from trainables import TRAINABLES

CPU = torch.device("cpu")
SAMPLES, FEW = 256, 8
GAN_SIZE = 32
SHOWN = ("copies", "membership_auc", "memorisation_excess", "closer_than_held_out")


def opened(source: Path | None, patients: int, size: int, scratch: Path) -> Cohort:
    """Returns a cohort with all images in one split."""
    if source is None:
        source = scratch / "dicom"
        write_phantom(source, patients=patients, slices=4, size=128, seed=0)
    return Cohort.open(ingest(source, scratch / "cohort", IngestSettings(size=size, split=(1.0, 0.0, 0.0))).path)


def dealt(images: ImageSet, seed: int) -> list[ImageSet]:
    """Divides the patients into a half and two quarters."""
    names = list(dict.fromkeys(images.patients))
    order = torch.randperm(len(names), generator=torch.Generator().manual_seed(seed)).tolist()
    cuts = [0, len(names) // 2, len(names) * 3 // 4, len(names)]
    parts = [{names[i] for i in order[a:b]} for a, b in pairwise(cuts)]
    return [rows(images, [row for row, name in enumerate(images.patients) if name in part]) for part in parts]


def rows(images: ImageSet, chosen: list[int]) -> ImageSet:
    return ImageSet(images.images[chosen], images.labels[chosen], None, tuple(images.patients[row] for row in chosen))


def planted(training: ImageSet, fresh: ImageSet, generator: torch.Generator) -> dict[str, Tensor]:
    replay = training.images[torch.randint(len(training), (SAMPLES,), generator=generator)]
    noise = torch.rand(replay.shape, generator=generator) * 2 - 1
    mean = training.images.mean(0, keepdim=True)
    return {
        "replay": replay,
        "replay, noise of 0.1": (replay + 0.1 * torch.randn(replay.shape, generator=generator)).clamp(-1, 1),
        "replay, flipped": replay.flip(-1),
        "replay, 10 % brighter": ((replay + 1) * 1.1 - 1).clamp(-1, 1),
        "noise, 1 in 20 replayed": torch.cat([replay[: SAMPLES // 20], noise[SAMPLES // 20 :]]),
        "other patients' images": fresh.images,
        "noise": noise,
        "the mean image": (mean + 0.05 * torch.randn(replay.shape, generator=generator)).clamp(-1, 1),
    }


def trained(training: ImageSet, spec: ImageSpec, iterations: int) -> Tensor:
    """Returns samples of a DCGAN."""
    config = TrialConfig(
        data=DataView(size=spec.size),
        architecture={"latent": 16, "width": 16},
        batch_size=16,
        n_critic=1,
        iterations=iterations,
    )
    drawn: list[Tensor] = []

    def draw(sampler: Sampler, iteration: int) -> dict[str, float]:
        drawn.append(sampler(Condition(torch.arange(SAMPLES) % len(spec.classes)), iteration))
        return {}

    gan = build_gan(config, spec, TRAINABLES)
    train(config, gan, training, MemoryReporter(), draw, reports=1, device=CPU)
    return drawn[-1]


def told(kind: str, found: list[Memorisation]) -> dict[str, Any]:
    """Returns one line of the table: means over the repeats, and how often memorisation was reported."""
    flagged = sum(bool(one.memorised) for one in found)
    line = {"generator": kind, "memorised": f"{flagged} of {len(found)}"}
    for space in ("pixels", "features"):
        for name in SHOWN:
            values = [one.figures[f"{name}_{space}"].value for one in found]
            known = [value for value in values if value is not None]
            line[f"{name}_{space}"] = round(sum(known) / len(known), 3) if known else None
    floor = [one.figures["copies_pixels_floor"].high or 0.0 for one in found]
    line["copies_pixels_floor_high"] = round(sum(floor) / len(floor), 3)
    print("  ".join(f"{name} {value}" for name, value in line.items()), flush=True)
    return line


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--source", type=Path)
    parser.add_argument("--patients", type=int, default=60)
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--encoder-steps", type=int, default=ScoringSettings().encoder_steps)
    parser.add_argument("--gan-iterations", type=int, default=400)
    wanted = parser.parse_args()
    torch.set_num_threads(1)
    began = time.monotonic()
    with TemporaryDirectory(prefix="memorisation-") as scratch:
        cohort = opened(wanted.source, wanted.patients, wanted.size, Path(scratch))
        images, classes = cohort.load("train"), len(cohort.info.classes)
        found: dict[str, list[Memorisation]] = {}
        for seed in range(wanted.repeats):
            training, held_out, fresh = dealt(images, seed)
            extractor = extractor_of(train_encoder(training, classes, wanted.encoder_steps, CPU).state_dict(), CPU)
            for kind, samples in planted(training, fresh, torch.Generator().manual_seed(seed)).items():
                found.setdefault(kind, []).append(assess(samples, training, held_out, extractor, seed=seed))
        view = DataView(size=GAN_SIZE)
        training, held_out, _ = dealt(cohort.load("train", view), 0)
        spec, few = cohort.spec(view), rows(training, torch.linspace(0, len(training) - 1, FEW).long().tolist())
        short, long = wanted.gan_iterations, 4 * wanted.gan_iterations
        for seen, iterations in ((training, short), (few, short), (few, long)):
            kind = f"DCGAN, {iterations} iterations on {len(seen)} images"
            found[kind] = [assess(trained(seen, spec, iterations), seen, held_out, None)]
    table = [told(kind, those) for kind, those in found.items()]
    counts = dict(found["replay"][0].counts)
    print(json.dumps({"counts": counts, "table": table, "seconds": round(time.monotonic() - began)}))


if __name__ == "__main__":
    main()
