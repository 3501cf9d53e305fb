"""When workers that say nothing count as hung."""

import math

from gansweep.search.silence import Silence, SilenceLimit


class _Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def _after(silence: Silence, clock: _Clock, seconds: float) -> bool:
    clock.now += seconds
    return silence.is_hang()


def test_a_report_is_overdue_after_a_multiple_of_the_longest_wait() -> None:
    clock = _Clock()
    silence = Silence(SilenceLimit(600.0, 300.0), clock)
    for seconds in (30.0, 50.0, 40.0):
        silence.begin()
        clock.now += seconds
        silence.end(report=True)
    assert silence.allowed() == 1000.0
    silence.begin()
    assert Silence(SilenceLimit(600.0, 300.0, factor=2.0), clock).allowed() == 3600.0
    assert not _after(silence, clock, 1000.0)
    assert _after(silence, clock, 1.0)


def test_short_reports_do_not_make_it_impatient() -> None:
    clock = _Clock()
    silence = Silence(SilenceLimit(600.0, 0.0), clock)
    silence.begin()
    clock.now += 1.0
    silence.end(report=True)
    silence.begin()
    assert not _after(silence, clock, 600.0)
    assert _after(silence, clock, 1.0)


def test_a_checkpoint_is_a_sign_of_life_and_nobody_counts_while_none_is_waited_for() -> None:
    clock = _Clock()
    silence = Silence(SilenceLimit(600.0, 300.0), clock)
    silence.begin()
    for _ in range(20):  # a report of 100 minutes, of which each quarter of an hour is told
        assert not _after(silence, clock, 900.0)
        silence.sign()
    silence.end(report=True)
    assert not _after(silence, clock, 1e9)
    assert silence.seconds() == 0.0
    assert silence.allowed() == 18_000.0


def test_the_first_report_also_prepares_the_scoring() -> None:
    silence = Silence(SilenceLimit(600.0, 300.0), _Clock())
    assert silence.allowed() == 3600.0
    silence.end(report=True)
    assert silence.allowed() == 600.0
    rare = Silence(SilenceLimit(600.0, 1800.0), _Clock())
    rare.end(report=True)
    assert rare.allowed() == 3600.0, "two checkpoints missed"


def test_what_nothing_is_known_of_is_no_hang() -> None:
    assert Silence(SilenceLimit(0.0, 300.0), _Clock()).allowed() == math.inf
    assert Silence(SilenceLimit(600.0, 0.0), _Clock()).allowed() == math.inf, "a report may take days"
