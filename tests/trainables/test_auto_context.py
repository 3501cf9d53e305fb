"""The auto-context cascade: one stage after the other, each with what the last one made."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import torch

from gansweep.config import TrialConfig
from gansweep.contracts import Condition
from gansweep.testing.images import shapes
from gansweep.training.build import build_gan
from gansweep.training.loop import train
from gansweep.training.reporters import MemoryReporter
from trainables import TRAINABLES
from trainables.gans.auto_context import AutoContext

CPU = torch.device("cpu")
DATA, PLAIN = shapes(count=8, size=16)
SPEC = replace(PLAIN, paired_channels=1)
CONFIG = TrialConfig(
    family="auto_context",
    architecture={**AutoContext.smallest, "stages": 3},
    conditioning="none",
    batch_size=4,
    n_critic=1,
    iterations=6,
).derive({"loss.kind": "non_saturating", "penalty.kind": "none"})


def test_stages_share_the_budget_and_are_frozen_in_turn():
    reporter = MemoryReporter()
    kept: list[dict[str, Any]] = []
    samples: list[torch.Tensor] = []
    condition = Condition(torch.zeros(3, dtype=torch.int64), DATA.paired[:3])

    def score(sampler: Any, _iteration: int) -> dict[str, float]:
        kept.append(reporter.state["networks"])
        samples.append(sampler(condition, 0))
        return {}

    gan = build_gan(CONFIG, SPEC, TRAINABLES)
    train(CONFIG, gan, DATA, reporter, score, reports=3, device=CPU)
    for stage in range(3):
        for network in ("generator", "critic"):
            after = [states[f"{network}_{stage}"] for states in kept]
            moved = [any(not torch.equal(a[key], b[key]) for key in a) for a, b in itertools.pairwise(after)]
            # Batch statistics of a frozen stage stand still too: they are part of the state.
            assert moved == [stage == 1, stage == 2], (network, stage)
    assert not torch.equal(samples[0], samples[1])
    assert not torch.equal(samples[1], samples[2])


def test_each_stage_sees_the_source_and_the_estimate_before_it():
    gan = build_gan(CONFIG, SPEC, TRAINABLES)
    seen: list[torch.Tensor] = []

    class Recorder(torch.nn.Module):
        def __init__(self, answer: float) -> None:
            super().__init__()
            self.answer = answer

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            seen.append(x)
            return torch.full_like(x[:, :1], self.answer)

    for stage in range(3):
        gan.networks[f"generator_{stage}"] = Recorder(stage / 10)
    images = gan.sample(2, Condition(DATA.labels[:2], DATA.paired[:2]), torch.Generator())
    assert [tuple(x.shape[:2]) for x in seen] == [(2, 1), (2, 2), (2, 2)]
    assert all(torch.equal(x[:, :1], DATA.paired[:2]) for x in seen)
    assert [bool((x[:, 1] == answer).all()) for x, answer in zip(seen[1:], (0.0, 0.1), strict=True)] == [True] * 2
    assert torch.equal(images, torch.full_like(images, 0.2))
