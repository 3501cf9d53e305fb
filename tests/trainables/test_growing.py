"""Progressive growing: the time-table, fading, and samples of a generator that has not grown up."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from gansweep.config import TrialConfig
from gansweep.contracts import Condition, Phase
from gansweep.distributed import World
from gansweep.testing.images import shapes
from gansweep.training.batches import Batches
from gansweep.training.build import build_gan
from gansweep.training.loop import train
from gansweep.training.reporters import MemoryReporter
from gansweep.training.sampling import make_sampler
from trainables import TRAINABLES
from trainables.gans.progan import Architecture, level_at

CPU = torch.device("cpu")
DATA, SPEC = shapes(count=16, size=32)


def progan(**architecture):
    config = TrialConfig(
        family="progan",
        architecture={"width": 4, "latent": 8, **architecture},
        batch_size=4,
        n_critic=1,
        iterations=20,
    )
    return config, build_gan(config, SPEC, TRAINABLES)


def test_time_table():
    shape = Architecture(growing=0.6, fading=0.5)
    levels = [level_at(step / 1000, 3, shape) for step in range(1000)]
    assert levels == sorted(levels)
    assert levels[:101] == [0.0] * 101  # the first half of the first third of 0.6
    assert levels[150] == pytest.approx(0.5)
    assert levels[250] == 1.0
    assert levels[600:] == [3.0] * 400
    assert level_at(0.0, 3, Architecture(growing=0.0)) == 3.0


@pytest.mark.parametrize(("level", "size"), [(0.0, 4), (0.25, 8), (1.0, 8), (2.5, 32), (3.0, 32)])
def test_both_networks_work_at_the_resolution_of_the_day(level, size):
    _, gan = progan()
    images = gan.networks["generator"](torch.randn(4, 8), torch.ones(4, 2), None, level)
    assert images.shape == (4, 1, size, size)
    seen = torch.cat([images, torch.zeros(4, 2, size, size)], dim=1)
    assert gan.networks["critic"](seen, torch.zeros(4, dtype=torch.int64), level).scores.shape == (4,)


def test_a_resolution_fades_in_without_a_jump():
    """At the start of fading both networks compute what they did before, at twice the size; at its end, the new."""
    _, gan = progan()
    noise, code, labels = torch.randn(4, 8), torch.ones(4, 2), torch.zeros(4, dtype=torch.int64)
    before = gan.networks["generator"](noise, code, None, 1.0)
    just_after = gan.networks["generator"](noise, code, None, 1.0 + 1e-6)
    torch.testing.assert_close(just_after, F.interpolate(before, scale_factor=2.0), atol=1e-4, rtol=0)
    seen = torch.randn(4, 3, 8, 8)
    judged = gan.networks["critic"](seen, labels, 1.0).scores
    torch.testing.assert_close(
        gan.networks["critic"](F.interpolate(seen, scale_factor=2.0), labels, 1.0 + 1e-6).scores,
        judged,
        atol=1e-4,
        rtol=1e-4,
    )
    almost, whole = (gan.networks["generator"](noise, code, None, level) for level in (2.0 - 1e-6, 2.0))
    torch.testing.assert_close(almost, whole, atol=1e-4, rtol=0)


def test_a_phase_moves_only_what_has_grown():
    config, gan = progan()
    batch = Batches(DATA, 4, 0, World(), CPU).draw(Phase("generator", ("generator",), "generator"), 0, 0)
    loss, _ = gan.loss("generator", batch, config.iterations // 4)  # level 1: 8 pixels
    gradients = torch.autograd.grad(loss, list(gan.networks["generator"].parameters()), allow_unused=True)
    moved = {
        name
        for (name, _), gradient in zip(gan.networks["generator"].named_parameters(), gradients, strict=True)
        if gradient is not None
    }
    assert "blocks.1.first.weight" in moved
    assert not any(name.startswith(("blocks.2", "blocks.3", "outs.2", "outs.3")) for name in moved)


def test_a_generator_stopped_early_is_exported_as_far_as_it_has_grown():
    config, gan = progan()
    reporter = MemoryReporter(proceed=lambda _: False)
    train(config, gan, DATA, reporter, lambda _sampler, _iteration: {}, reports=4, device=CPU)
    # 5 of 20 iterations: the last one was trained at a share of 0.2 of the budget, at the second resolution.
    assert reporter.state["ema"]["generator"]["level"] == 1.0
    fresh = build_gan(config, SPEC, TRAINABLES)
    fresh.networks["generator"].load_state_dict(reporter.state["ema"]["generator"])
    images = make_sampler(fresh, None, DATA, CPU)(Condition(torch.tensor([0, 1])), 0)
    assert images.shape == (2, 1, 32, 32)
    blocks_of_four = F.interpolate(images[:, :, ::4, ::4], scale_factor=4.0)
    assert torch.equal(images, blocks_of_four)
