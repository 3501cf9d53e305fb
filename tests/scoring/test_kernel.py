"""KID against torchmetrics, a direct sum, and what unbiasedness promises."""

from __future__ import annotations

import itertools

import pytest
import torch
from torchmetrics.image.kid import poly_mmd

from gansweep.errors import CohortError
from gansweep.scoring.metrics import kernel
from gansweep.scoring.metrics.kernel import kernel_distance


def drawn(n: int, seed: int, shift: float = 0.0, d: int = 10) -> torch.Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + shift


def test_equals_the_double_sum() -> None:
    x, y = drawn(7, 0), drawn(5, 1, 0.5)

    def k(a: torch.Tensor, b: torch.Tensor) -> float:
        return float((a @ b / 10 + 1) ** 3)

    within_x = sum(k(a, b) for a, b in itertools.permutations(x, 2)) / (7 * 6)
    within_y = sum(k(a, b) for a, b in itertools.permutations(y, 2)) / (5 * 4)
    across = sum(k(a, b) for a, b in itertools.product(x, y)) / (7 * 5)
    assert kernel_distance(x, y) == pytest.approx(within_x + within_y - 2 * across, rel=1e-12)


def test_equals_torchmetrics() -> None:
    x, y = drawn(60, 0), drawn(60, 1, 0.3)
    assert kernel_distance(x, y) == pytest.approx(float(poly_mmd(x, y)), rel=1e-9)


@pytest.mark.parametrize(("n", "m"), [(130, 70), (64, 64), (3, 200)])
def test_blocks_add_up(n: int, m: int, monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = drawn(n, 0), drawn(m, 1, 0.3)
    whole = kernel_distance(x, y)
    monkeypatch.setattr(kernel, "_BLOCK", 1000)
    monkeypatch.setattr(kernel, "_KEPT_ABOVE", 10)
    assert [kernel_distance(x, y) for _ in range(2)] == pytest.approx([whole] * 2, rel=1e-12)
    # What is kept belongs to one set alone.
    assert kernel_distance(x + 1.0, y) == pytest.approx(kernel_distance((x + 1.0).clone(), y), rel=1e-12)
    assert kernel_distance(x + 1.0, y) != pytest.approx(whole, rel=1e-3)


def test_memory_grows_with_n_and_not_with_its_square() -> None:
    x, y = drawn(6000, 0), drawn(64, 1)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        kernel_distance(x, y)
    largest = max(event.cpu_memory_usage for event in profile.events())
    assert largest < 200 * 2**20  # all pairs at once would be 275 MiB, several times


def test_what_is_kept_is_bounded() -> None:
    for seed in range(12):
        kernel_distance(drawn(1100, seed), drawn(4, 99))
    assert len(kernel._kept) <= 8


def test_same_distribution_averages_to_zero_at_any_n() -> None:
    """Unbiased: over 200 pairs of draws the mean is zero within its standard error, for few samples as for more."""
    for n in (5, 40):
        values = torch.tensor([kernel_distance(drawn(n, 2 * i), drawn(n, 2 * i + 1)) for i in range(200)])
        assert abs(values.mean()) < 3 * values.std() / 200**0.5


def test_a_single_image_is_refused_in_one_line() -> None:
    x = torch.randn(10, 5)
    for pair in ((x, x[:1]), (x[:1], x)):
        with pytest.raises(
            CohortError, match=r"a kernel distance from or to 1 image\(s\); each set needs at least two"
        ):
            kernel_distance(*pair)
