"""KGAN: the teacher first, frozen afterwards; the student's labels; what is sampled when."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
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
from gansweep.training.restore import restore_gan
from gansweep.training.sampling import make_sampler
from trainables import TRAINABLES
from trainables.gans.kgan import KGan

CPU = torch.device("cpu")
DATA, PLAIN = shapes(count=20, size=16)
SPEC = replace(PLAIN, paired_channels=1)


def config(**architecture: Any) -> TrialConfig:
    values = {**KGan.smallest, "flips": False, **architecture}
    penalty = {"kind": "none"}
    return TrialConfig.model_validate(
        {
            "family": "kgan",
            "architecture": values,
            "conditioning": "none",
            "loss": {"kind": "non_saturating"},
            "penalty": penalty,
            "batch_size": 4,
            "n_critic": 1,
            "iterations": 6,
        }
    )


def batch() -> Batch:
    draws = SeededStepRandom((0,), 4, World(), CPU)
    return Batch(DATA.images[:4], DATA.labels[:4], None, draws, 4, DATA.paired[:4])


def test_the_teacher_is_trained_first_and_the_student_after_it():
    reporter = MemoryReporter()
    kept: list[dict[str, Any]] = []
    samples: list[torch.Tensor] = []
    condition = Condition(torch.zeros(3, dtype=torch.int64), DATA.paired[:3])

    def score(sampler: Any, _iteration: int) -> dict[str, float]:
        kept.append({**reporter.state["networks"], "teacher_ema": reporter.state["ema"]["teacher"]})
        samples.append(sampler(condition, 0))
        return {}

    gan = build_gan(config(teacher_until=0.5), SPEC, TRAINABLES)
    start = {name: network.state_dict() for name, network in build_gan(config(), SPEC, TRAINABLES).networks.items()}
    train(config(teacher_until=0.5), gan, DATA, reporter, score, reports=2, device=CPU)
    half, end = kept

    def same(name: str, one: Any, other: Any) -> bool:
        return all(torch.equal(one[name][key], other[name][key]) for key in one[name])

    for name in ("teacher", "teacher_critic"):
        assert not same(name, start, half)
        assert same(name, half, end)
    for name in ("student", "student_critic"):
        assert same(name, start, half)
        assert not same(name, half, end)
    # Half way there is only the teacher to ask.
    teacher = build_gan(config(), SPEC, TRAINABLES).networks["teacher"]
    teacher.load_state_dict(half["teacher_ema"])
    torch.testing.assert_close(samples[0], teacher(DATA.paired[:3]).detach())
    assert not torch.allclose(samples[1], samples[0])


def test_a_trial_that_ends_with_its_teacher_can_be_restored():
    reporter = MemoryReporter(proceed=lambda _: False)
    scored: list[torch.Tensor] = []
    condition = Condition(torch.zeros(3, dtype=torch.int64), DATA.paired[:3])

    def score(sampler: Any, _iteration: int) -> dict[str, float]:
        scored.append(sampler(condition, 0))
        return {}

    early = config(teacher_until=0.5)
    train(early, build_gan(early, SPEC, TRAINABLES), DATA, reporter, score, reports=3, device=CPU)
    restored = restore_gan(early, SPEC, TRAINABLES, reporter.state["ema"], reporter.state["gan_state"], CPU)
    assert torch.equal(make_sampler(restored, None, DATA, CPU)(condition, 0), scored[-1])


def test_samples_come_from_the_student_unless_training_says_otherwise():
    gan = build_gan(config(), SPEC, TRAINABLES)
    images = gan.sample(2, Condition(DATA.labels[:2], DATA.paired[:2]), torch.Generator())
    assert torch.equal(images, gan.networks["student"](DATA.paired[:2]))


def test_the_loss_is_the_weighted_sum_of_soft_and_hard_cross_entropy():
    shape = {"soft": 0.3, "hard": 0.7, "temperature": 3.0, "adversarial": 0.0}
    gan = build_gan(config(**shape), SPEC, TRAINABLES)
    loss, _ = gan.loss("generator_student", batch(), 0)
    z, z_teacher = (gan.networks[role].logits(DATA.paired[:4]) for role in ("student", "teacher"))
    soft = F.binary_cross_entropy_with_logits(2 * z / 3, (2 * z_teacher / 3).sigmoid())
    hard = F.binary_cross_entropy_with_logits(2 * z, (DATA.images[:4] + 1) / 2)
    torch.testing.assert_close(loss, 0.3 * 9 * soft + 0.7 * hard)


def test_a_student_that_agrees_with_its_teacher_has_nothing_to_learn_from_it():
    twins = {"student_width": 8, "student_blocks": 1, "soft": 1.0, "hard": 0.0, "adversarial": 0.0}
    gan = build_gan(config(**twins), SPEC, TRAINABLES)
    gan.networks["student"].load_state_dict(gan.networks["teacher"].state_dict())
    loss, _ = gan.loss("generator_student", batch(), 0)
    gradients = torch.autograd.grad(loss, list(gan.networks["student"].parameters()))
    assert max(gradient.abs().max() for gradient in gradients) < 1e-6


def test_fusion_takes_the_brighter_pixel_for_its_hard_label():
    gan = build_gan(config(domains="fusion", soft=0.0, hard=1.0, adversarial=0.0), SPEC, TRAINABLES)
    loss, _ = gan.loss("generator_student", batch(), 0)
    z = gan.networks["student"].logits(torch.cat([DATA.images[:4], DATA.paired[:4]], 1))
    wanted = (torch.maximum(DATA.images[:4], DATA.paired[:4]) + 1) / 2
    torch.testing.assert_close(loss, F.binary_cross_entropy_with_logits(2 * z, wanted))


def test_without_a_teacher_there_is_none():
    gan = build_gan(config(teacher_until=0.0, soft=0.0), SPEC, TRAINABLES)
    assert set(gan.networks) == {"student", "student_critic"}
    assert [(phase.start, phase.stop) for phase in gan.phases] == [(0.0, 1.0)] * 2


def test_the_student_is_lighter():
    paper = KGan.Architecture()
    full = config().derive({"architecture": {"critic_layers": 2}})
    gan = build_gan(full, SPEC, TRAINABLES)
    count = {name: sum(p.numel() for p in network.parameters()) for name, network in gan.networks.items()}
    assert paper.student_width < paper.teacher_width
    assert 20 * count["student"] < count["teacher"]
    assert 5 * count["student_critic"] < count["teacher_critic"]


@pytest.mark.parametrize("report", [1, 2])
def test_resumes_within_either_part(report):
    whole, stopped = MemoryReporter(), MemoryReporter(proceed=lambda progress: progress.index != report - 1)
    for reporter, runs in ((whole, 1), (stopped, 2)):
        for _ in range(runs):
            gan = build_gan(config(), SPEC, TRAINABLES)
            train(config(), gan, DATA, reporter, lambda _s, _i: {}, reports=3, device=CPU)
    for name, weights in whole.state["networks"].items():
        for key, value in weights.items():
            assert torch.equal(value, stopped.state["networks"][name][key]), (name, key)
