"""The examples run as their files say, on a real Ray, and their numbers come out of the store."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gansweep import Store
from gansweep.config import TrialConfig
from gansweep.search.cluster import ray_cluster
from gansweep.search.spaces import load_space
from gansweep.testing.gan_contract import check_gan, check_resume, check_two_trainings, check_two_workers
from gansweep.testing.gpu_contract import check_on_gpu, check_on_two_gpus, check_stored_images
from gansweep.testing.images import shapes
from trainables import TRAINABLES

if TYPE_CHECKING:
    from types import ModuleType

EXAMPLES = Path(__file__).parents[2] / "examples"


def _module(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def test_the_gan_keeps_the_contract(monkeypatch: pytest.MonkeyPatch) -> None:
    experiment = load_space(f"{EXAMPLES / 'my_space.py'}:my_space")
    data, spec = shapes(count=20, size=16)
    config = TrialConfig(
        family="my_gan", architecture={"width": 4, "latent": 4}, batch_size=8, n_critic=2, iterations=4
    ).derive({"loss.kind": "hinge", "penalty.kind": "none"})
    assert set(experiment.trainables.gans) == {*TRAINABLES.gans, "my_gan"}
    check_gan(config, spec, data, experiment.trainables)
    check_resume(config, spec, data, experiment.trainables)
    # Spawned workers import the GAN by its module's name; Ray's get it by value.
    monkeypatch.syspath_prepend(EXAMPLES)
    check_two_workers([config], spec, data, experiment.trainables)
    check_two_trainings([config], spec, data, experiment.trainables)
    check_on_gpu(config, spec, data, experiment.trainables)
    check_on_two_gpus([config], spec, data, experiment.trainables)
    check_stored_images(config, spec, data, experiment.trainables)


@pytest.mark.ray(shared=True)
@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_whole_sweep_of_a_space_of_ones_own_and_its_results(tmp_path: Path) -> None:
    with ray_cluster():
        made = _module("whole_sweep").whole_sweep(
            tmp_path, space=f"{EXAMPLES / 'my_space.py'}:my_space", set={"family": "my_gan"}, concurrent=1
        )
    assert len(list(made.rglob("*.png"))) == 8
    store = Store.open(str(tmp_path / "runs" / "example"))
    trials = store.trials()
    assert trials["status"].tolist() == ["completed"] * 2
    results = _module("read_results")
    best = results.best_trials(store.uri, 1)
    assert best["trial_id"].tolist() == [trials.sort_values("fid")["trial_id"].iloc[0]]
    families = results.mean_by_family(store.uri)
    assert families["family"].tolist() == ["my_gan"]
    assert families["mean_difference"].iloc[0] == pytest.approx(trials["accuracy_difference"].mean())
