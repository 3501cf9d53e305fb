"""What is told of a training between two reports."""

from __future__ import annotations

import pytest

from gansweep.training import pace
from gansweep.training.pace import Pace
from tests.training.test_loop import CONFIG, run


def test_the_time_left_counts_what_is_left_to_train_and_to_score():
    made = Pace(1000, 4, 0, 0)
    first = made.interim(100, 6400, {"critic_loss": 1.0}, index=0, trained=10.0, scored=0.0)
    assert (first.iteration, first.iterations, first.losses) == (100, 1000, {"critic_loss": 1.0})
    assert first.images_per_second == pytest.approx(640.0)
    assert first.seconds_left == pytest.approx(90.0)  # nothing was scored yet, so nothing is known of scoring
    later = made.interim(300, 19200, {}, index=1, trained=40.0, scored=5.0)
    assert later.images_per_second == pytest.approx(12800 / 30)  # since the last one
    assert later.seconds_left == pytest.approx(700 * 40 / 300 + 3 * 5.0)


def test_an_iteration_costs_what_those_since_the_start_took():
    made = Pace(1000, 4, 500, 32000)
    assert made.seconds_per_iteration(750, 20.0) == pytest.approx(0.08)  # not 20 s / 750
    assert made.seconds_per_iteration(500, 0.0) is None  # it only scores


def test_a_resumed_training_is_measured_from_where_it_went_on():
    made = Pace(1000, 4, 500, 32000)
    told = made.interim(600, 38400, {}, index=2, trained=20.0, scored=0.0)
    assert told.images_per_second == pytest.approx(320.0)
    assert told.seconds_left == pytest.approx(80.0)
    assert made.interim(800, 51200, {}, index=3, trained=60.0, scored=4.0).seconds_left == pytest.approx(40.0 + 4.0)


def test_the_loop_tells_by_the_clock_also_between_two_checks(monkeypatch):
    monkeypatch.setattr(pace, "TELL_SECONDS", 0.0)
    reporter = run(CONFIG.derive({"iterations": 12}), reports=1)
    told = reporter.interims
    assert [interim.iteration for interim in told] == list(range(1, 13))
    assert all(interim.losses.keys() >= {"critic_loss", "generator_loss"} for interim in told)
    assert told[-1].losses == pytest.approx(reporter.reports[-1].losses)
    assert told[-1].seconds_left == 0.0


def test_the_loop_tells_nothing_before_its_time():
    assert run(CONFIG.derive({"iterations": 12}), reports=1).interims == []
