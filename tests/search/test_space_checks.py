"""What a user's space does wrong is told in one line, before anything is trained."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest

from gansweep.cli import main
from gansweep.config import Objective, TrialConfig
from gansweep.contracts import ImageSpec
from gansweep.errors import ConfigError
from gansweep.experiment import Experiment
from gansweep.search.aims import check_objectives, check_values
from gansweep.search.guesses import guessed_parameters
from gansweep.search.parameters import SpaceParameters
from gansweep.search.space_checks import check_first_trials, check_parameters
from trainables import TRAINABLES

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SPEC = ImageSpec(size=16, channels=1, classes=2)
HEAD = """
from gansweep.experiment import DataView, Experiment, SchedulerSettings, TrialConfig
from trainables import TRAINABLES

def config(**changes):
    small = {"width": 8, "latent": 8, "generator_norm": "group"}
    return TrialConfig(data=DataView(size=16), iterations=4, batch_size=8, architecture=small, **changes)

def mine():
    return Experiment(name="mine", space=suggest, trainables=TRAINABLES, reports=2,
                      scheduler=SchedulerSettings(kind="none"))

def suggest(trial):
    rate = trial.suggest_float("lr_d", 1e-4, 1e-3)
"""


def of(space: Callable[[Any], Any], **changes: Any) -> Experiment:
    return Experiment(name="mine", space=space, trainables=TRAINABLES, **changes)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("raise SystemExit(0)", "line 15): SystemExit: 0"),
        ("import sys; sys.exit('bye')", "line 15): SystemExit: bye"),
        ("assert rate > 1", "line 15): AssertionError"),
        ("return None", "the space returned NoneType, not a TrialConfig; return TrialConfig(...) on every path"),
        ("return {'lr_d': rate}", "the space returned dict, not a TrialConfig"),
        ("return config(lr_d=float('nan'))", "lr_d = nan: input should be a finite number"),
        ("trial.suggest_float('x', 0, float('inf'))", "line 15): OverflowError: Range exceeds valid bounds"),
        ("trial.suggest_float(3, 0, 1); return config()", "3 cannot name a parameter"),
        ("trial.suggest_float('', 0, 1); return config()", "'' cannot name a parameter"),
        (
            "trial.suggest_categorical('x', [(1, 2), (3, 4)]); return config()",
            "parameter x has the choice (1, 2), which",
        ),
        (
            "trial.suggest_categorical('x', [config()]); return config()",
            "which cannot be stored; choose among texts or",
        ),
        (
            "trial.suggest_categorical('x', [1.0, float('nan')]); return config()",
            "parameter x has the choice nan, which",
        ),
    ],
)
def test_a_space_of_ones_own_is_told_in_one_line(
    body: str, says: str, cohort_path: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.py").write_text(f"{HEAD}    {body}\n")
    words = ["--cohort", str(cohort_path), "--storage", str(tmp_path / "runs"), "--name", "x", "--trials", "2"]
    assert main(["sweep", f"{tmp_path / 'mine.py'}:mine", *words, "--dry-run"]) == 2
    shown = capfd.readouterr()
    (line,) = [line for line in shown.err.splitlines() if line.startswith("error: ")]
    assert says in line
    assert "Warning" not in shown.err
    assert not (tmp_path / "runs").exists()


def test_a_space_that_ends_the_process_for_some_proposals_is_searched(
    cohort_path: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.py").write_text(f"{HEAD}    if rate > 5e-4: raise SystemExit(3)\n    return config(lr_d=rate)\n")
    words = ["--cohort", str(cohort_path), "--storage", str(tmp_path / "runs"), "--name", "x", "--trials", "2"]
    assert main(["sweep", f"{tmp_path / 'mine.py'}:mine", *words, "--dry-run"]) == 0
    assert "SystemExit: 3" in capfd.readouterr().out


def test_choices_that_a_study_stores_pass() -> None:
    def space(trial: Any) -> TrialConfig:
        trial.suggest_categorical("x", [None, True, 1, 0.5, "text"])
        return TrialConfig(n_critic=trial.suggest_int("n", 1, 3))

    check_parameters(SpaceParameters(of(space)), where="space mine")


@pytest.mark.parametrize(
    ("first", "says"),
    [
        ({"n": 9}, "first_trials: n = 9 is not in the space; choose one from 1 to 3"),
        ({"n": "two"}, "first_trials: n = 'two' is not in the space"),
        ({"n": 2, "kind": "c"}, "first_trials: kind = 'c' is not in the space; choose one of a, b"),
        ({"N": 2}, "first_trials: unknown parameter 'N'; did you mean n? known: kind, n, of_b"),
        ({"kind": "a", "of_b": 3.0}, "first_trials: of_b = 3.0 is not in the space; choose one from 0 to 1"),
    ],
)
def test_a_first_trial_outside_of_the_space_is_refused(first: dict[str, Any], says: str) -> None:
    experiment = of(_branching, first_trials=({"n": 1}, first))
    with pytest.raises(ConfigError) as told:
        check_first_trials(experiment, SpaceParameters(experiment))
    assert says in str(told.value)


def test_a_first_trial_of_a_rare_branch_passes() -> None:
    def rare(trial: Any) -> TrialConfig:
        if trial.suggest_int("n", 1, 10_000) == 7:
            trial.suggest_float("only_then", 0.0, 1.0)
        return TrialConfig()

    experiment = of(rare, first_trials=({"n": 7, "only_then": 0.5},))
    check_first_trials(experiment, SpaceParameters(experiment))


def _branching(trial: Any) -> TrialConfig:
    if trial.suggest_categorical("kind", ["a", "b"]) == "b":
        trial.suggest_float("of_b", 0.0, 1.0)
    return TrialConfig(n_critic=trial.suggest_int("n", 1, 3))


def test_a_parameter_is_guessed_once() -> None:
    with pytest.raises(ConfigError, match="n_critic is given twice, as n too"):
        guessed_parameters(of(_branching), [{"n": 1, "n_critic": 2}])


def test_a_guess_of_a_space_that_raises_anything_is_judged() -> None:
    def space(trial: Any) -> TrialConfig:
        if random.Random(trial.suggest_int("n", 1, 4)).random() > 2:
            raise KeyError("never")
        if trial.suggest_float("x", 0.0, 1.0) > 0.5:
            raise KeyError(trial.params["n"])
        return TrialConfig()

    assert guessed_parameters(of(space), [{"n": 2}]) == [{"n": 2}]


@pytest.mark.parametrize(
    ("names", "says"),
    [
        ([], "objectives: there is no objective"),
        (["fid", "fid"], "objectives: fid is given twice"),
        (["FID"], "objectives: unknown score 'FID'"),
        (["precision"], "objectives: unknown score 'precision'"),
        (["fid", "dice"], "objectives: dice needs masks, and the cohort has none"),
        (["dice_difference"], "objectives: dice_difference needs masks"),
    ],
)
def test_objectives_that_no_trial_reports_are_refused(names: list[str], says: str) -> None:
    objectives = [Objective(name=name, direction="minimize") for name in names]
    with pytest.raises(ConfigError) as told:
        check_objectives(objectives, SPEC)
    assert says in str(told.value)


def test_objectives_that_trials_report_pass() -> None:
    names = ("fid_matched", "accuracy_difference", "log_loss", "auroc")
    check_objectives([Objective(name=name, direction="maximize") for name in names], SPEC)


@pytest.mark.parametrize(("name", "value", "limits"), [("accuracy", 90, "0 to 1"), ("fid", -5, "0 or more")])
def test_a_target_that_no_score_can_have_is_refused(name: str, value: float, limits: str) -> None:
    with pytest.raises(ConfigError, match=f"--target: {name} = {value} is out of its range, {limits}"):
        check_values({name: value}, where="--target")
    check_values({"accuracy": 0.9, "fid": 0.0, "kid": -0.1, "accuracy_difference": -0.5}, where="--target")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--seed", "99999999999999999999"], "'--seed': Input should be less than or equal to 2147483647"),
        (["--time-budget", ""], "--time-budget: '' is not a time above zero"),
        (["--storage", ""], "storage = '': is empty"),
        (["--start-from", " "], "start_from = ' ': is empty"),
        (["--target", "accuracy"], "--target: 'accuracy' is not KEY=VALUE; for example --target lr_d=2e-4"),
        (["--target", "accuracy=90"], "--target: accuracy = 90 is out of its range, 0 to 1"),
    ],
)
def test_options_that_mean_nothing_are_refused(
    words: list[str], says: str, cohort_path: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    given = ["--cohort", str(cohort_path), "--storage", str(tmp_path), "--name", "x", "--trials", "2", "--dry-run"]
    assert main(["sweep", "smoke", *given, *words]) == 2
    assert says in capfd.readouterr().err
