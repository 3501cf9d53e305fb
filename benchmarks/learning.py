"""Tests that every noise-to-image family learns, on a distribution that is known exactly.

Run: `python benchmarks/learning.py [--seeds 0] [--iterations 400] [--families dcgan,progan] [--sheet samples.png]`.

Images of 32 pixels show one disc at one of eight positions on a circle, with slightly varying centre and brightness:
eight equally likely modes. Each family trains on 1,024 of them from scratch, without knowing the modes. The Frechet
distance is computed on the 32 leading principal components of the pixels, between 512 samples and 1,024 images that the
GAN has not seen. A sample is good if its distance to the mean image of a mode is less than half the distance between
two modes' means, which is false for an empty image and for one with two discs. A mode is covered if its good samples
are at least a quarter of its expected share.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gansweep.config import TrialConfig
from gansweep.contracts import Condition, ImageSet, ImageSpec, Sampler
from gansweep.scoring.metrics.frechet import frechet_distance
from gansweep.training.build import build_gan
from gansweep.training.loop import train
from gansweep.training.reporters import MemoryReporter
from gansweep.training.sampling import make_sampler
from trainables import TRAINABLES

MODES, SIZE, SAMPLES = 8, 32, 512
CPU = torch.device("cpu")

RELATIVISTIC = {
    "loss.kind": "relativistic",
    "penalty.kind": "r1_r2",
    "penalty.lambda": 1.0,
    "lr_d": 1e-3,
    "lr_g": 1e-3,
}
"""One objective for all families that can be trained with it, so that only the networks differ."""
SPECTRAL = {"loss.kind": "non_saturating", "penalty.kind": "none", "n_critic": 3, "lr_d": 2e-3, "lr_g": 1e-3}
"""Spectral normalisation instead of a penalty, with the additional critic steps that it needs."""
FAMILIES: dict[str, dict[str, Any]] = {
    "fcgan": RELATIVISTIC | {"architecture": {"width": 64, "latent": 32}},
    "dcgan": RELATIVISTIC | {"architecture": {"width": 16, "latent": 32}},
    "sngan": SPECTRAL | {"architecture": {"width": 16, "latent": 32}},
    "lapgan": RELATIVISTIC | {"architecture": {"width": 16, "latent": 32}},
    "progan": RELATIVISTIC | {"architecture": {"width": 8, "latent": 32, "growing": 0.5}, "lr_d": 2e-3, "lr_g": 2e-3},
    # Equalised layers have weights of unit size, which small learning rates hardly change in so few steps.
    "stylegan2": RELATIVISTIC | {"architecture": {"width": 8, "latent": 32}, "lr_d": 1e-2, "lr_g": 1e-2},
    "vaegan": RELATIVISTIC | {"architecture": {"width": 16, "latent": 32}},
    "r3gan": RELATIVISTIC | {"architecture": {"width": 8, "latent": 32}, "penalty.lambda": 0.1},
}


@dataclass(frozen=True)
class Ring:
    """Reference for the samples.

    Args:
        mean: mean image of the held-out set `[pixels]`.
        axes: principal axes `[pixels, 32]`.
        real: held-out images on these axes `[n, 32]`.
        centres: mean image of each mode `[modes, pixels]`.
        radius: half the least distance between two modes' means.
    """

    mean: Tensor
    axes: Tensor
    real: Tensor
    centres: Tensor
    radius: float

    def frechet(self, images: Tensor) -> float:
        """Returns the distance of `[n, 1, H, W]` images from the held-out ones."""
        return frechet_distance(self.real, (images.flatten(1) - self.mean) @ self.axes)

    def covered(self, images: Tensor) -> tuple[int, float]:
        """Returns the number of covered modes, and the fraction of good samples."""
        distances, modes = torch.cdist(images.flatten(1), self.centres).min(dim=1)
        good = distances <= self.radius
        shares = torch.bincount(modes[good], minlength=MODES) / len(images)
        return int((shares >= 0.25 / MODES).sum()), float(good.float().mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="0", help="comma-separated")
    parser.add_argument("--iterations", type=int, default=400)
    parser.add_argument("--families", default=",".join(FAMILIES))
    parser.add_argument("--sheet", type=Path, help="write samples of each family, one row each, as PNG")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    held_out = discs(1024, seed=2)
    ring = measured(*held_out)
    floor = ring.frechet(discs(SAMPLES, seed=3)[0])
    print(f"real against real, {SAMPLES} images: {floor:.3f}")
    print(f"{'family':<10} {'seed':>4} {'parameters':>10} {'before':>8} {'after':>8} {'factor':>7} "
          f"{'modes':>5} {'good':>5} {'s':>6} {'s/1,000':>8}")  # fmt: skip
    rows, sheets = [], []
    for family in arguments.families.split(","):
        for seed in map(int, arguments.seeds.split(",")):
            row, samples = learned(family, seed, arguments.iterations, ring)
            rows.append(row)
            sheets.append(samples[:16])
            print(f"{family:<10} {seed:>4} {row['parameters']:>10,} {row['before']:>8.2f} {row['after']:>8.2f} "
                  f"{row['factor']:>7.1f} {row['modes']:>5} {row['good']:>5.2f} {row['seconds']:>6.1f} "
                  f"{row['seconds_per_1000']:>8.2f}", flush=True)  # fmt: skip
    if arguments.sheet:
        _write(torch.stack(sheets), arguments.sheet)
    print(json.dumps({"iterations": arguments.iterations, "floor": floor, "rows": rows}))


def learned(family: str, seed: int, iterations: int, ring: Ring) -> tuple[dict[str, Any], Tensor]:
    """Trains one family.

    Args:
        family: name of the family.
        seed: seed of networks, batches and noise.
        iterations: number of generator updates of 32 images.
        ring: reference for the samples.

    Returns:
        The row of the table, and the samples.
    """
    images, modes = discs(1024, seed=1)
    spec = ImageSpec(SIZE, 1, ("disc",))
    data = ImageSet(images, torch.zeros_like(modes))
    base = TrialConfig(
        family=family,
        conditioning="none",
        n_critic=1,
        batch_size=32,
        iterations=iterations,
        ema_half_life=1.0,
        seed=seed,
    )
    config = base.derive(FAMILIES[family])
    gan = build_gan(config, spec, TRAINABLES)
    before = ring.frechet(_samples(make_sampler(gan, None, data, CPU)))
    final: list[Tensor] = []

    def score(sampler: Sampler, _iteration: int) -> dict[str, float]:
        final.append(_samples(sampler))
        return {}

    started = time.perf_counter()
    train(config, gan, data, MemoryReporter(), score, reports=1, device=CPU)
    seconds = time.perf_counter() - started
    (samples,) = final
    after, (covered, good) = ring.frechet(samples), ring.covered(samples)
    row = {
        "family": family,
        "seed": seed,
        "parameters": sum(p.numel() for network in gan.networks.values() for p in network.parameters()),
        "before": before,
        "after": after,
        "factor": before / after,
        "modes": covered,
        "good": good,
        "seconds": seconds,
        "seconds_per_1000": seconds / (iterations * config.batch_size) * 1000,
    }
    return row, samples


def discs(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Returns `[count, 1, 32, 32]` images in [-1, 1] and their modes `[count]`."""
    generator = torch.Generator().manual_seed(seed)
    modes = torch.arange(count) % MODES
    angle = modes * (2 * math.pi / MODES)
    centre = SIZE / 2 + 9.0 * torch.stack([angle.sin(), angle.cos()], dim=1)
    centre = centre + 0.5 * torch.randn(count, 2, generator=generator)
    place = torch.arange(SIZE) + 0.5
    dy, dx = place[None, :, None] - centre[:, 0, None, None], place[None, None, :] - centre[:, 1, None, None]
    brightness = 1.6 + 0.1 * torch.randn(count, 1, 1, generator=generator)
    # A disc of radius 4 with an edge one pixel wide.
    inside = (4.5 - (dy.square() + dx.square()).sqrt()).clamp(0.0, 1.0)
    return (brightness * inside - 0.9).clamp(-1.0, 1.0)[:, None], modes


def measured(images: Tensor, modes: Tensor) -> Ring:
    """Computes the reference from held-out images."""
    flat = images.flatten(1)
    mean = flat.mean(dim=0)
    axes = torch.linalg.svd(flat - mean, full_matrices=False).Vh[:32].T
    centres = torch.stack([flat[modes == mode].mean(dim=0) for mode in range(MODES)])
    radius = torch.pdist(centres).min() / 2
    return Ring(mean, axes, (flat - mean) @ axes, centres, float(radius))


def _samples(sampler: Sampler) -> Tensor:
    return sampler(Condition(torch.zeros(SAMPLES, dtype=torch.int64)), 0)


def _write(rows: Tensor, path: Path) -> None:
    from PIL import Image

    sheet = torch.cat([torch.cat(list(row[:, 0]), dim=1) for row in rows])
    Image.fromarray(((sheet + 1) * 127.5).clamp(0, 255).byte().numpy()).resize(
        (sheet.shape[1] * 2, sheet.shape[0] * 2), resample=0
    ).save(path)


if __name__ == "__main__":
    main()
