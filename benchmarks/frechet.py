"""Compares the exact Fréchet distance with torchmetrics', on the same features in the same run.

torchmetrics forms both d x d covariances and computes the eigenvalues of their product. Ours computes the singular
values of a product of factors, which for few samples is an n x n matrix. Both start from extracted features.

    python benchmarks/frechet.py [--repeats 3] [--numbers 200 1000 10000] [--features 2048]
"""

from __future__ import annotations

import argparse
import json
import time
from typing import TYPE_CHECKING

import torch
from torchmetrics.image.fid import FrechetInceptionDistance

from gansweep.scoring.metrics.frechet import Moments, frechet_distance, frechet_from_moments

if TYPE_CHECKING:
    from collections.abc import Callable


class Features(torch.nn.Module):
    """Passes features through unchanged: images are `[n, d]` here."""

    def __init__(self, d: int) -> None:
        super().__init__()
        self.num_features = d

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Returns the features."""
        return features.flatten(1)


def theirs(real: torch.Tensor, fake: torch.Tensor) -> float:
    n, d = real.shape
    metric = FrechetInceptionDistance(feature=Features(d), normalize=True, input_img_size=(1, 1, d))
    metric.set_dtype(torch.float64)
    for side, features in ((True, real), (False, fake)):
        for batch in features.view(n, 1, 1, d).split(500):
            metric.update(batch, real=side)
    return float(metric.compute())


def streamed(real: torch.Tensor, fake: torch.Tensor) -> float:
    found = []
    for features in (real, fake):
        moments = Moments.empty(features.shape[1])
        for batch in features.split(500):
            moments.update(batch)
        found.append(moments)
    return frechet_from_moments(*found)


def best(
    compute: Callable[[torch.Tensor, torch.Tensor], float], *sets: torch.Tensor, repeats: int
) -> tuple[float, float]:
    """Returns the value and the least time in seconds."""
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        value = compute(*sets)
        seconds.append(time.perf_counter() - start)
    return value, min(seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--numbers", type=int, nargs="+", default=[200, 1000, 10000])
    parser.add_argument("--features", type=int, default=2048)
    settings = parser.parse_args()
    generator = torch.Generator().manual_seed(0)
    # The spectrum falls off as it does for real features.
    scale = torch.arange(1, settings.features + 1, dtype=torch.float64) ** -0.5
    rows = []
    print(f"{'n':>6} {'ours, s':>9} {'streamed, s':>11} {'torchmetrics, s':>15} {'ratio':>7} {'values agree to':>15}")
    for n in settings.numbers:
        real, fake = (
            torch.randn(n, settings.features, generator=generator, dtype=torch.float64) * scale for _ in range(2)
        )
        (value, ours), (_, stream), (rival, their) = (
            best(compute, real, fake, repeats=settings.repeats) for compute in (frechet_distance, streamed, theirs)
        )
        error = abs(value - rival) / value
        print(f"{n:>6} {ours:>9.3f} {stream:>11.3f} {their:>15.3f} {their / ours:>7.1f} {error:>15.1e}", flush=True)
        rows.append({"n": n, "ours_s": ours, "streamed_s": stream, "torchmetrics_s": their, "ratio": their / ours})
    print(
        json.dumps({"benchmark": "frechet", "d": settings.features, "threads": torch.get_num_threads(), "rows": rows})
    )


if __name__ == "__main__":
    main()
