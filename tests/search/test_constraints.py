"""Constraints: how a user gives them, what they bound, and which trials break them."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

import pytest

from gansweep.config import Objective, TrialConfig
from gansweep.constraint import Constraint
from gansweep.errors import ConfigError
from gansweep.experiment import Experiment
from gansweep.search.aims import check_constraints
from gansweep.search.stop_rules import StopRules
from gansweep.store.feasibility import broken, constrained_values, excesses
from gansweep.store.schema import TrialRow
from tests.values import report_of, sweep_options
from trainables import TRAINABLES

MEMORY = Constraint(score="peak_memory_gib", at_most=20.0)
PACE = Constraint(score="seconds_per_iteration", at_most=0.5)


def _row(status: Any = "completed", **values: Any) -> TrialRow:
    return TrialRow("0000", 0, status, TrialConfig(), **values)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("peak_memory_gib<=20", MEMORY),
        (" seconds_per_iteration <= 0.5 ", PACE),
        ("accuracy>=0.8", Constraint(score="accuracy", at_least=0.8)),
        ("accuracy_difference>=-1e-2", Constraint(score="accuracy_difference", at_least=-0.01)),
    ],
)
def test_a_constraint_is_read_and_written(text: str, expected: Constraint) -> None:
    assert Constraint.parse(text) == expected
    assert Constraint.parse(str(expected)) == expected


@pytest.mark.parametrize("text", ["", "fid", "fid<20", "fid=20", "<=20", "fid<=", "fid<=many", "fid<=nan", "fid<=inf"])
def test_what_is_no_constraint_is_one_line(text: str) -> None:
    with pytest.raises(ConfigError) as told:
        Constraint.parse(text)
    assert str(told.value) == (
        f"--constraint: {text!r} is not NAME<=NUMBER or NAME>=NUMBER; for example peak_memory_gib<=20 or accuracy>=0.8"
    )


def test_the_option_stands_above_the_space() -> None:
    options = sweep_options(constraint=("peak_memory_gib<=20", "seconds_per_iteration <= 0.50"))
    space = Experiment(
        name="s",
        space=lambda _: TrialConfig(),
        trainables=TRAINABLES,
        constraints=(Constraint(score="fid", at_most=9),),
    )
    assert space.with_settings(options.changes()).constraints == (MEMORY, PACE)
    assert space.with_settings(sweep_options().changes()).constraints == space.constraints
    # `sweep.json` has what was given, and a sweep from that file has the same constraints.
    assert options.recorded()["constraint"] == ["peak_memory_gib<=20", "seconds_per_iteration<=0.5"]


def test_a_constraint_on_what_no_trial_tells_is_refused() -> None:
    copies = Constraint(score="copies_pixels", at_most=0.01)
    check_constraints([PACE, Constraint(score="accuracy_difference", at_least=0.0), copies], gpus=0.0, patients=3)
    check_constraints([MEMORY], gpus=0.5, patients=0)
    with pytest.raises(ConfigError) as told:
        check_constraints([MEMORY], gpus=0.0, patients=9)
    assert str(told.value) == (
        "constraints: peak_memory_gib<=20 bounds the memory of a GPU, and trials have none; "
        "give --gpus-per-worker, or leave the constraint out"
    )
    with pytest.raises(ConfigError, match=r"constraints: accuracy = 1\.5 is out of its range, 0 to 1"):
        check_constraints([Constraint(score="accuracy", at_least=1.5)], gpus=0.0, patients=9)
    with pytest.raises(ConfigError, match=r"constraints: unknown score 'peak_memory_gb'; did you mean peak_memory_gib"):
        check_constraints([Constraint(score="peak_memory_gb", at_most=1.0)], gpus=1.0, patients=9)
    with pytest.raises(ConfigError, match=r"copies_pixels<=0.01 needs 3 training patients, and the cohort has 2; "):
        check_constraints([copies], gpus=0.0, patients=2)


def test_bounds_that_contradict_each_other_are_refused() -> None:
    most = Constraint(score="accuracy", at_most=0.2)
    least = Constraint(score="accuracy", at_least=0.9)
    said = r"constraints: no trial can keep both accuracy<=0\.2 and accuracy>=0\.9; leave one out"
    for both in ([most, least], [least, most]):
        with pytest.raises(ConfigError, match=said):
            check_constraints(both, gpus=0.0, patients=9)
    check_constraints([Constraint(score="accuracy", at_most=0.9), least], gpus=0.0, patients=9)


def test_what_a_trial_costs_is_that_of_its_last_report() -> None:
    progress = report_of(3, final=True, iteration=100).progress.with_costs_of([])
    assert progress.seconds_per_iteration is None
    costs = {"seconds_per_iteration": 0.75, "peak_memory_gib": 10.0}
    row = _row(scores={"fid": 3.0}, seconds_training=1.0, iterations=9, **costs)
    assert constrained_values(row) == {"fid": 3.0, **costs}
    assert excesses(row, [PACE, MEMORY]) == {"0": 0.5, "1": -0.5}
    assert broken(constrained_values(row), [PACE, MEMORY]) == "seconds_per_iteration = 0.75 > 0.5"
    # A row of an earlier version has times only, and one that never trained says nothing.
    assert constrained_values(_row(seconds_training=30.0, iterations=60)) == {"seconds_per_iteration": 0.5}
    assert constrained_values(_row(seconds_training=0.0, iterations=60)) == {}
    assert broken({}, [MEMORY]) == "peak_memory_gib is unknown"
    assert broken({"fid": math.nan}, [Constraint(score="fid", at_least=1.0)]) == "fid is unknown"


def test_a_resumed_trial_keeps_what_its_earlier_starts_measured() -> None:
    earlier = [
        {"seconds_per_iteration": 0.25, "peak_memory_gib": 12.0},
        {"seconds_per_iteration": 0.50, "peak_memory_gib": math.nan},
        {"seconds_per_iteration": None, "peak_memory_gib": None},
        {},  # of an earlier version
    ]
    scored_only = report_of(3).progress.with_costs_of(earlier)
    assert (scored_only.seconds_per_iteration, scored_only.peak_memory_gib) == (0.50, 12.0)
    unknown = report_of(3).progress.with_costs_of(earlier[2:])
    assert (unknown.seconds_per_iteration, unknown.peak_memory_gib) == (None, None)


def test_a_trial_beyond_a_constraint_improves_nothing_and_meets_no_target() -> None:
    objectives = (Objective(name="fid", direction="minimize"),)
    bound = (Constraint(score="accuracy", at_least=0.8),)
    row = _row(scores={"fid": 5.0, "accuracy": 0.7}, ended=datetime(2026, 1, 1, tzinfo=UTC))
    for constraints, patient, target in ((bound, "1 trials in a row", ""), ((), "", "trial 0000 met the target")):
        rules = StopRules(sweep_options(patience=1), objectives, [row], constraints)
        assert rules.reason.startswith(patient)
        assert bool(rules.reason) == bool(patient)
        rules = StopRules(sweep_options(target={"fid": 6.0}), objectives, [row], constraints)
        assert rules.reason.startswith(target)
        assert bool(rules.reason) == bool(target)
