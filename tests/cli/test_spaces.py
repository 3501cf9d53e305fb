"""`trainables SPACE` and `settings`: what can be searched and set, as it is."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from gansweep.cli import main
from gansweep.cli.options import parse_settings
from gansweep.search.spaces import load_space

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

SPACE = """
from gansweep.experiment import Experiment, TrialConfig
from trainables import TRAINABLES

def suggest(trial):
    width = trial.suggest_int("width", 8, 64, log=True)
    if trial.suggest_categorical("kind", ["r1", "none"]) == "r1":
        trial.suggest_float("lambda", 0.1, 10.0, log=True)
    trial.suggest_float("rate", 0.0, 1.0, step=0.25)
    return TrialConfig(architecture={"width": width})

def mine():
    return Experiment(name="mine", space=suggest, trainables=TRAINABLES, first_trials=({"width": 16, "kind": "r1"},))
"""


def document(capfd: pytest.CaptureFixture[str], *words: str) -> Any:
    assert main([*words, "--json"]) == 0
    return json.loads(capfd.readouterr().out)


def test_a_spaces_parameters_have_their_ranges(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.py").write_text(SPACE)
    found = document(capfd, "trainables", f"{tmp_path / 'mine.py'}:mine")["parameters"]
    by_name = {item["name"]: item for item in found}
    assert [item["name"] for item in found[:3]] == ["width", "kind", "rate"]
    assert by_name["width"]["values"] == "8 to 64, logarithmic"
    assert by_name["width"]["first"] == 16
    assert by_name["kind"]["values"] == "r1, none"
    assert by_name["rate"]["values"] == "0 to 1, in steps of 0.25"
    assert by_name["lambda"]["values"] == "0.1 to 10, logarithmic"
    assert 0.4 < by_name["lambda"]["present"] < 0.6
    assert by_name["width"]["present"] == 1.0


def test_an_unknown_space_is_one_line(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["trainables", "fahr"]) == 2
    assert "unknown search space 'fahr'; did you mean fahr_ct?" in capfd.readouterr().err


def test_every_listed_key_can_be_set_to_its_default(capfd: pytest.CaptureFixture[str]) -> None:
    found = document(capfd, "settings", "--family=dcgan")
    keys = [item["key"] for item in found]
    assert len(keys) == len(set(keys))
    experiment = load_space("smoke")
    for item in found:
        experiment.with_settings(parse_settings([f"{item['key']}={item['default']}"]))
    assert {"lr_d", "penalty.lambda", "architecture.width", "scoring.samples", "scheduler.kind", "reports"} <= set(keys)
    assert all(item["meaning"] for item in found), [item["key"] for item in found if not item["meaning"]]


def test_values_that_are_listed_are_the_registries(capfd: pytest.CaptureFixture[str]) -> None:
    from trainables import TRAINABLES

    allowed = {item["key"]: item["allowed"] for item in document(capfd, "settings")}
    assert allowed["loss.kind"] == ", ".join(sorted(TRAINABLES.losses))
    assert allowed["lr_d"] == "number > 0 and <= 1"
    assert allowed["penalty.norm"] == "l1, l2, linf"
    assert allowed["loss.clip"] == "number, null > 0"


def test_a_family_that_there_is_not_is_one_line(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["settings", "--family=dcgam"]) == 2
    assert "--family: unknown family 'dcgam'; did you mean dcgan?" in capfd.readouterr().err


def test_completion_is_offered(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    assert "--install-completion" in capfd.readouterr().out


def test_what_is_fixed_and_what_changes_from_trial_to_trial() -> None:
    from gansweep.config import TrialConfig
    from gansweep.search.space_listing import space_parameters

    def space(trial: Any) -> TrialConfig:
        deep = trial.suggest_categorical("deep", [True, False])
        width = trial.suggest_int("width", 8, 16 if deep else 32, step=8)
        return TrialConfig(architecture={"width": width}, lr_d=trial.suggest_float("rate", 1e-4, 1e-2))

    experiment = load_space("smoke").model_copy(update={"space": space})
    found = {item.name: item.values for item in space_parameters(experiment)}
    ranges = sorted(found.pop("width").split(" or "))
    assert ranges == ["8 to 16, in steps of 8", "8 to 32, in steps of 8"]
    assert found == {"deep": "True, False", "rate": "0.0001 to 0.01"}
    fixed = space_parameters(experiment.with_settings({"lr_d": 1e-3}))
    assert [item.name for item in fixed] == ["deep", "width"], "lr_d fixes what sets it, whatever its name"


def test_a_space_that_always_raises_is_one_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.py").write_text(SPACE.replace("width = trial", "width = trail"))
    assert main(["trainables", f"{tmp_path / 'mine.py'}:mine"]) == 2
    said = capfd.readouterr().err
    assert said.startswith("error: space mine (")
    assert "line 6): NameError: name 'trail' is not defined" in said
