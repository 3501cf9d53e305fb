"""Losses against their formulas, at scores where these are easily worked out."""

from __future__ import annotations

import math

import pytest
import torch

from gansweep.config import LossSettings
from trainables import LOSSES
from trainables.layers.critic_output import CriticOutput
from trainables.objectives.losses import feature_matching

REAL, FAKE = 0.3, -0.4
LABELS = torch.zeros(1, dtype=torch.int64)


def softplus(x):
    return math.log1p(math.exp(x))


def judged(score, classes=None):
    return CriticOutput(torch.tensor([score]), None if classes is None else torch.tensor([classes]))


@pytest.mark.parametrize(
    ("kind", "critic", "generator"),
    [
        ("minimax", softplus(-REAL) + softplus(FAKE), -softplus(FAKE)),
        ("non_saturating", softplus(-REAL) + softplus(FAKE), softplus(-FAKE)),
        ("least_squares", 0.5 * ((REAL - 1) ** 2 + FAKE**2), 0.5 * (FAKE - 1) ** 2),
        ("hinge", (1 - REAL) + (1 + FAKE), -FAKE),
        ("wasserstein", FAKE - REAL, -FAKE),
        ("relativistic", softplus(FAKE - REAL), softplus(REAL - FAKE)),
    ],
)
def test_formula(kind, critic, generator):
    loss = LOSSES[kind](LossSettings(kind=kind))
    assert loss.critic(judged(REAL), judged(FAKE), LABELS).tolist() == pytest.approx([critic])
    assert loss.generator(judged(REAL), judged(FAKE), LABELS).tolist() == pytest.approx([generator])


def test_smoothing_is_one_sided():
    # The cross-entropy against target t is t softplus(-s) + (1 - t) softplus(s); fakes keep the target 0.
    loss = LOSSES["minimax"](LossSettings(kind="minimax", label_smoothing=0.1))
    expected = 0.9 * softplus(-REAL) + 0.1 * softplus(REAL) + softplus(FAKE)
    assert loss.critic(judged(REAL), judged(FAKE), LABELS).tolist() == pytest.approx([expected])


def test_class_hinge_wants_a_margin_over_the_best_other_class():
    loss = LOSSES["multi_class_hinge"](LossSettings(kind="multi_class_hinge", auxiliary=2.0))
    real, fake = judged(REAL, [0.5, 0.2, -3.0]), judged(FAKE, [5.0, 1.0, 2.0])
    hinge = (1 - REAL) + (1 + FAKE)
    assert loss.critic(real, fake, LABELS).tolist() == pytest.approx([hinge + 2.0 * 0.7])
    assert loss.generator(real, fake, LABELS).tolist() == pytest.approx([-FAKE])  # the fake has its margin


def test_feature_matching_compares_means():
    real = CriticOutput(torch.zeros(2), features=[torch.tensor([[0.0, 2.0], [2.0, 2.0]])])
    same_mean = CriticOutput(torch.zeros(2), features=[torch.tensor([[1.0, 1.0], [1.0, 3.0]])])
    other = CriticOutput(torch.zeros(2), features=[torch.tensor([[2.0, 2.0], [2.0, 2.0]])])
    assert feature_matching(real, same_mean).item() == pytest.approx(0.0)
    assert feature_matching(real, other).item() == pytest.approx(0.5)


@pytest.mark.parametrize("kind", sorted(LOSSES))
def test_confidence_is_one_when_the_critic_knows(kind):
    loss = LOSSES[kind](LossSettings(kind=kind))
    sure = CriticOutput(torch.tensor([2.0, 3.0])), CriticOutput(torch.tensor([-2.0, -1.0]))
    assert loss.confidence(*sure).tolist() == [1.0, 1.0]
    assert loss.confidence(CriticOutput(-sure[0].scores), sure[1]).tolist()[1] == -1.0
