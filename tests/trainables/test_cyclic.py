"""CycleGAN, DiscoGAN, CSGAN, DC2Anet: their terms, with networks whose answers are known."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from gansweep.config import TrialConfig
from gansweep.contracts import Batch
from gansweep.distributed import World
from gansweep.export.loading import flat_weights
from gansweep.testing.images import shapes
from gansweep.training.build import build_gan
from gansweep.training.random import SeededStepRandom
from trainables import GANS, TRAINABLES
from trainables.layers.critic_output import CriticOutput

CPU = torch.device("cpu")
FOUND, PLAIN = shapes(count=8, size=16)
DATA = replace(FOUND, paired=-FOUND.images)
SPEC = replace(PLAIN, paired_channels=1)


class Scaled(nn.Module):
    """A generator that multiplies by a number."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(factor))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.factor * images


class Mean(nn.Module):
    """A critic that scores an image by its mean."""

    def forward(self, images: torch.Tensor) -> CriticOutput:
        return CriticOutput(images.mean(dim=(1, 2, 3)) * 1.0, None, [images])


def planted(family: str, forth: float, back: float, n_critic: int = 1, **architecture: Any) -> Any:
    """A family whose generators multiply and whose critics average."""
    values = {**GANS[family].smallest, "flips": False, "domains": "pairs", **architecture}
    config = TrialConfig(family=family, architecture=values, conditioning="none", batch_size=8)
    config = config.derive({"loss.kind": "least_squares", "penalty.kind": "none", "n_critic": n_critic})
    gan = build_gan(config, SPEC, TRAINABLES)
    gan.networks |= {"generator_ab": Scaled(forth), "generator_ba": Scaled(back)}
    for name, objective in gan.objectives.items():
        gan.networks[name] = objective.critic = Mean()
    return gan


def batch() -> Batch:
    draws = SeededStepRandom((0,), 8, World(), CPU)
    return Batch(DATA.images, DATA.labels, None, draws, 8, DATA.paired)


def terms(gan: Any, step: int = 0) -> tuple[float, dict[str, float]]:
    loss, scalars = gan.loss("generator", batch(), step)
    return float(loss.detach()), {name: float(value) for name, value in scalars.items()}


A, B = DATA.paired, DATA.images
SIZE = B.abs().mean().item()


def test_cyclegan_returns_and_keeps():
    loss, found = terms(planted("cyclegan", -1.0, -1.0, identity=0.5))
    assert found["cycle"] == 0
    assert found["identity"] == pytest.approx(2 * 2 * SIZE)
    # Without the half of LSGAN: that is what the published weight of the cycle stands beside.
    fooled = ((A.mean((1, 2, 3)) - 1) ** 2).mean() + ((B.mean((1, 2, 3)) - 1) ** 2).mean()
    assert found["adversarial"] == pytest.approx(float(fooled))
    assert loss == pytest.approx(found["adversarial"] + 5 * found["identity"])


def test_cyclegan_weighs_the_round_trip():
    loss, found = terms(planted("cyclegan", 0.5, 1.0, cycle=3.0))
    assert found["cycle"] == pytest.approx(2 * 0.5 * SIZE)
    assert loss == pytest.approx(found["adversarial"] + 3 * found["cycle"])


def test_discogan_measures_the_round_trip_squared_and_warms_up():
    gan = planted("discogan", 0.5, 1.0, reconstruction=2.0, warm_up=0.25, warm_up_until=0.1)
    for step, weight in ((0, 0.25), (999, 0.25), (1000, 2.0)):
        loss, found = terms(gan, step)
        assert found["cycle"] == pytest.approx(2 * float(F.mse_loss(0.5 * B, B)))
        assert loss == pytest.approx(found["adversarial"] + weight * found["cycle"])


def test_csgan_wants_translation_and_round_trip_to_agree():
    """With a = -b, the translation of a is -f b and the round trip of b is f g b."""
    for forth, back in ((-1.0, -1.0), (1.0, 1.0), (-0.5, 1.0)):
        loss, found = terms(planted("csgan", forth, back, cycle=0.0))
        expected = SIZE * (abs(-back - forth * back) + abs(-forth - forth * back))
        assert found["synthesized"] == pytest.approx(expected, abs=1e-6)
        assert loss == pytest.approx(found["adversarial"] + 30 * found["synthesized"])


def test_dc2anet_is_content_with_the_right_answer():
    _, right = terms(planted("dc2anet", -1.0, -1.0))
    assert [right[name] for name in ("cycle", "voxel", "gradient", "perceptual")] == [0.0] * 4
    assert right["structural"] == pytest.approx(0.0, abs=1e-6)
    _, wrong = terms(planted("dc2anet", 1.0, 1.0))
    assert wrong["voxel"] == pytest.approx(2 * 2 * SIZE)
    assert wrong["cycle"] == 0
    assert wrong["gradient"] == 0  # of the negative: absolute gradients are the same
    _, empty = terms(planted("dc2anet", 0.0, 0.0))
    assert empty["voxel"] == empty["cycle"] == pytest.approx(2 * SIZE)
    assert empty["structural"] > 1
    assert wrong["structural"] > 1


def test_dc2anet_leaves_out_what_weighs_nothing():
    weights = {"voxel": 0.0, "gradient": 0.0, "structural": 0.0, "perceptual": 0.0}
    _, found = terms(planted("dc2anet", 1.0, 1.0, **weights))
    assert set(found) == {"adversarial", "cycle"}


def shown(gan: Any, step: int) -> dict[str, torch.Tensor]:
    """What each critic is given in a step: real images, then fakes."""
    seen: dict[str, torch.Tensor] = {}
    for name, objective in gan.objectives.items():

        def judge(images: torch.Tensor, name: str = name) -> CriticOutput:
            seen[name] = images
            return CriticOutput(images.mean(dim=(1, 2, 3)))

        objective.critic = judge
    gan.loss("critic", batch(), step)
    return seen


def test_dc2anet_judges_pairs_as_pairs():
    seen = shown(planted("dc2anet", -1.0, -1.0), 0)
    assert {name: tuple(images.shape) for name, images in seen.items()} == {
        "critic_a": (16, 1, 16, 16),
        "critic_b": (16, 1, 16, 16),
        "pair_critic_a": (16, 2, 16, 16),
        "pair_critic_b": (16, 2, 16, 16),
    }
    # Right translations: real and fake pairs are the same, source first.
    assert torch.equal(seen["pair_critic_b"], torch.cat([torch.cat([A, B], 1)] * 2))


@pytest.mark.parametrize("n_critic", [1, 2])
def test_critics_judge_what_the_generators_last_made(n_critic):
    """Known by the factor they had then; several critic steps to one of the generators have fresh translations."""
    gan = planted("dc2anet", 0.5, 0.25, n_critic=n_critic)
    gan.loss("generator", batch(), 0)
    gan.networks |= {"generator_ab": Scaled(3.0), "generator_ba": Scaled(2.0)}
    forth, back = (0.5, 0.25) if n_critic == 1 else (3.0, 2.0)
    for step, (by, on) in ((0, (3.0, 2.0)), (1, (forth, back))):
        fakes = {name: images[8:] for name, images in shown(gan, step).items()}
        assert torch.equal(fakes["critic_b"], by * A)
        assert torch.equal(fakes["critic_a"], on * B)
        assert torch.equal(fakes["pair_critic_b"], torch.cat([A, by * A], dim=1))
        assert torch.equal(fakes["pair_critic_a"], torch.cat([on * B, B], dim=1))


def test_discogans_critics_judge_fresh_translations():
    gan = planted("discogan", 0.5, 0.25)
    gan.loss("generator", batch(), 0)
    gan.networks |= {"generator_ab": Scaled(3.0)}
    assert torch.equal(shown(gan, 1)["critic_b"][8:], 3.0 * A)


def test_critics_see_no_gradient_into_generators():
    gan = planted("cyclegan", 0.5, 0.5)
    gan.networks["critic_a"].weight = nn.Parameter(torch.ones(()))
    loss, scalars = gan.loss("critic", batch(), 0)
    assert not loss.requires_grad  # `Mean` has no parameter, and nothing else may be reached
    assert scalars["critic_spread"] > 0


def test_the_pool_is_resumed_and_never_exported():
    gan = planted("cyclegan", -1.0, -1.0, pool=8)
    gan.loss("critic", batch(), 0)
    state = gan.state.state_dict()
    assert torch.equal(state["history.critic_b.images"][:, 0], -DATA.paired)
    exported = flat_weights({"generator_ab": gan.networks["generator_ab"].state_dict()}, state)
    assert exported
    assert all(tensor.numel() < DATA.images.numel() for tensor in exported.values())
