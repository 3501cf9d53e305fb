"""The Frechet distance against scipy's matrix square root, torchmetrics, and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
import torch
from torchmetrics.image.fid import FrechetInceptionDistance

from gansweep.errors import CohortError
from gansweep.scoring.metrics.frechet import Moments, frechet_distance, frechet_from_moments


def drawn(n: int, d: int, seed: int, shift: float = 0.0) -> torch.Tensor:
    """Correlated features."""
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(d, d, generator=torch.Generator().manual_seed(99), dtype=torch.float64) / d**0.5
    return torch.randn(n, d, generator=generator, dtype=torch.float64) @ mixing * (1 + shift) + shift


def by_scipy(x: torch.Tensor, y: torch.Tensor) -> float:
    a, b = x.numpy(), y.numpy()
    s1, s2 = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = scipy.linalg.sqrtm(s1 @ s2)
    return float(((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(s1 + s2 - 2 * root.real))


def moments(x: torch.Tensor, batch: int = 17) -> Moments:
    found = Moments.empty(x.shape[1])
    for chunk in x.split(batch):
        found.update(chunk)
    return found


@pytest.mark.parametrize(("n", "m", "d"), [(300, 200, 24), (64, 400, 100), (400, 64, 100)])
def test_full_rank_equals_scipy(n: int, m: int, d: int) -> None:
    """Where one covariance is singular scipy's root itself is inexact, so it gets at least one that is not."""
    x, y = drawn(n, d, 0), drawn(m, d, 1, 0.2)
    tolerance = 1e-9 if min(n, m) > d else 1e-3
    assert frechet_distance(x, y) == pytest.approx(by_scipy(x, y), rel=tolerance)


@pytest.mark.parametrize(("n", "m", "d"), [(20, 30, 64), (20, 300, 64), (300, 300, 64)])
def test_samples_and_moments_give_the_same(n: int, m: int, d: int) -> None:
    """The few-sample form (nuclear norm of sample factors) against the covariance form, rank deficient included."""
    x, y = drawn(n, d, 0), drawn(m, d, 1, 0.2)
    assert frechet_from_moments(moments(x), moments(y)) == pytest.approx(frechet_distance(x, y), rel=1e-6)


def test_equals_torchmetrics_on_images() -> None:
    class Flat(torch.nn.Module):
        num_features = 48

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images.flatten(1).double()

    generator = torch.Generator().manual_seed(0)
    x, y = (torch.rand(90, 3, 4, 4, generator=generator) ** power for power in (1, 2))
    rival = FrechetInceptionDistance(feature=Flat(), normalize=True, input_img_size=(3, 4, 4)).set_dtype(torch.float64)
    rival.update(x, real=True)
    rival.update(y, real=False)
    flat = (images.flatten(1).double() for images in (x, y))
    assert frechet_distance(*flat) == pytest.approx(float(rival.compute()), rel=1e-6)


def test_features_that_repeat_one_another_cost_no_accuracy() -> None:
    """Singular covariances take the slower, exact way: each feature twice doubles the distance."""
    x, y = drawn(100, 12, 0), drawn(90, 12, 1, 0.3)
    twice = frechet_distance(x.repeat(1, 2), y.repeat(1, 2))
    assert twice == pytest.approx(2 * frechet_distance(x, y), rel=1e-9)


def test_closed_form_of_a_shift_and_a_scale() -> None:
    """N(0, S) against N(m, c² S): |m|² + (1 - c)² tr S, exactly, for sample moments too."""
    x = drawn(50, 8, 0)
    centred = x - x.mean(0)
    y = 3 * centred + 2
    trace = centred.square().sum() / 49
    assert frechet_distance(centred, y) == pytest.approx(float(8 * 2**2 + (1 - 3) ** 2 * trace), rel=1e-10)


def test_a_set_is_at_distance_zero_from_itself() -> None:
    for n in (10, 100):
        assert frechet_distance(drawn(n, 32, 0), drawn(n, 32, 0)) < 1e-9


def test_it_is_biased_for_few_samples() -> None:
    """The documented trap: two draws of the same distribution are apart, and the more so the fewer they are."""
    few, many = (frechet_distance(drawn(n, 64, 0), drawn(n, 64, 1)) for n in (40, 400))
    assert few > 3 * many > 0


def test_a_single_image_is_refused_in_one_line() -> None:
    x = torch.randn(10, 5)
    for pair in ((x, x[:1]), (x[:1], x)):
        with pytest.raises(
            CohortError, match=r"a Fréchet distance from or to 1 image\(s\); each set needs at least two"
        ):
            frechet_distance(*pair)
