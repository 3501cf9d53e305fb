"""Segmenters: shapes, and that each can outline what is plainly there."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from gansweep.contracts import ImageSpec
from gansweep.errors import ConfigError
from gansweep.scoring.metrics.masks import dice
from trainables.downstream.segmenters import DruNet, UNet


@pytest.mark.parametrize("kind", [UNet, DruNet])
def test_it_learns_to_outline_bright_squares(kind: type[torch.nn.Module]) -> None:
    torch.manual_seed(0)
    masks = torch.zeros(24, 1, 24, 24)
    for mask in masks:
        row, column = torch.randint(16, (2,)).tolist()
        mask[0, row : row + 8, column : column + 8] = 1
    images = (masks - 0.5 + 0.3 * torch.randn(24, 2, 24, 24)).clamp(-1, 1)
    network = kind(ImageSpec(24, 2, ("a",), 1), width=8)
    optimiser = torch.optim.Adam(network.parameters(), 5e-3)
    for _ in range(40):
        logits = network(images[:16])
        assert logits.shape == (16, 1, 24, 24)
        optimiser.zero_grad()
        functional.binary_cross_entropy_with_logits(logits, masks[:16]).backward()
        optimiser.step()
    found = (network.eval()(images[16:]) > 0).float()
    assert dice(found, masks[16:]).mean() > 0.6


@pytest.mark.parametrize("kind", [UNet, DruNet])
def test_a_size_that_does_not_halve_three_times_is_refused(kind: type[torch.nn.Module]) -> None:
    with pytest.raises(ConfigError, match="divisible by 8, not 36"):
        kind(ImageSpec(36, 1, ("a",), 1))
