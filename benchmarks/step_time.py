"""Measures generator iterations per second of our loop and of a textbook single-file WGAN-GP loop on the same networks.

    python benchmarks/step_time.py [--size 64] [--width 32] [--batch 64] [--iterations 2] [--rounds 4] [--norm batch]

Both loops train copies of the same networks in the same process, alternately, on one thread. A round's figure is CPU
time, which other processes affect less than wall time. Ours also averages the generator's weights (EMA) and checks for
divergence, which the textbook loop does not.

Then two workers of one thread each share the same global batch, and their wall time is compared with that of one
worker. To show what two cores can achieve at most, two independent workers, each with half the batch, are measured at
the same time. Prints a table and one JSON line.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from gansweep.config import TrialConfig
from gansweep.testing.images import shapes
from gansweep.testing.workers import run_workers
from gansweep.training.build import build_gan
from gansweep.training.loop import train
from gansweep.training.reporters import MemoryReporter
from trainables import TRAINABLES

if TYPE_CHECKING:
    from gansweep.contracts import ImageSet, ImageSpec

CPU = torch.device("cpu")


def textbook(
    networks: dict[str, nn.Module], data: ImageSet, config: TrialConfig, latent: int, device: torch.device = CPU
) -> None:
    """Runs the WGAN-GP loop as found in most public repositories."""
    generator, critic = networks["generator"], networks["critic"]
    betas = (config.beta1, config.beta2)
    optimiser_g = torch.optim.Adam(generator.parameters(), lr=config.lr_g, betas=betas)
    optimiser_d = torch.optim.Adam(critic.parameters(), lr=config.lr_d, betas=betas)
    dataset = torch.utils.data.TensorDataset(data.images, data.labels)
    loader = torch.utils.data.DataLoader(dataset, batch_size=config.batch_size, shuffle=True, drop_last=True)
    done = 0
    while True:
        for step, (real, labels) in enumerate(loader):
            real, labels = real.to(device), labels.to(device)
            code = torch.empty(len(real), 0, device=device)
            optimiser_d.zero_grad()
            fake = generator(torch.randn(len(real), latent, device=device), code, None)
            loss_d = critic(fake.detach(), labels).scores.mean() - critic(real, labels).scores.mean()
            loss_d = loss_d + config.penalty.lambda_ * gradient_penalty(critic, real, fake.detach(), labels)
            loss_d.backward()
            optimiser_d.step()
            loss_d.item()
            if (step + 1) % config.n_critic == 0:
                optimiser_g.zero_grad()
                fake = generator(torch.randn(len(real), latent, device=device), code, None)
                loss_g = -critic(fake, labels).scores.mean()
                loss_g.backward()
                optimiser_g.step()
                loss_g.item()
                done += 1
                if done == config.iterations:
                    return


def gradient_penalty(critic: nn.Module, real: Tensor, fake: Tensor, labels: Tensor) -> Tensor:
    """Returns the penalty of Gulrajani et al. 2017."""
    alpha = torch.rand(len(real), 1, 1, 1, device=real.device)
    points = (alpha * real + (1 - alpha) * fake).requires_grad_()
    scores = critic(points, labels).scores
    (gradient,) = torch.autograd.grad(scores, points, torch.ones_like(scores), create_graph=True)
    return ((gradient.flatten(1).norm(2, dim=1) - 1) ** 2).mean()


def ours(config: TrialConfig, spec: ImageSpec, data: ImageSet) -> float:
    """Returns the wall time of one training by our loop, without its report, in seconds."""
    reporter = MemoryReporter()
    gan = build_gan(config, spec, TRAINABLES)
    train(config, gan, data, reporter, lambda _sampler, _iteration: {}, reports=1, device=CPU)
    return reporter.reports[-1].seconds_training


def one_thread(config: TrialConfig, size: int, rounds: int) -> tuple[list[float], list[float]]:
    """Returns CPU seconds per iteration of our loop and of the textbook loop, by round."""
    data, spec = shapes(count=512, size=size)
    mine, theirs = [], []
    for _ in range(rounds):
        gan = build_gan(config, spec, TRAINABLES)
        networks = copy.deepcopy(dict(gan.networks))
        started = time.process_time()
        textbook(networks, data, config, config.architecture["latent"])
        theirs.append((time.process_time() - started) / config.iterations)
        started = time.process_time()
        ours(config, spec, data)
        mine.append((time.process_time() - started) / config.iterations)
    return mine, theirs


def worker(config: TrialConfig, size: int, rounds: int) -> float:
    """Returns the least wall time per iteration of one worker of this world, in seconds."""
    data, spec = shapes(count=512, size=size)
    return min(ours(config, spec, data) / config.iterations for _ in range(rounds))


def strangers(config: TrialConfig, size: int, rounds: int) -> float:
    """Returns wall seconds per iteration of the slower of two independent workers with half a batch each."""
    half = config.derive({"batch_size": config.batch_size // 2})
    with ThreadPoolExecutor(2) as pool:
        alone = [pool.submit(run_workers, worker, half, size, rounds, size=1) for _ in range(2)]
        return max(future.result()[0] for future in alone)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("size", 64), ("width", 32), ("batch", 64), ("iterations", 2), ("rounds", 4)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--norm", default="batch", help="of the generator; batch is synchronised between workers")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    config = TrialConfig(
        architecture={"latent": 64, "width": arguments.width, "generator_norm": arguments.norm},
        conditioning="none",
        batch_size=arguments.batch,
        iterations=arguments.iterations,
    )
    mine, theirs = one_thread(config, arguments.size, arguments.rounds)
    one = run_workers(worker, config, arguments.size, arguments.rounds, size=1)[0]
    two = max(run_workers(worker, config, arguments.size, arguments.rounds, size=2))
    apart = strangers(config, arguments.size, arguments.rounds)
    figures = {
        "cpu_seconds_per_iteration_ours": statistics.median(mine),
        "cpu_seconds_per_iteration_textbook": statistics.median(theirs),
        "speed_against_textbook": statistics.median(b / a for a, b in zip(mine, theirs, strict=True)),
        "wall_seconds_per_iteration_one_worker": one,
        "wall_seconds_per_iteration_two_workers": two,
        "two_workers_of_twice_one": one / two / 2,
        "two_strangers_of_twice_one": one / apart / 2,
    }
    for name, value in figures.items():
        print(f"{name:<42}{value:8.3f}")
    print(json.dumps({"benchmark": "step_time", **vars(arguments), **figures}))


if __name__ == "__main__":
    main()
