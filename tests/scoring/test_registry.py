"""The contract of every metric of the registry, whatever it takes: a new entry is tested without a line here."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest
import torch

from gansweep.scoring.metrics.answers import Predictions, mean_over_trainings
from gansweep.scoring.metrics.registry import METRICS, Input, Metric

if TYPE_CHECKING:
    from collections.abc import Callable

N = 24
SIZE = 176
"""Pixels. MS-SSIM needs more than 160."""


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def smooth_images(seed: int, n: int = 4) -> torch.Tensor:
    coarse = drawn(n, 1, 11, 11, seed=seed)
    return torch.nn.functional.interpolate(coarse, SIZE, mode="bicubic").clamp(-1, 1)


def answers(separation: float) -> tuple[Any, ...]:
    labels = torch.arange(N) % 3
    logits = drawn(2, N, 3) + separation * torch.nn.functional.one_hot(labels, 3)
    return (Predictions(logits.softmax(-1).numpy(), labels.numpy(), [str(i) for i in range(N)], 2),)


def samples_seen(separation: float) -> tuple[torch.Tensor, torch.Tensor]:
    labels = torch.arange(N) % 3
    logits = drawn(N, 3) + separation * torch.nn.functional.one_hot(labels, 3)
    return logits.softmax(1), labels


def blobs(shift: int) -> torch.Tensor:
    masks = torch.zeros(4, 1, 32, 32)
    masks[:, :, 8 + shift : 18 + shift, 8:18] = 1
    return masks


GOOD_AND_BAD: dict[Input, Callable[[bool], tuple[Any, ...]]] = {
    "features": lambda good: (drawn(N, 4), drawn(N, 4, seed=1) + (0 if good else 5)),
    "pairs": lambda good: (smooth_images(0), smooth_images(0) * (0.95 if good else -0.5)),
    "fusion": lambda good: (
        smooth_images(0),
        smooth_images(1),
        (smooth_images(0) + smooth_images(1)) / 2 if good else drawn(4, 1, SIZE, SIZE),
    ),
    "images": lambda good: (smooth_images(0 if good else 1),),
    "classes": lambda good: samples_seen(4.0 if good else -2.0),
    "class probabilities": lambda good: samples_seen(8.0 if good else 0.0)[:1],
    "answers": lambda good: answers(3.0 if good else -1.0),
    "masks": lambda good: (blobs(1 if good else 6), blobs(0)),
}
"""For each kind of input what a good generator or detector gives, and a bad one."""


def value_of(metric: Metric, *, good: bool) -> float:
    inputs = GOOD_AND_BAD[metric.takes](good)
    if metric.takes == "answers":
        return mean_over_trainings(metric.compute, *inputs)
    found = metric.compute(*inputs)
    if metric.takes in {"features", "class probabilities"}:
        assert isinstance(found, float)
        return found
    assert found.shape == (len(inputs[0]),)
    return float(found.mean())


@pytest.mark.parametrize("name", METRICS)
def test_values_are_in_range_and_tell_good_from_bad(name: str) -> None:
    metric = METRICS[name]
    good = value_of(metric, good=True)
    bad = value_of(metric, good=False)
    low, high = metric.range
    for value in (good, bad):
        assert math.isfinite(value)
        assert low <= value <= high
    if metric.better == "higher":
        assert good > bad
    if metric.better == "lower":
        assert good < bad


@pytest.mark.parametrize("name", METRICS)
def test_values_are_a_function_of_their_input(name: str) -> None:
    metric = METRICS[name]
    state = torch.random.get_rng_state()
    first = value_of(metric, good=True)
    assert value_of(metric, good=True) == first
    assert torch.equal(torch.random.get_rng_state(), state), "it leaves torch's own random numbers alone"


@pytest.mark.parametrize("name", METRICS)
def test_docstrings_have_definition_and_range(name: str) -> None:
    text = METRICS[name].compute.__doc__ or ""
    assert "ange" in text, "its range is told"
    assert "better" in text or METRICS[name].better == "like the real"
