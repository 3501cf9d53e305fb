"""Numbers as readers see them: no minus before zero, no p-value rounded to the level, no plural of one."""

from __future__ import annotations

import pytest

from gansweep.errors import counted
from gansweep.scoring.metrics.formatting import of_asked, p_text, points, score_text, short


@pytest.mark.parametrize(
    ("p", "text"),
    [
        (0.0004, "p < 0.001"),
        (0.0494, "p = 0.049"),
        (0.04996, "p < 0.05"),
        (0.05, "p = 0.050"),
        (0.0503, "p = 0.050"),
        (1.0, "p = 1.000"),
    ],
)
def test_a_p_value_below_the_level_is_not_shown_as_the_level(p: float, text: str) -> None:
    assert p_text(p) == text


def test_a_long_number_has_no_exponent_and_a_short_one_no_zeros() -> None:
    assert [short(value) for value in (0.5, 60.0, 3131.4, 12345.6)] == ["0.5", "60", "3131", "12346"]
    assert [short(value, 4) for value in (4.0, 0.00001234, 1e20)] == ["4", "0.00001234", "1.000e+20"]


def test_a_change_that_rounds_to_zero_has_no_minus() -> None:
    assert [points(value) for value in (-1e-17, -0.0004, -0.0006, 0.1)] == ["+0.0", "+0.0", "-0.1", "+10.0"]
    assert score_text("accuracy_difference", -1e-17, signed=True) == "+0.0 pp"
    assert score_text("fid_difference", -1e-17, signed=True) == "+0.00000000"


def test_auroc_is_shown_in_percent_as_the_other_scores_of_a_detector() -> None:
    assert score_text("auroc", 0.7) == "70.0 %"
    assert score_text("auroc_difference", 0.1, signed=True) == "+10.0 pp"


def test_one_has_no_plural() -> None:
    assert [counted(n, "trial") for n in (0, 1, 2)] == ["0 trials", "1 trial", "2 trials"]
    assert of_asked(3, 5) == "3 of 5 trials"
    assert of_asked(1, 1) == "1 of 1 trial"
    assert of_asked(6, 5) == "6 trials, 5 asked for,"
