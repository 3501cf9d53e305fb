"""The answer sentence before `gansweep confirm`: what is known so far, and what would settle it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest

from gansweep.config import Objective
from gansweep.scoring.statistics.proportions import cases_needed, difference_interval
from gansweep.search.answer import so_far
from gansweep.store.ranking import rank_trials
from gansweep.store.schema import TrialRow
from tests.report.example_sweep import make_info

if TYPE_CHECKING:
    from gansweep.search.confirmed_answer import Answer
    from gansweep.store.sweep_info import SweepInfo


def trials(*rows: TrialRow) -> pd.DataFrame:
    frame = pd.DataFrame([row.record() for row in rows])
    return frame.astype({"repeat_of": "string"})


def answer_of(frame: pd.DataFrame, info: SweepInfo) -> Answer:
    return so_far(rank_trials(frame, info.objectives, info.constraints), info)


def row(trial: str, change: float, **values: Any) -> TrialRow:
    from gansweep.config import TrialConfig

    scores = {"fid": 20.0, "accuracy": 0.7 + change, "accuracy_difference": change}
    config = TrialConfig(family="dcgan", seed=values.pop("seed", 0))
    return TrialRow(trial, 0, values.pop("status", "completed"), config, scores=scores, **values)


def test_before_confirm_it_says_what_is_known_and_what_would_settle_it() -> None:
    found = answer_of(trials(row("0000", 0.1)), make_info())
    low, high = difference_interval(0.8, 0.7, 8)
    needed = cases_needed(0.8, 0.7, known_from=8, claims=4)
    assert needed == 465  # 11.15 * (0.74 * 0.26 + 0.66 * 0.34) / 0.1^2
    assert found.text == (
        f"Not known yet whether synthetic images help: on 8 validation patients adding them changed accuracy by +10.0"
        f" points (95 % interval {100 * low:+.1f} to {100 * high:+.1f}; trial 0000, dcgan, 1 training, the best of 1"
        " trial); the 8 test patients of `gansweep confirm` would show a change of about 76 points or more; to show a"
        " change of this size would take about 470 test patients (about 460 more); and 2 more trainings with other"
        " seeds (`gansweep repeat`)."
    )
    assert (found.state, found.trial_id) == ("not known", "0000")


def test_patients_who_are_too_few_for_any_change_are_said_to_be() -> None:
    cohort = make_info().cohort.model_copy(update={"patients": {"train": 8, "val": 8, "test": 2}})
    text = answer_of(trials(row("0000", 0.1)), make_info(cohort=cohort)).text
    assert "the 2 test patients of `gansweep confirm` are too few to show any change" in text


def test_repeats_count_instead_of_the_searchs_own_training() -> None:
    rows = [row("0000", 0.2)]
    rows += [
        row(f"0000-{seed}", change, seed=seed, repeat_of="0000") for seed, change in ((1, 0.05), (2, 0.03), (3, 0.01))
    ]
    text = answer_of(trials(*rows), make_info()).text
    assert "changed accuracy by +3.0 points" in text
    assert "trial 0000, dcgan, 3 trainings, the best of 1 trial" in text
    # sd 2 points over a change of 3: (2.8 * 2 / 3)^2 = 3.5, so four trainings.
    assert text.endswith("and 1 more training with other seeds (`gansweep repeat`).")


@pytest.mark.parametrize(
    ("changes", "ending"),
    [
        # A change that cancels to 1e-17: no number of trainings shows it.
        ((0.1, -0.09999999999999998), "and 1 more training with other seeds (`gansweep repeat`)."),
        ((0.1, -0.0999), "and more than 1000 more trainings with other seeds (`gansweep repeat`)."),
        # sd 12.7 points over a change of 3: (2.8 * 12.7 / 3)^2 = 141.1, less the 2 that there are.
        ((0.12, -0.06), "and about 140 more trainings with other seeds (`gansweep repeat`)."),
    ],
)
def test_trainings_that_no_sweep_has_are_not_counted(changes: tuple[float, ...], ending: str) -> None:
    rows = [row("0000", 0.2)]
    rows += [row(f"0000-{seed}", change, seed=seed, repeat_of="0000") for seed, change in enumerate(changes, 1)]
    assert answer_of(trials(*rows), make_info()).text.endswith(ending)


def test_a_change_that_rounds_to_zero_has_no_minus_and_needs_no_number() -> None:
    text = answer_of(trials(row("0000", -1e-17)), make_info()).text
    assert "changed accuracy by +0.0 points" in text
    assert "a change of this size" not in text


def test_repeats_are_no_trials_that_were_asked_for() -> None:
    repeats = [TrialRow(f"0000-{seed}", 0, "completed", row("0", 0.0).config, repeat_of="0000") for seed in (1, 2)]
    rows = trials(TrialRow("0000", 0, "completed", row("0", 0.0).config, scores={"fid": 2.0}), *repeats)
    assert "1 of 1 trial ended with a generator" in answer_of(rows, make_info(trials=1)).text
    rows = trials(*(TrialRow(f"000{n}", 0, "completed", row("0", 0.0).config, scores={"fid": 2.0}) for n in range(6)))
    assert "6 trials, 5 asked for, ended with a generator" in answer_of(rows, make_info(trials=5)).text


AUROC = Objective(name="auroc", direction="maximize")


def test_the_sweeps_own_aim_is_the_measure() -> None:
    scores = {"accuracy": 0.8, "accuracy_difference": 0.2, "auroc": 0.7, "auroc_difference": 0.1}
    before = trials(TrialRow("0000", 0, "completed", row("0", 0.0).config, scores=scores))
    assert "changed auroc by +10.0 points" in answer_of(before, make_info(objectives=(AUROC,))).text


@pytest.mark.parametrize("measure", ["sensitivity", "specificity", "auroc"])
def test_a_score_of_some_patients_has_no_interval_of_all(measure: str) -> None:
    scores = {measure: 0.8, f"{measure}_difference": 0.1}
    before = trials(TrialRow("0000", 0, "completed", row("0", 0.0).config, scores=scores))
    aim = Objective(name=measure, direction="maximize")
    text = answer_of(before, make_info(objectives=(aim,))).text
    assert f"changed {measure} by +10.0 points (trial 0000" in text
    assert "test patients" not in text


def test_a_sweep_without_a_detector_and_one_without_a_trial_say_so() -> None:
    bare = trials(TrialRow("0000", 0, "completed", row("0", 0.0).config, scores={"fid": 2.0}))
    assert answer_of(bare, make_info()).text == (
        "Not known yet whether synthetic images help: 1 of 14 trials ended with a generator, and none of them measured "
        "a detector with and without them."
    )
    none = answer_of(trials(row("0000", 0.0)).iloc[:0], make_info()).text
    assert none.startswith("Not known yet whether synthetic images help: 0 of 14 trials ended with a generator")
