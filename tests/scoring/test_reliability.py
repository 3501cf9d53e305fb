"""Reliability of scores, against a published table and against variances that are known."""

from __future__ import annotations

import numpy as np
import pytest

from gansweep.errors import ConfigError
from gansweep.scoring.statistics.reliability import Components, components, reliability

SHROUT_FLEISS = np.array([[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]])
"""Six targets by four judges, table 2 of Shrout & Fleiss 1979."""


def test_the_published_table_comes_out() -> None:
    """ICC(1, 1) is 0.17 there; the interval is that of R's psych package."""
    found = reliability(SHROUT_FLEISS[None])
    assert (found.value, found.low, found.high) == pytest.approx((0.166, -0.133, 0.723), abs=0.001)


def test_a_cohorts_difficulty_is_no_difference_between_configurations() -> None:
    harder = np.stack([SHROUT_FLEISS, SHROUT_FLEISS + 100])
    found = reliability(harder)
    assert found.value == pytest.approx(reliability(SHROUT_FLEISS[None]).value)
    assert found.high - found.low < 0.723 + 0.133  # twice as many configurations


def test_what_repeats_itself_exactly_has_one() -> None:
    found = reliability(np.arange(4.0)[None, :, None].repeat(3, 2))
    assert (found.value, found.low, found.high) == (1, 1, 1)
    assert np.isnan(reliability(np.ones((1, 4, 3))).value)


def test_the_interval_holds_the_truth() -> None:
    """Of 400 experiments with a reliability of one half, 95 % of the intervals contain it."""
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(400):
        scores = rng.normal(size=(2, 12, 1)) + rng.normal(size=(2, 12, 4))
        found = reliability(scores)
        held += found.low <= 0.5 <= found.high
    assert 368 <= held <= 392


def test_components_are_found_again() -> None:
    rng = np.random.default_rng(0)
    shape = (2, 300, 4, 3)
    scores = rng.normal(scale=3, size=(*shape[:2], 1, 1)) + rng.normal(scale=2, size=(*shape[:3], 1))
    found = components(scores + rng.normal(scale=1, size=shape))
    assert found.configuration == pytest.approx(9, rel=0.15)
    assert found.generator == pytest.approx(4, rel=0.15)
    assert found.detector == pytest.approx(1, rel=0.1)


def test_more_of_each_buys_what_it_can() -> None:
    parts = Components(configuration=4, generator=2, detector=2)
    assert parts.repeated(1, 1) == pytest.approx(0.5)
    assert parts.repeated(2, 1) == pytest.approx(4 / 6)
    assert parts.repeated(1, 2) == pytest.approx(4 / 7)
    assert parts.repeated(10**6, 1, patients=4) == pytest.approx(0.5, abs=1e-5)


@pytest.mark.parametrize("scores", [np.ones((1, 1, 4)), np.ones((1, 4, 1)), np.full((1, 4, 4), np.nan)])
def test_scores_without_repeats_are_refused(scores: np.ndarray) -> None:
    with pytest.raises(ConfigError):
        reliability(scores)
