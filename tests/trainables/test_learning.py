"""That every family from noise to image learns a distribution that is known, and not only runs."""

from __future__ import annotations

import pytest
import torch

from benchmarks.learning import FAMILIES, MODES, discs, learned, measured

ITERATIONS = 400
BOUNDS = {
    "fcgan": (6.0, 2),
    "dcgan": (5.0, 4),
    "sngan": (3.0, 0),
    "lapgan": (6.0, 0),
    "progan": (2.5, 1),
    "stylegan2": (2.0, 2),
    "vaegan": (7.0, 3),
    "r3gan": (1.2, 0),
}
"""How many times smaller the Frechet distance must become, and how many of the eight modes be covered:
about half of what seeds 0 and 1 gave (the distance before training varies by a factor of three)."""


def test_the_ring_tells_its_own_images_from_others():
    images, modes = discs(512, seed=0)
    ring = measured(images, modes)
    others, _ = discs(512, seed=1)
    assert ring.frechet(others) < 1.0
    assert ring.covered(others)[0] == MODES
    assert ring.covered(others)[1] > 0.99
    one_mode = others[torch.arange(512) % MODES == 3]
    assert ring.covered(one_mode) == (1, pytest.approx(1.0, abs=0.05))
    assert ring.frechet(one_mode) > 20.0
    assert ring.covered(torch.full_like(others, -0.9)) == (0, 0.0)
    assert ring.covered(torch.maximum(others, others.flip(0)))[1] < 0.3  # two discs in an image, but for the same mode


@pytest.mark.acceptance
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_brings_the_distance_down_and_covers_modes(family):
    torch.set_num_threads(1)
    row, _ = learned(family, 0, ITERATIONS, measured(*discs(1024, seed=2)))
    factor, modes = BOUNDS[family]
    assert row["factor"] > factor, row
    assert row["modes"] >= modes, row
