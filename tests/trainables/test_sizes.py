"""Every family at 128, 256 and 512 pixels: it takes a step of each phase, or refuses with the reason."""

from __future__ import annotations

from functools import partial

import pytest

from benchmarks.sizes import BIG, built_and_stepped, default_parameters
from gansweep.training.divergence import check_samples
from trainables import GANS


@pytest.fixture(autouse=True)
def _few_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    """The check of samples draws 8 images and not 32: they would take longer than the steps."""
    monkeypatch.setattr("gansweep.training.sampling.CHUNK", 8)
    monkeypatch.setattr("gansweep.training.loop.check_samples", partial(check_samples, each=4))


@pytest.mark.parametrize("size", [128, pytest.param(256, marks=pytest.mark.slow)])
@pytest.mark.parametrize("family", GANS)
def test_a_family_takes_a_step_of_each_phase(family: str, size: int) -> None:
    """With the smallest architecture; 512 pixels are left to the benchmark, for they take minutes of all tests."""
    row = built_and_stepped(family, size)
    assert row["outcome"] == "ok", row["reason"]
    # SRGAN begins with its generator alone, and the diffusion model has one network.
    assert row["phases"] >= (1 if family in {"srgan", "diffusion"} else 2)


@pytest.mark.parametrize("family", GANS)
def test_a_default_architecture_is_built_or_refused_with_the_reason(family: str) -> None:
    refused = {
        "diffusion": "attention over all positions of 128 x 128 pixels; set architecture.levels to 4 or more",
        "fcgan": "family = 'fcgan' at 512 pixels: a fully connected layer of 134 million weights",
        "srgan": "family = 'srgan' at 512 pixels: a fully connected layer of 536 million weights",
    }
    for size in BIG:
        row = default_parameters(family, size)
        if size == 512 and family in refused:
            assert refused[family] in row["reason"]
        else:
            assert 1_000_000 < row["parameters"] < 150_000_000, row["reason"]
