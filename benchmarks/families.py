"""Measures the cost of a training step in each family, compared with a textbook loop over the same networks.

Run: `python benchmarks/families.py [--size 32] [--batch 32] [--iterations 8] [--families dcgan,progan]`.

The textbook loop is written like most public implementations: a DataLoader, one forward pass each for real images,
fakes and the penalty, `zero_grad` and `backward` through every network, Adam with its defaults, an average of the
weights parameter by parameter, `loss.item()` for the log, and torch's own convolutions and activations. Both compute
the same: for families from noise to image, one critic step with relativistic pairing, R1 and R2, and one generator step
(LAPGAN's textbook loop trains its levels one after the other); for `cyclegan`, least squares, cycle and image pool. The
phases of the other families have no textbook loop, so only our figures are shown. Times are processor seconds on one
thread, the least over the rounds, so that other work on the machine has little effect.
"""

from __future__ import annotations

import argparse
import copy
import json
import random
import time
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import torch
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from gansweep.config import TrialConfig
from gansweep.contracts import Batch, ImageSet, ImageSpec
from gansweep.distributed import World
from gansweep.testing.images import shapes
from gansweep.training.build import build_gan
from gansweep.training.loop import train
from gansweep.training.random import SeededStepRandom
from gansweep.training.reporters import MemoryReporter
from trainables import GANS, TRAINABLES
from trainables.gans import dcgan, fcgan, r3gan
from trainables.gans.lapgan import at_level, enlarged, pyramid
from trainables.layers import double_backward, equalised, stylegan2_networks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CPU = torch.device("cpu")
SHORT = 2
"""Number of iterations of a short run, whose time is subtracted to exclude the start and the end of a training."""
NOISE = {"width": 16, "latent": 64}
RESNET = {"width": 8, "blocks": 3, "critic_width": 16}
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "fcgan": NOISE | {"width": 64},
    "dcgan": NOISE,
    "sngan": NOISE,
    "lapgan": NOISE,
    "progan": NOISE | {"width": 8, "growing": 0.0},
    "stylegan2": NOISE | {"width": 8},
    "vaegan": NOISE,
    "r3gan": NOISE | {"width": 8},
    "joint": NOISE,
    "spade": NOISE | {"modulation": 16},
    "lesion_painter": {"width": 16, "critic_width": 16},
    "cyclegan": RESNET | {"pool": 48, "flips": False},
    "discogan": {"width": 16, "critic_width": 16},
    "csgan": RESNET,
    "dc2anet": RESNET,
    "srgan": {"width": 16, "blocks": 4, "critic_width": 16},
    "auto_context": {"width": 8, "critic_width": 16},
    "kgan": {"teacher_width": 16, "teacher_blocks": 4, "student_width": 4, "student_blocks": 2, "critic_width": 16},
}
PENALISED = ("fcgan", "dcgan", "sngan", "lapgan", "progan", "stylegan2", "r3gan")
"""Families whose textbook loop has one critic and one generator."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--iterations", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--families", default=",".join(ARCHITECTURES))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    data, spec = shapes(256, arguments.size)
    print(f"{'family':<14} {'parameters':>10} {'ours, ms':>9} {'textbook, ms':>12} {'ratio':>6} {'s/1,000 images':>14}")
    rows = []
    for family in arguments.families.split(","):
        row = measured(_config(family, arguments.batch), data, spec, arguments.iterations, arguments.rounds)
        rows.append(row)
        rival = "" if row["textbook_ms"] is None else f"{row['textbook_ms']:.1f}"
        ratio = "" if row["ratio"] is None else f"{row['ratio']:.2f}"
        print(f"{family:<14} {row['parameters']:>10,} {row['ours_ms']:>9.1f} {rival:>12} {ratio:>6} "
              f"{row['seconds_per_1000']:>14.2f}", flush=True)  # fmt: skip
    print(json.dumps({"size": arguments.size, "batch": arguments.batch, "rows": rows}))


def measured(config: TrialConfig, data: ImageSet, spec: ImageSpec, iterations: int, rounds: int) -> dict[str, Any]:
    """Returns one row: milliseconds per iteration of both loops."""
    paired = ImageSpec(spec.size, spec.channels, spec.classes, spec.mask_channels, spec.channels)
    spec = spec if config.family in PENALISED else paired
    loops: dict[str, Callable[[int], object]] = {"ours": lambda count: _ours(config, data, spec, count)}
    if config.family in PENALISED:
        loops["textbook"] = lambda count: _on_torchs_layers(_textbook, config, data, spec, count)
    elif config.family == "cyclegan":
        loops["textbook"] = lambda count: _on_torchs_layers(_textbook_cycle, config, data, spec, count)
    for loop in loops.values():
        loop(1)
    counts = (SHORT, SHORT + iterations)
    seconds: dict[tuple[str, int], list[float]] = {(name, count): [] for name in loops for count in counts}
    for _ in range(rounds):
        for name, loop in loops.items():
            for count in counts:
                seconds[name, count].append(_timed(loop, count))
    # The difference of the minima. The least difference could be that of a long run from a disturbed short one.
    short, long = counts
    least = {name: (min(seconds[name, long]) - min(seconds[name, short])) / iterations * 1e3 for name in loops}
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
    config = TrialConfig(family=family, architecture=ARCHITECTURES[family], conditioning="none", n_critic=1)
    config = config.derive({"batch_size": batch})
    if hasattr(GANS[family], "paired_task"):
        return config.derive({"loss.kind": "least_squares", "penalty.kind": "none"})
    return config.derive({"loss.kind": "relativistic", "penalty.kind": "r1_r2", "penalty.lambda": 1.0})


def _timed(loop: Callable[[int], object], count: int) -> float:
    started = time.process_time()
    loop(count)
    return time.process_time() - started


def _ours(config: TrialConfig, data: ImageSet, spec: ImageSpec, count: int) -> None:
    config = config.derive({"iterations": count})
    gan = build_gan(config, spec, TRAINABLES)
    train(config, gan, data, MemoryReporter(), lambda _sampler, _iteration: {}, reports=1, device=CPU)


def _on_torchs_layers(loop: Callable[..., Any], *arguments: Any) -> Any:
    """Runs the loop with torch's own convolutions and leaky ReLU in place of ours."""

    def convolved(x: Any, weight: Any, bias: Any = None, *, stride: int = 1, padding: int = 0, groups: int = 1) -> Any:
        return F.conv2d(x, weight, bias, stride, padding, 1, groups)

    plain: dict[str, Any] = {"convolved": convolved, "leaky_relu": F.leaky_relu}
    modules = [dcgan, fcgan, r3gan, double_backward, equalised, stylegan2_networks]
    patches = [patch.object(module, name, plain[name]) for module in modules for name in plain if hasattr(module, name)]
    for one in patches:
        one.start()
    try:
        return loop(*arguments)
    finally:
        for one in patches:
            one.stop()


def _textbook(config: TrialConfig, data: ImageSet, spec: ImageSpec, count: int) -> list[float]:
    gan: Any = build_gan(config, spec, TRAINABLES)
    gan.loss("critic", _batch(data.images[: config.batch_size], config, 0), 0)  # a growing GAN learns its size here
    games = [_Game(config, level) for level in getattr(gan, "levels", [gan])]
    images = _endless(DataLoader(TensorDataset(data.images), config.batch_size, shuffle=True, drop_last=True))
    log = []
    for step in range(count):
        for turn, update in ((0, _Game.critic_step), (1, _Game.generator_step)):
            batch = _batch(next(images), config, 2 * step + turn)
            sizes = pyramid(batch.images, len(games))
            for level, game in enumerate(games):
                below = enlarged(sizes[level - 1]) if level else None
                log.append(update(game, batch if len(games) == 1 else at_level(batch, sizes[level], below)))
    return log


class _Game:
    """One critic against one generator."""

    def __init__(self, config: TrialConfig, gan: Any) -> None:
        self.gan, self.weight = gan, config.penalty.lambda_
        self.generator, critic = gan.networks["generator"], gan.networks["critic"]
        self.average = copy.deepcopy(self.generator)
        self.adam_g = torch.optim.Adam(self.generator.parameters(), lr=config.lr_g, betas=(0.0, 0.9))
        self.adam_d = torch.optim.Adam(critic.parameters(), lr=config.lr_d, betas=(0.0, 0.9))

    def critic_step(self, batch: Batch) -> float:
        gan, labels = self.gan, batch.labels
        self.adam_d.zero_grad()
        fake = gan.generate(batch, labels).detach()
        scores_real = gan.judge(batch.images, labels, None).scores
        loss = F.softplus(gan.judge(fake, labels, None).scores - scores_real).mean()
        for seen in (batch.images, fake):
            points = seen.clone().requires_grad_()
            (slope,) = torch.autograd.grad(gan.judge(points, labels, None).scores.sum(), points, create_graph=True)
            loss = loss + self.weight * 0.5 * slope.square().flatten(1).sum(dim=1).mean()
        loss.backward()
        self.adam_d.step()
        return loss.item()

    def generator_step(self, batch: Batch) -> float:
        gan, labels = self.gan, batch.labels
        self.adam_g.zero_grad()
        fake = gan.generate(batch, labels)
        scores_real = gan.judge(batch.images, labels, None).scores
        loss = F.softplus(scores_real - gan.judge(fake, labels, None).scores).mean()
        loss.backward()
        self.adam_g.step()
        with torch.no_grad():
            for mine, live in zip(self.average.parameters(), self.generator.parameters(), strict=True):
                mine.mul_(0.999).add_(live, alpha=0.001)
        return loss.item()


def _textbook_cycle(config: TrialConfig, data: ImageSet, spec: ImageSpec, count: int) -> list[float]:
    """Runs CycleGAN as in its authors' code: the generators first, then each critic with its pool of images."""
    networks = build_gan(config, spec, TRAINABLES).networks
    forth, back = networks["generator_ab"], networks["generator_ba"]
    critics = networks["critic_a"], networks["critic_b"]
    generators = [*forth.parameters(), *back.parameters()]
    adam_g = torch.optim.Adam(generators, lr=config.lr_g, betas=(0.5, 0.999))
    adam_d = torch.optim.Adam([p for critic in critics for p in critic.parameters()], lr=config.lr_d)
    average = copy.deepcopy(forth)
    pools: tuple[list[torch.Tensor], ...] = ([], [])
    assert data.paired is not None
    loader = DataLoader(TensorDataset(data.paired, data.images), config.batch_size, shuffle=True, drop_last=True)
    log = []
    for _, (a, b) in zip(range(count), (pair for _ in range(count) for pair in loader), strict=False):
        adam_g.zero_grad()
        fake_b, fake_a = forth(a), back(b)
        scores = [critic(fake).scores for critic, fake in zip(critics, (fake_a, fake_b), strict=True)]
        loss = torch.stack([(score - 1).square().mean() for score in scores]).sum()
        loss = loss + 10 * (F.l1_loss(back(fake_b), a) + F.l1_loss(forth(fake_a), b))
        loss.backward()
        adam_g.step()
        log.append(loss.item())
        adam_d.zero_grad()
        for critic, real, fake, pool in zip(critics, (a, b), (fake_a, fake_b), pools, strict=True):
            shown = torch.stack([_exchanged(pool, image) for image in fake.detach()])
            loss = 0.5 * ((critic(real).scores - 1).square().mean() + critic(shown).scores.square().mean())
            loss.backward()
            log.append(loss.item())
        adam_d.step()
        with torch.no_grad():
            for mine, live in zip(average.parameters(), forth.parameters(), strict=True):
                mine.mul_(0.999).add_(live, alpha=0.001)
    return log


def _exchanged(pool: list[torch.Tensor], image: torch.Tensor) -> torch.Tensor:
    if len(pool) < 48:
        pool.append(image)
        return image
    if random.random() < 0.5:
        return image
    place = random.randrange(len(pool))
    pool[place], old = image, pool[place]
    return old


def _batch(images: torch.Tensor, config: TrialConfig, step: int) -> Batch:
    labels = torch.zeros(len(images), dtype=torch.int64)
    draws = SeededStepRandom((config.seed, "textbook", step, 0), len(images), World(), CPU)
    return Batch(images, labels, None, draws, total=len(images))


def _endless(loader: DataLoader[Any]) -> Iterator[torch.Tensor]:
    while True:
        for (images,) in loader:
            yield images


if __name__ == "__main__":
    main()
