"""Measures how many images per second `generate` writes to disk, against the plain loop with the same network.

Run: `python benchmarks/generate_speed.py [--size 64] [--images 1024] [--rounds 3]`. The plain loop draws one image,
saves it with Pillow, and draws the next. The block loop draws 64 at once and then saves them. Both have the generator's
weights, in evaluation mode and without gradients. They take turns, and the best of the rounds counts. The weights are
random: they cost as much as trained ones, but noise compresses worse as PNG.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save

from gansweep._version import __version__
from gansweep.config import DataView, TrialConfig
from gansweep.contracts import Condition, ImageSpec
from gansweep.export.formats import Format
from gansweep.export.generate import generate
from gansweep.export.loading import LoadedGenerator, flat_weights, load_generator
from gansweep.files import sha256_of
from gansweep.training.build import build_gan
from gansweep.training.record import RECORD, WEIGHTS, GeneratorRecord
from trainables import TRAINABLES

if TYPE_CHECKING:
    from collections.abc import Callable

CLASSES = ("control", "fahr")


def main() -> None:
    """Prints one line: images per second of each format and loop, and their ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--images", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        speeds = measure(Path(folder), options.size, options.images, options.rounds)
    ratios = {name: speeds["png"] / speeds[name] for name in ("plain loop", "block loop")}
    print(json.dumps({"benchmark": "generate_speed", **vars(options), "images_per_second": speeds, "ratios": ratios}))


def measure(folder: Path, size: int, images: int, rounds: int) -> dict[str, float]:
    """Returns images per second by way of writing them."""
    export = write_generator(folder / "export", size)
    generator = load_generator(export, TRAINABLES, device=torch.device("cpu"))

    def written(kind: Format) -> Callable[[Path], object]:
        return lambda out: generate(export, images, out, TRAINABLES, format=kind)

    ways: dict[str, Callable[[Path], object]] = {kind: written(kind) for kind in get_args(Format)}
    ways["plain loop"] = lambda out: loop(generator, images, out, at_once=1)
    ways["block loop"] = lambda out: loop(generator, images, out, at_once=64)
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds):
        for name, way in ways.items():
            began = time.perf_counter()
            way(folder / f"{name}-{number}")
            seconds[name].append(time.perf_counter() - began)
    return {name: round(images / min(found), 1) for name, found in seconds.items()}


def write_generator(folder: Path, size: int) -> Path:
    """Writes a generator of the default architecture with random weights."""
    folder.mkdir()
    config = TrialConfig(data=DataView(size=size))
    spec = ImageSpec(size, 1, CLASSES, 0, 0, 1)
    gan = build_gan(config, spec, TRAINABLES)
    networks = {name: gan.networks[name].state_dict() for name in gan.averaged}
    (folder / WEIGHTS).write_bytes(save(flat_weights(networks, gan.state.state_dict()), metadata={"format": "pt"}))
    record = GeneratorRecord(
        config=config, size=size, channels=1, classes=CLASSES, mask_channels=0, positive_class="fahr",
        networks=tuple(gan.averaged), modality="CT", window="lesion", weights_sha256=sha256_of(folder / WEIGHTS),
        cohort_hash="", iteration=0, images_seen=0, gansweep_version=__version__,
    )  # fmt: skip
    (folder / RECORD).write_text(record.to_json(), encoding="utf-8")
    return folder


@torch.no_grad()
def loop(generator: LoadedGenerator, images: int, out: Path, *, at_once: int) -> None:
    """Draws and saves images as a script would."""
    out.mkdir()
    for start in range(0, images, at_once):
        labels = torch.arange(start, min(start + at_once, images)) % len(CLASSES)
        drawn = generator.gan.sample(len(labels), Condition(labels), torch.Generator().manual_seed(start))
        for number, image in enumerate(drawn):
            shown = ((image[0].clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).numpy()
            Image.fromarray(np.asarray(shown)).save(out / f"{start + number:06d}.png")


if __name__ == "__main__":
    main()
