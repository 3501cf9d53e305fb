"""When a sweep ends before its last trial."""

import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from gansweep.config import Objective, TrialConfig
from gansweep.errors import ConfigError
from gansweep.search.stop_rules import StopRules, check_stop_rules, seconds_of
from gansweep.store.schema import TrialRow
from tests.values import sweep_options

OBJECTIVES = (Objective(name="fid", direction="minimize"), Objective(name="accuracy", direction="maximize"))
START = datetime(2026, 1, 1, tzinfo=UTC)


def _row(number: int, fid: float, accuracy: float, status: Any = "completed", hours: float = 0.0) -> TrialRow:
    scores = {"fid": fid, "accuracy": accuracy}
    ended = START + timedelta(hours=number)
    return TrialRow(f"{number:04d}", 0, status, TrialConfig(), scores=scores, ended=ended, gpu_seconds=3600 * hours)


@pytest.mark.parametrize(
    ("text", "seconds"), [("8h", 28_800), ("90m", 5_400), ("1h30m", 5_400), ("2d", 172_800), ("0.5h", 1_800)]
)
def test_a_time_is_read(text: str, seconds: float) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "8", "h", "8 hours", "0h", "-1h", "0m0s"])
def test_what_is_no_time_above_zero_is_told(text: str) -> None:
    with pytest.raises(ConfigError, match=f"--time-budget: '{text}' is not a time above zero; give a time such as 8h"):
        seconds_of(text)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"time_budget": "0h"}, "--time-budget: '0h' is not a time above zero"),
        ({"max_gpu_hours": 3.0}, "--max-gpu-hours: the trials use no GPU"),
        ({"target": {"acuracy": 0.9}}, "--target: unknown objective 'acuracy'; did you mean accuracy?"),
    ],
)
def test_a_rule_that_could_never_be_met_is_refused(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError) as told:
        check_stop_rules(sweep_options(**options), OBJECTIVES)
    assert str(told.value).startswith(says)


def test_the_time_budget_is_of_this_call(monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.monotonic()
    monkeypatch.setattr("gansweep.search.stop_rules.time.monotonic", lambda: now)
    rules = StopRules(sweep_options(time_budget="10s"), OBJECTIVES, [_row(0, 9.0, 0.5, hours=99)])
    now += 9.0
    assert (rules.reason, rules.over_budget) == ("", "")
    now += 2.0
    assert rules.reason == rules.over_budget == "the time budget of 10s is used up"


def test_gpu_hours_are_of_the_whole_sweep_and_count_trials_under_way() -> None:
    options = sweep_options(max_gpu_hours=10.0, gpus_per_worker=0.5, workers_per_trial=4)
    earlier = [_row(0, 9.0, 0.5, hours=3.0), _row(1, 9.0, 0.5, "interrupted", hours=3.0)]
    rules = StopRules(options, OBJECTIVES, earlier)
    assert rules.over_budget == ""
    under_way = replace(_row(2, 9.0, 0.5, "running"), started=datetime.now(UTC) - timedelta(hours=1.9))
    rules.began(under_way)  # two GPUs for 1.9 hours
    assert rules.over_budget == ""
    rules.ended(replace(under_way, status="completed", gpu_seconds=3600 * 4.1))
    assert rules.reason == rules.over_budget == "10 GPU hours are used up"


def test_patience_counts_trials_that_do_not_improve_the_front() -> None:
    rules = StopRules(sweep_options(patience=3), OBJECTIVES)
    for number, (fid, accuracy, status) in enumerate(
        [
            (10.0, 0.5, "completed"),
            (11.0, 0.5, "completed"),  # dominated
            (10.0, 0.5, "completed"),  # the same place again
            (12.0, 0.6, "completed"),  # another place of the front
            (1.0, 0.9, "stopped"),  # of a part of its budget: no member of the front
            (1.0, 0.9, "diverged"),
        ]
    ):
        rules.ended(_row(number, fid, accuracy, status))
        assert rules.reason == ""
    rules.ended(_row(6, 12.0, 0.55))
    assert rules.reason == "3 trials in a row have not improved the front"
    assert rules.over_budget == "", "trials under way come to their end"


def test_earlier_trials_count_in_the_order_in_which_they_ended() -> None:
    rows = [_row(0, 5.0, 0.5), _row(1, 9.0, 0.5), replace(_row(2, 4.0, 0.4), repeat_of="0000")]
    assert StopRules(sweep_options(patience=1), OBJECTIVES, reversed(rows)).reason.startswith("1 trials in a row")
    better = replace(rows[1], scores={"fid": 4.0, "accuracy": 0.5})
    assert StopRules(sweep_options(patience=1), OBJECTIVES, [better, rows[0]]).reason == ""


def test_one_trial_must_meet_the_whole_target() -> None:
    rules = StopRules(sweep_options(target={"fid": 5.0, "accuracy": 0.8}), OBJECTIVES)
    rules.ended(_row(0, 4.0, 0.7))
    rules.ended(_row(1, 6.0, 0.9))
    assert rules.reason == ""
    rules.ended(_row(2, 5.0, 0.8))
    assert rules.reason == "trial 0002 met the target (fid 5, accuracy 0.8)"
