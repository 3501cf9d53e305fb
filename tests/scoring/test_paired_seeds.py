"""What a change is worth, paired over seeds."""

from __future__ import annotations

import pytest
from scipy import stats

from gansweep.scoring.statistics.paired_seeds import Worth, corrected, worth


def test_it_is_students_paired_test() -> None:
    one, other = [5.0, 7.0, 9.0, 8.0], [4.0, 4.5, 8.0, 7.5]
    found = worth(one, other)
    expected = stats.ttest_rel(one, other)
    interval = expected.confidence_interval()
    assert found == Worth(
        pytest.approx(1.25),
        pytest.approx(interval.low),
        pytest.approx(interval.high),
        pytest.approx(expected.pvalue),
        4,
    )


def test_seeds_without_both_are_left_out() -> None:
    nan = float("nan")
    assert worth([1.0, nan, 3.0], [0.0, 1.0, 1.0]) == worth([1.0, 3.0], [0.0, 1.0])
    assert worth([1.0, nan], [0.0, 1.0]) is None


def test_what_never_varies_has_an_interval_of_no_width() -> None:
    assert worth([1.0, 1.0], [1.0, 1.0]) == Worth(0.0, 0.0, 0.0, 1.0, 2)
    assert worth([2.0, 2.0], [1.0, 1.0]) == Worth(1.0, 1.0, 1.0, 0.0, 2)


def test_p_values_are_corrected_for_each_other() -> None:
    found = corrected({"a": Worth(1, 0, 2, 0.01, 3), "b": Worth(1, 0, 2, 0.04, 3), "c": Worth(1, 0, 2, 0.03, 3)})
    assert {name: one.p for name, one in found.items()} == pytest.approx({"a": 0.03, "b": 0.06, "c": 0.06})
