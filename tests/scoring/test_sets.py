"""Sliced Wasserstein, precision and recall, density and coverage, inception score: hand-worked and brute force."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torchmetrics.image.inception import InceptionScore

from gansweep.scoring.metrics.answers import (
    Predictions,
    accuracy,
    auroc,
    brier_score,
    log_loss,
    mean_over_trainings,
    sensitivity,
    specificity,
)
from gansweep.scoring.metrics.manifold import coverage, density, precision, recall
from gansweep.scoring.metrics.recognition import inception_score
from gansweep.scoring.metrics.sliced import _squared, sliced_wasserstein


def drawn(n: int, seed: int, d: int = 6) -> torch.Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_one_dimensional_distance_of_unequal_numbers_is_exact() -> None:
    """Repeating each sample changes no distribution: 6 and 4 samples as 12 and 12."""
    x, y = drawn(6, 0, 3), drawn(4, 1, 3) + 1
    repeated = x.repeat_interleave(2, 0).sort(0).values - y.repeat_interleave(3, 0).sort(0).values
    assert torch.allclose(_squared(x, y), repeated.square().mean(0), rtol=1e-12)


def test_sliced_wasserstein_of_a_shift() -> None:
    """A shift by m moves each projection by m.u, and E (m.u)² = |m|² / d."""
    x = drawn(80, 0)
    shift = torch.tensor([3.0, 0, 0, 0, 0, 4.0], dtype=torch.float64)
    assert sliced_wasserstein(x, x + shift, projections=20_000) == pytest.approx(5 / 6**0.5, rel=0.02)
    assert sliced_wasserstein(x, x) == 0


def test_manifold_by_hand() -> None:
    """Real images at 0..9 on a line: with k = 3 inner balls have radius 2, the end ones 3; with k = 5 inner ones 3."""
    real = torch.arange(10.0)[:, None].double()
    fake = torch.tensor([[4.5], [4.6], [4.7], [4.8], [100.0]]).double()
    assert precision(real, fake) == pytest.approx(4 / 5)
    assert recall(real, fake) == pytest.approx(0.5)  # the outlier's ball holds 5 to 9: the metric's known weakness
    assert recall(real, fake[:4]) == pytest.approx(0.1)  # only 5 is within 0.3 of 4.8
    inside = sum(
        abs(r - f) <= sorted(abs(r - x) for x in range(10))[5] for f in (4.5, 4.6, 4.7, 4.8) for r in range(10)
    )
    assert density(real, fake) == pytest.approx(inside / (5 * 5))


def test_manifold_by_brute_force() -> None:
    real, fake = drawn(40, 0), drawn(30, 1) * 1.3

    def radius(points: torch.Tensor, i: int, k: int) -> float:
        return sorted(float((points[i] - p).norm()) for j, p in enumerate(points) if j != i)[k - 1]

    def covered(points: torch.Tensor, others: torch.Tensor, k: int) -> np.ndarray:
        radii = [radius(points, i, k) for i in range(len(points))]
        return np.array([[float((p - o).norm()) <= r for o in others] for p, r in zip(points, radii, strict=True)])

    assert precision(real, fake) == pytest.approx(covered(real, fake, 3).any(0).mean())
    assert recall(real, fake) == pytest.approx(covered(fake, real, 3).any(0).mean())
    assert density(real, fake) == pytest.approx(covered(real, fake, 5).sum(0).mean() / 5)
    assert coverage(real, fake) == pytest.approx(covered(real, fake, 5).any(1).mean())


def test_equal_distributions_have_density_one_and_dropped_modes_cost_coverage() -> None:
    real, fake = drawn(400, 0), drawn(400, 1)
    assert density(real, fake) == pytest.approx(1.0, abs=0.1)
    assert coverage(real, fake) > 0.9
    apart = torch.where(torch.arange(400)[:, None] < 200, -20.0, 20.0)
    assert coverage(real + apart, fake - 20) == pytest.approx(0.5, abs=0.03)
    assert density(real + apart, fake - 20) == pytest.approx(1.0, abs=0.2)


def test_inception_score_by_hand_and_by_torchmetrics() -> None:
    assert inception_score(torch.eye(4)) == pytest.approx(4.0)
    assert inception_score(torch.full((9, 4), 0.25)) == pytest.approx(1.0)
    logits = drawn(50, 0, 5)
    rival = InceptionScore(feature=torch.nn.Identity(), splits=1)
    rival.features.append(logits)
    assert inception_score(logits.softmax(1)) == pytest.approx(float(rival.compute()[0]), rel=1e-6)


def test_detection_scores_by_sklearn() -> None:
    from sklearn import metrics

    labels = torch.arange(60) % 3
    p = (drawn(60, 0, 3) + 1.2 * torch.nn.functional.one_hot(labels, 3)).softmax(1)
    truth, called = (labels == 2).numpy(), (p[:, 2] >= 0.5).numpy()

    def said(probabilities: torch.Tensor) -> Predictions:
        return Predictions(probabilities.numpy()[None], labels.numpy(), [str(i) for i in range(60)], 2)

    expected = {
        accuracy: metrics.accuracy_score(labels, p.argmax(1)),
        sensitivity: metrics.recall_score(truth, called),
        specificity: metrics.recall_score(~truth, ~called),
        auroc: metrics.roc_auc_score(truth, p[:, 2]),
        log_loss: metrics.log_loss(labels, p),
        brier_score: metrics.brier_score_loss(labels, p, scale_by_half=True),
    }
    for metric, value in expected.items():
        assert mean_over_trainings(metric, said(p)) == pytest.approx(value)
    tied = torch.full((60, 3), 1 / 3)
    assert mean_over_trainings(auroc, said(tied)) == 0.5
