"""Trials that stop because a signal of their training is beyond its bound."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from gansweep.config import TrialConfig
from gansweep.constraint import Constraint
from gansweep.errors import ConfigError
from gansweep.experiment import Experiment
from gansweep.search.cluster import Footprint
from gansweep.search.pruning import check_prune, failing, why_pruned
from gansweep.search.searcher import SearchStopper
from gansweep.search.spaces import load_space
from gansweep.search.sweep import sweep
from gansweep.search.trial import TrialResult
from gansweep.search.trial_end import ended
from gansweep.store.schema import ReportRow, TrialRow
from tests.values import report_of, sweep_options
from trainables import TRAINABLES

SPREAD = Constraint(score="class_spread", at_least=0.1)
DRIFT = Constraint(score="gradient_drift", at_most=100.0)
COLLAPSED = {"class_spread": 0.01, "gradient_drift": 3.0}


def told(signals: dict[str, float], status: Any = "running") -> TrialResult:
    report = report_of(1, scores={"fid": 1.0}, signals=signals)
    return TrialResult(status, "", report, {}, 2, 10.0, Footprint(1, 1.0, 0.0))


def test_a_signal_beyond_its_bound_is_described() -> None:
    assert failing(COLLAPSED, [DRIFT, SPREAD]) == "class_spread = 0.01 < 0.1"
    assert failing({"class_spread": 0.5, "gradient_drift": 1e3}, [DRIFT, SPREAD]) == "gradient_drift = 1000 > 100"
    assert failing({"class_spread": 0.5}, [DRIFT, SPREAD]) == "", "a signal that is not known stops nothing"
    assert failing({"class_spread": math.nan, "gradient_drift": math.inf}, [DRIFT, SPREAD]) == ""
    assert failing(COLLAPSED, []) == ""


def test_only_a_trial_that_would_go_on_is_pruned() -> None:
    assert why_pruned(told(COLLAPSED), [SPREAD]) == "class_spread = 0.01 < 0.1"
    assert why_pruned(told(COLLAPSED, "completed"), [SPREAD]) == ""
    assert why_pruned(None, [SPREAD]) == ""


def test_tune_is_told_to_stop_such_a_trial() -> None:
    stopper = SearchStopper(None, None, [SPREAD])  # type: ignore[arg-type]
    assert stopper("a", {"result": told(COLLAPSED)})
    assert not stopper("a", {"result": told({"class_spread": 0.9})})
    assert not SearchStopper(None, None)("a", {"result": told(COLLAPSED)})  # type: ignore[arg-type]


def test_its_row_says_why_and_keeps_its_scores() -> None:
    row = TrialRow("0000", 0, "running", TrialConfig())
    pruned = ended(row, told(COLLAPSED), False, 0.0, pruned="class_spread = 0.01 < 0.1")
    assert (pruned.status, pruned.reason) == ("stopped", "pruned: class_spread = 0.01 < 0.1")
    assert pruned.scores == {"fid": 1.0}


def test_signals_are_columns_of_the_reports() -> None:
    record = ReportRow("0000", 0, told(COLLAPSED).report).record()
    assert record["signal.class_spread"] == 0.01


@pytest.mark.parametrize(
    ("bound", "message"),
    [
        (
            Constraint(score="class_sprad", at_least=0.1),
            "prune: unknown signal 'class_sprad'; did you mean class_spread?",
        ),
        (Constraint(score="fid", at_most=9.0), "prune: unknown signal 'fid'"),
        (
            Constraint(score="imbalance", at_most=0.5),
            "prune: imbalance<=0.5 would stop every trial: imbalance is 1 or more; choose a larger bound",
        ),
        (Constraint(score="class_spread", at_most=0.0), "prune: class_spread<=0 would stop every trial"),
        (Constraint(score="gradient_drift", at_most=1.0), "prune: gradient_drift<=1 would stop every trial"),
        (Constraint(score="class_spread", at_least=0.0), "prune: class_spread>=0 would stop no trial"),
        (
            Constraint(score="gradient_drift", at_least=2.0),
            "prune: gradient_drift>=2 is the wrong way round: gradient_drift is 1 at the first report; give",
        ),
        (
            Constraint(score="class_spread", at_most=0.05),
            "prune: no trial keeps both class_spread>=0.1 and class_spread<=0.05",
        ),
    ],
)
def test_bounds_that_cannot_be_meant_are_refused(bound: Constraint, message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        check_prune([SPREAD, DRIFT, bound])
    assert str(refused.value).startswith(message)


def test_the_option_stands_above_the_space() -> None:
    options = sweep_options(prune=("class_spread>=0.1", "gradient_drift <= 100"))
    space = Experiment(name="s", space=lambda _: TrialConfig(), trainables=TRAINABLES, prune=(SPREAD,))
    assert space.with_settings(options.changes()).prune == (SPREAD, DRIFT)
    assert space.with_settings(sweep_options().changes()).prune == (SPREAD,)
    assert options.recorded()["prune"] == ["class_spread>=0.1", "gradient_drift<=100"]
    with pytest.raises(
        ConfigError,
        match=r"^--prune: 'class_spread>0\.1' is not NAME<=NUMBER or NAME>=NUMBER; for example class_spread>=",
    ):
        sweep_options(prune=("class_spread>0.1",))


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.ray(shared=True)
def test_a_sweep_stops_trials_whose_samples_vary_too_little(cohort_path: Path, tmp_path: Path) -> None:
    """No generator's samples vary a hundred times as much as real images."""
    experiment = load_space(f"{Path(__file__).with_name('tiny_space.py')}:slow")
    options = sweep_options(cohort=cohort_path, storage=str(tmp_path), trials=2, prune=("class_spread>=100",))
    trials = sweep(experiment.with_settings(options.changes()), options).latest_trials()
    assert set(trials["status"]) == {"stopped"}
    assert trials["reason"].str.match(r"pruned: class_spread = [\d.]+ < 100").all()
    assert (trials["reports"] == 1).all()
    assert trials["fid"].notna().all()
