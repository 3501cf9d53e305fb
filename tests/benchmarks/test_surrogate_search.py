"""Searches on a surrogate, with a small function in place of the published network."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from optuna.distributions import FloatDistribution, IntDistribution

from benchmarks import surrogate_search
from benchmarks.surrogate_search import Surrogate, compared_on, distributions_of, methods, opened

if TYPE_CHECKING:
    from pathlib import Path

LISTED = [
    {"name": "OpenML_task_id", "type": "categorical", "choices": ["3945"]},
    {"name": "epoch", "type": "uniform_int", "lower": 1, "upper": 52, "log": False},
    {"name": "batch_size", "type": "uniform_int", "lower": 16, "upper": 512, "log": True},
    {"name": "learning_rate", "type": "uniform_float", "lower": 1e-4, "upper": 0.1, "log": True},
    {"name": "momentum", "type": "uniform_float", "lower": 0.1, "upper": 0.99, "log": False},
    {"name": "weight_decay", "type": "uniform_float", "lower": 1e-5, "upper": 0.1, "log": False},
    {"name": "num_layers", "type": "uniform_int", "lower": 1, "upper": 5, "log": False},
    {"name": "max_units", "type": "uniform_int", "lower": 64, "upper": 1024, "log": True},
    {"name": "max_dropout", "type": "uniform_float", "lower": 0.0, "upper": 1.0, "log": False},
]


class Bowl:
    """Best at a learning rate of 0.01 and a dropout of 0.3. A training takes a second an epoch."""

    def run(self, _names: Any, inputs: dict[str, Any]) -> list[Any]:
        assert (inputs["x_cat"] == 7).all()
        epoch, rate, dropout = inputs["x_cont"][:, [0, 2, 7]].T
        away = np.hypot(np.log10(rate) + 2.0, dropout - 0.3)
        accuracy = (90.0 - 30.0 * away) * (1.0 - 0.3 / epoch)
        return [np.stack([epoch, accuracy, 100.0 - accuracy], axis=1)]


def test_the_space_is_that_of_the_file_without_task_and_epoch() -> None:
    found = distributions_of(LISTED)
    assert len(found) == 7
    assert found["batch_size"] == IntDistribution(16, 512, log=True)
    assert found["weight_decay"] == FloatDistribution(1e-5, 0.1)


def test_a_training_reports_its_curve() -> None:
    params = {"batch_size": 32, "learning_rate": 0.01, "momentum": 0.5, "weight_decay": 0.01}
    curve = Surrogate(Bowl(), 7, {}).curve({**params, "num_layers": 2, "max_units": 64, "max_dropout": 0.3})
    assert curve.seconds.tolist() == [6, 12, 17, 23, 29, 35, 40, 46, 52]
    assert curve.scores[-1].tolist() == pytest.approx([100 - 90 * (1 - 0.3 / 52), 90 * (1 - 0.3 / 52)], rel=1e-5)
    assert (np.diff(curve.scores[:, 1]) > 0).all()


def test_a_model_and_early_stopping_cost_less_than_random_search() -> None:
    surrogate = Surrogate(Bowl(), 7, distributions_of(LISTED))
    chosen = [methods()["random, asha-any"], methods()["tpe, asha-any"]]
    found = compared_on(surrogate, chosen, seeds=5, trainings=20)
    assert list(found) == ["random, none", "random, asha-any", "tpe, asha-any"]
    median = {name: float(np.median(one.best)) for name, one in found.items()}
    assert median["random, asha-any"] < 0.7 * median["random, none"]
    assert median["tpe, asha-any"] < 0.7 * median["random, none"]


def test_a_folder_without_the_model_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SystemExit) as told:
        opened(tmp_path)
    assert str(told.value) == (
        f"{tmp_path} has no model.onnx, config_space.json, encoding.json; give the folder lcbench of YAHPO Gym's data"
    )
    for name in ("model.onnx", "config_space.json", "encoding.json"):
        (tmp_path / name).touch()
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(SystemExit, match="needs the package onnxruntime"):
        opened(tmp_path)


def test_an_unknown_task_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surrogate_search, "opened", lambda _folder: {"3945": None})
    monkeypatch.setattr(sys, "argv", ["surrogate_search.py", "--model", str(tmp_path), "--tasks", "1"])
    with pytest.raises(SystemExit, match="no such task: 1; there are 3945"):
        surrogate_search.main()
