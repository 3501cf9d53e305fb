"""What a training step costs in each noise-to-image family, beside a textbook loop over the same networks.

Run: `python benchmarks/families.py [--size 32] [--batch 32] [--iterations 8] [--families dcgan,progan]`.

The textbook loop is how most public implementations are written: a DataLoader, one forward each for real images, fakes
and the penalty, `zero_grad` and `backward` into every network on the way, Adam as it comes, an average of the weights
parameter by parameter, and `loss.item()` for the log. Both compute the same: one critic step with relativistic pairing,
R1 and R2, one generator step. Times are processor seconds on one thread, the least of the rounds, so that other work on
the machine counts as little as possible; `vaegan`, whose phases no textbook loop shares, has no rival here.
"""

from __future__ import annotations

import argparse
import copy
import json
import time
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from gansweep.contracts import Batch, ImageSet, ImageSpec
from gansweep.experiment import TrialConfig
from gansweep.testing.images import shapes
from gansweep.training.build import build_gan
from gansweep.training.draws import StepDraws
from gansweep.training.loop import train
from gansweep.training.reporters import MemoryReporter
from gansweep.training.world import World
from trainables import TRAINABLES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CPU = torch.device("cpu")
SHORT = 2
"""Iterations of the run whose time is taken off: what start and end of a training cost is not a step's."""
WIDTHS = {"fcgan": 64, "dcgan": 16, "sngan": 16, "progan": 8, "stylegan2": 8, "vaegan": 16, "r3gan": 8}
GROWN = {"progan": {"growing": 0.0}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--iterations", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--families", default=",".join(WIDTHS))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    data, spec = shapes(256, arguments.size)
    print(f"{'family':<10} {'parameters':>10} {'ours, ms':>9} {'textbook, ms':>12} {'ratio':>6} {'s/1,000 images':>14}")
    rows = []
    for family in arguments.families.split(","):
        row = measured(_config(family, arguments.batch), data, spec, arguments.iterations, arguments.rounds)
        rows.append(row)
        rival = "" if row["textbook_ms"] is None else f"{row['textbook_ms']:.1f}"
        ratio = "" if row["ratio"] is None else f"{row['ratio']:.2f}"
        print(f"{family:<10} {row['parameters']:>10,} {row['ours_ms']:>9.1f} {rival:>12} {ratio:>6} "
              f"{row['seconds_per_1000']:>14.2f}", flush=True)  # fmt: skip
    print(json.dumps({"size": arguments.size, "batch": arguments.batch, "rows": rows}))


def measured(config: TrialConfig, data: ImageSet, spec: ImageSpec, iterations: int, rounds: int) -> dict[str, Any]:
    """One row: milliseconds per iteration of both loops."""
    loops: dict[str, Callable[[int], object]] = {"ours": lambda count: _ours(config, data, spec, count)}
    if config.family != "vaegan":
        loops["textbook"] = lambda count: _textbook(config, data, spec, count)
    least = {name: float("inf") for name in loops}
    for loop in loops.values():
        loop(1)
    for _ in range(rounds):
        for name, loop in loops.items():
            seconds = _timed(loop, SHORT + iterations) - _timed(loop, SHORT)
            least[name] = min(least[name], seconds / iterations * 1e3)
    gan = build_gan(config, spec, TRAINABLES)
    textbook = least.get("textbook")
    return {
        "family": config.family,
        "parameters": sum(p.numel() for network in gan.networks.values() for p in network.parameters()),
        "ours_ms": least["ours"],
        "textbook_ms": textbook,
        "ratio": None if textbook is None else least["ours"] / textbook,
        "seconds_per_1000": least["ours"] / config.batch_size,
    }


def _config(family: str, batch: int) -> TrialConfig:
    architecture = {"width": WIDTHS[family], "latent": 64, **GROWN.get(family, {})}
    base = TrialConfig(family=family, architecture=architecture, conditioning="none", n_critic=1, batch_size=batch)
    return base.derive({"loss.kind": "relativistic", "penalty.kind": "r1_r2", "penalty.lambda": 1.0})


def _timed(loop: Callable[[int], object], count: int) -> float:
    started = time.process_time()
    loop(count)
    return time.process_time() - started


def _ours(config: TrialConfig, data: ImageSet, spec: ImageSpec, count: int) -> None:
    config = config.derive({"iterations": count})
    gan = build_gan(config, spec, TRAINABLES)
    train(config, gan, data, MemoryReporter(), lambda _sampler, _iteration: {}, reports=1, device=CPU)


def _textbook(config: TrialConfig, data: ImageSet, spec: ImageSpec, count: int) -> list[float]:
    gan: Any = build_gan(config, spec, TRAINABLES)
    gan.loss("critic", _batch(data.images[: config.batch_size], config, 0), 0)  # a growing GAN learns its size here
    generator, critic = gan.networks["generator"], gan.networks["critic"]
    average = copy.deepcopy(generator)
    adam_g = torch.optim.Adam(generator.parameters(), lr=config.lr_g, betas=(0.0, 0.9))
    adam_d = torch.optim.Adam(critic.parameters(), lr=config.lr_d, betas=(0.0, 0.9))
    images = _endless(DataLoader(TensorDataset(data.images), config.batch_size, shuffle=True, drop_last=True))
    log = []
    for step in range(count):
        batch = _batch(next(images), config, 2 * step)
        labels = batch.labels
        adam_d.zero_grad()
        fake = gan.generate(batch, labels).detach()
        scores_real = gan.judge(batch.images, labels, None).scores
        loss = F.softplus(gan.judge(fake, labels, None).scores - scores_real).mean()
        for seen in (batch.images, fake):
            points = seen.clone().requires_grad_()
            (slope,) = torch.autograd.grad(gan.judge(points, labels, None).scores.sum(), points, create_graph=True)
            loss = loss + config.penalty.lambda_ * 0.5 * slope.square().flatten(1).sum(dim=1).mean()
        loss.backward()
        adam_d.step()
        log.append(loss.item())

        batch = _batch(next(images), config, 2 * step + 1)
        adam_g.zero_grad()
        fake = gan.generate(batch, labels)
        scores_real = gan.judge(batch.images, labels, None).scores
        loss = F.softplus(scores_real - gan.judge(fake, labels, None).scores).mean()
        loss.backward()
        adam_g.step()
        log.append(loss.item())
        with torch.no_grad():
            for mine, live in zip(average.parameters(), generator.parameters(), strict=True):
                mine.mul_(0.999).add_(live, alpha=0.001)
    return log


def _batch(images: torch.Tensor, config: TrialConfig, step: int) -> Batch:
    labels = torch.zeros(len(images), dtype=torch.int64)
    draws = StepDraws((config.seed, "textbook", step, 0), len(images), World(), CPU)
    return Batch(images, labels, None, draws, total=len(images))


def _endless(loader: DataLoader[Any]) -> Iterator[torch.Tensor]:
    while True:
        for (images,) in loader:
            yield images


if __name__ == "__main__":
    main()
