"""SRGAN: what is reduced and restored, and content before the game."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional as F

from gansweep.config import TrialConfig
from gansweep.contracts import Batch, Condition
from gansweep.distributed import World
from gansweep.testing.images import shapes
from gansweep.training.build import build_gan
from gansweep.training.loop import train
from gansweep.training.random import SeededStepRandom
from gansweep.training.reporters import MemoryReporter
from trainables import TRAINABLES
from trainables.gans.srgan import SrGan, enlarged, reduced

CPU = torch.device("cpu")
DATA, SPEC = shapes(count=8, size=16)


def config(**architecture: Any) -> TrialConfig:
    values = {**SrGan.smallest, "flips": False, **architecture}
    base = TrialConfig(family="srgan", architecture=values, conditioning="none", batch_size=4, n_critic=1, iterations=6)
    return base.derive({"loss.kind": "non_saturating", "penalty.kind": "none"})


def test_reducing_keeps_flat_images_and_slow_waves():
    flat = torch.full((1, 1, 16, 16), 0.3)
    torch.testing.assert_close(reduced(flat, 4), torch.full((1, 1, 4, 4), 0.3))
    torch.testing.assert_close(enlarged(reduced(flat, 4), 16), flat)
    wave = torch.sin(2 * torch.pi * (torch.arange(64) + 0.5) / 64).expand(1, 1, 64, 64) * 0.8
    assert (enlarged(reduced(wave, 4), 64) - wave)[..., 8:-8].abs().max() < 0.02
    fast = torch.tensor([0.9, -0.9]).repeat(32).expand(1, 1, 64, 64)
    assert reduced(fast, 4).abs().max() < 0.1  # no aliasing


def test_content_is_learned_alone_until_the_game_begins():
    reporter = MemoryReporter()
    kept: list[dict[str, Any]] = []

    def score(_sampler: Any, _iteration: int) -> dict[str, float]:
        kept.append(reporter.state["networks"]["critic"])
        return {}

    gan = build_gan(config(), SPEC, TRAINABLES)
    assert {phase.name: (phase.start, phase.stop) for phase in gan.phases} == {
        "content": (0.0, 0.5),
        "critic": (0.5, 1.0),
        "generator": (0.5, 1.0),
    }
    start = build_gan(config(), SPEC, TRAINABLES).networks["critic"].state_dict()
    train(config(), gan, DATA, reporter, score, reports=2, device=CPU)
    assert all(torch.equal(start[key], kept[0][key]) for key in start)
    assert not all(torch.equal(start[key], kept[1][key]) for key in start)


def test_the_generator_minimises_content_and_a_little_of_the_game():
    gan = build_gan(config(adversarial=0.01, generator_norm="none"), SPEC, TRAINABLES)
    draws = SeededStepRandom((0,), 4, World(), CPU)
    batch = Batch(DATA.images[:4], DATA.labels[:4], None, draws, 4)
    loss, _ = gan.loss("generator", batch, 0)
    restored = gan.networks["generator"](reduced(batch.images, 2))
    game = F.softplus(-gan.networks["critic"](restored).scores).mean()
    torch.testing.assert_close(loss, F.mse_loss(restored, batch.images) + 0.01 * game)
    content, _ = gan.loss("content", batch, 0)
    torch.testing.assert_close(content, F.mse_loss(restored, batch.images))


def test_samples_see_nothing_but_the_reduced_source():
    gan = build_gan(config(), SPEC, TRAINABLES)
    gan.networks["generator"].eval()
    labels = DATA.labels[:2]
    same_when_small = DATA.images[:2] + 0.2 * torch.tensor([1.0, -1.0]).repeat(8)[None, None, :, None].expand(
        2, 1, 16, 16
    )
    close = [
        gan.sample(2, Condition(labels, images), torch.Generator()) for images in (DATA.images[:2], same_when_small)
    ]
    assert (close[0] - close[1]).abs().max() < 0.2
    other = gan.sample(2, Condition(labels, DATA.images[4:6]), torch.Generator())
    assert (close[0] - other).abs().max() > 0.01


def test_sources_are_of_the_wanted_class():
    gan = build_gan(config(), SPEC, TRAINABLES)
    labels = torch.tensor([0, 1] * 10)
    condition = gan.condition(labels, DATA, torch.Generator().manual_seed(0))
    found = (DATA.images[:, None] == condition.sources).flatten(2).all(2).float().argmax(0)
    assert torch.equal(DATA.labels[found], labels)
    assert len(set(found.tolist())) > 4
