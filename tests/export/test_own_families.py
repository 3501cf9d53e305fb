"""An export and a training of a family that only the user's own file knows."""

import json
import shutil
from pathlib import Path

import pytest

from gansweep.cli import main
from gansweep.export import production

SPACE = """
from dataclasses import replace
from gansweep.config import TrialConfig
from gansweep.experiment import Experiment
from trainables import GANS, TRAINABLES

def space():
    trainables = replace(TRAINABLES, gans={**GANS, "mine": GANS["dcgan"]})
    return Experiment(name="mine", space=lambda _: TrialConfig(family="mine"), trainables=trainables)
"""


@pytest.fixture
def space(tmp_path: Path) -> str:
    (tmp_path / "my space.py").write_text(SPACE)
    return f"{tmp_path / 'my space.py'}:space"


@pytest.fixture
def of_mine(exported: Path, tmp_path: Path) -> Path:
    """The export as it would be had the sweep's family been the user's own."""
    folder = shutil.copytree(exported, tmp_path / "best")
    record = json.loads((folder / "generator.json").read_text())
    record["config"]["family"] = "mine"
    (folder / "generator.json").write_text(json.dumps(record))
    config = (folder / "config.yaml").read_text()
    (folder / "config.yaml").write_text(config.replace("family: dcgan", "family: mine"))
    return folder


def test_generate_takes_the_users_space(
    of_mine: Path, space: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = ["generate", str(of_mine), "--n=2", f"--out={tmp_path / 'images'}", "--format=npy"]
    assert main(words) == 2
    assert "family: unknown family 'mine'" in capfd.readouterr().err
    assert main([*words, f"--space={space}"]) == 0
    assert "2 images in " in capfd.readouterr().out


@pytest.mark.parametrize("needs", [[], ["images"]])
def test_train_takes_the_users_space_and_passes_it_on(
    needs: list[str],
    of_mine: Path,
    space: str,
    cohort: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    out = shutil.copytree(of_mine, tmp_path / "out")
    record = json.loads((out / "generator.json").read_text())
    (out / "generator.json").write_text(json.dumps(record | {"needs": needs}))
    monkeypatch.setattr(production, "_begin", lambda *_: True)
    words = ["train", str(of_mine / "config.yaml"), f"--cohort={cohort}", f"--out={out}"]
    assert main(words) == 2
    assert "family: unknown family 'mine'" in capfd.readouterr().err
    assert main([*words, f"--space={space}"]) == 0
    real = f" --cohort {cohort}" if needs else ""
    assert capfd.readouterr().out.endswith(f"--out synthetic{real} --space '{space}'\n")
