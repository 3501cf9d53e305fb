"""What is wrong with a sweep is told before a cluster is started and a store is created."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch

from gansweep.cohort.dataset import Cohort
from gansweep.config import TrialConfig
from gansweep.errors import ConfigError, StoreError
from gansweep.search import sweep as module
from gansweep.search.cluster import Footprint
from gansweep.search.prechecks import config_checker
from gansweep.search.searcher import StudySearcher
from gansweep.search.spaces import load_space
from gansweep.search.trial import TrialResult
from gansweep.store.store import Store
from tests.values import sweep_options
from trainables import TRAINABLES

SPACE = Path(__file__).with_name("tiny_space.py")


class StartedError(Exception):
    """Nothing was found wrong."""


@contextmanager
def _no_cluster() -> Iterator[None]:
    raise StartedError
    yield


@pytest.fixture(autouse=True)
def _sweep_ends_where_it_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ray_cluster", _no_cluster)


@pytest.mark.parametrize(
    ("settings", "workers", "says"),
    [
        ({"iterations": 2}, 1, "iterations = 2 is less than the 3 reports a trial makes"),
        ({"batch_size": 10}, 4, "batch_size = 10 is not divisible by 4 workers; choose a multiple of 4"),
        ({"scoring.detector": "resnet"}, 1, "scoring.detector: unknown detector 'resnet'"),
        ({"scoring.features": "nowhere.pt"}, 1, "nowhere.pt"),
        ({"scoring.features": str(SPACE)}, 1, "tiny_space.py"),
        ({"scheduler.kind": "asha", "scheduler.metric": "fad"}, 1, "scheduler.metric = 'fad' is no objective"),
        ({"family": "unheard_of"}, 1, "unheard_of"),
    ],
)
def test_a_mistake_is_told_before_anything_starts(
    settings: dict[str, Any], workers: int, says: str, cohort_path: Path, tmp_path: Path
) -> None:
    experiment = load_space(f"{SPACE}:tiny").with_settings(settings)
    with pytest.raises(ConfigError) as told:
        module.sweep(
            experiment,
            sweep_options(cohort=cohort_path, storage=str(tmp_path / "runs"), workers_per_trial=workers),
        )
    assert says in str(told.value)
    assert not (tmp_path / "runs").exists()


class PerImage(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean((1, 2, 3))


def test_an_extractor_is_tried_before_anything_starts(cohort_path: Path, tmp_path: Path) -> None:
    torch.jit.save(torch.jit.script(PerImage()), tmp_path / "net.pt")
    experiment = load_space(f"{SPACE}:tiny").with_settings({"scoring.features": str(tmp_path / "net.pt")})
    with pytest.raises(ConfigError, match=r"extractor net:.*gives shape \(2,\) for 2 images; it must return one"):
        module.sweep(experiment, sweep_options(cohort=cohort_path, storage=str(tmp_path / "runs")))
    assert not (tmp_path / "runs").exists()


def test_a_generator_of_one_class_needs_two_images_of_it_to_be_compared_with(cohort_path: Path) -> None:
    """Its first report raised, after the training."""
    cohort = Cohort.open(cohort_path)
    ill = cohort.manifest["label"] == cohort.info.positive_class
    of_val = cohort.manifest[ill & (cohort.manifest["split"] == "val")]
    few = Cohort(cohort.path, cohort.info, cohort.manifest.drop(of_val.index[1:]))
    painter = TrialConfig(family="lesion_painter", conditioning="none", batch_size=4, iterations=2)
    config_checker(TRAINABLES, cohort, workers=1, reports=1)(painter)
    check = config_checker(TRAINABLES, few, workers=1, reports=1)
    check(TrialConfig(batch_size=4, iterations=2))
    said = (
        r"^family lesion_painter: makes images of fahr alone, of which the val split has 1; a distance needs at least"
    )
    with pytest.raises(ConfigError, match=said):
        check(painter)


def test_a_sound_experiment_passes(cohort_path: Path, tmp_path: Path) -> None:
    with pytest.raises(StartedError):
        module.sweep(load_space(f"{SPACE}:tiny"), sweep_options(cohort=cohort_path, storage=str(tmp_path)))


def test_a_space_that_makes_some_proposals_that_cannot_be_trained_passes(cohort_path: Path, tmp_path: Path) -> None:
    """Also where the first trials are among them: the search sets them aside."""

    def space(trial: Any) -> TrialConfig:
        return TrialConfig(batch_size=trial.suggest_categorical("batch", [33, *range(10, 48, 2)]), iterations=9)

    experiment = load_space(f"{SPACE}:tiny").model_copy(update={"space": space, "first_trials": ({"batch": 33},)})
    options = sweep_options(cohort=cohort_path, storage=str(tmp_path), workers_per_trial=2)
    with pytest.raises(StartedError):
        module.sweep(experiment, options)
    with pytest.raises(ConfigError, match="--try: batch = 11 is not in the space"):
        module.sweep(experiment, options.model_copy(update={"tries": ({"batch": 11},)}))


def test_a_space_that_raises_is_told_with_its_name_before_anything_starts(cohort_path: Path, tmp_path: Path) -> None:
    experiment = load_space(f"{SPACE}:tiny").model_copy(update={"space": lambda trial: trial.nothing()})
    with pytest.raises(ConfigError, match=rf"space mine.py:mine \({__file__}, line \d+\): AttributeError: "):
        module.sweep(experiment, sweep_options(cohort=cohort_path, storage=str(tmp_path)), space="mine.py:mine")


@pytest.fixture
def swept(cohort_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Store]:
    """Runs a sweep of two trials with this in the place of Ray's part."""
    monkeypatch.setattr(module, "ray_cluster", nullcontext)
    monkeypatch.setattr(module, "grown", lambda *_: [{"CPU": 2.0}])
    experiment = load_space(f"{SPACE}:tiny")

    def sweep(search: Callable[[StudySearcher], None], **options: Any) -> Store:
        monkeypatch.setattr(module._Search, "run", lambda _, searcher, *__: search(searcher))
        given = sweep_options(cohort=cohort_path, storage=str(tmp_path), trials=2, **options)
        return module.sweep(experiment, given)

    return sweep


def _one_trial(searcher: StudySearcher) -> None:
    searcher.suggest("a")
    result = TrialResult("diverged", "the critic died", None, {}, 0, 0.0, Footprint())
    searcher.on_trial_complete("a", {"result": result})


def test_a_sweep_that_another_process_runs_is_left_alone(swept: Callable[..., Store]) -> None:
    def search(searcher: StudySearcher) -> None:
        with pytest.raises(StoreError, match="is at work on this sweep"):
            swept(_one_trial, resume=True)
        for _ in range(2):
            _one_trial(searcher)

    swept(search)
    swept(search, resume=True)


def test_a_search_that_ends_between_two_trials_was_interrupted(swept: Callable[..., Store]) -> None:
    """Tune returns from Ctrl-C as it does from a finished search, and no trial need be under way then."""
    with pytest.raises(KeyboardInterrupt):
        swept(lambda _: None)
    with pytest.raises(KeyboardInterrupt):
        swept(_one_trial, resume=True)
    store = swept(_one_trial, resume=True)
    assert store.latest_trials()["status"].tolist() == ["diverged", "diverged"]


def test_a_driver_that_is_interrupted_outside_of_tune_tells_its_rows(
    swept: Callable[..., Store], tmp_path: Path
) -> None:
    def interrupted(searcher: StudySearcher) -> None:
        searcher.suggest("a")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        swept(interrupted)
    store = Store.open(str(tmp_path / "s"))
    assert store.trials()["status"].tolist() == ["interrupted"]
    assert [trial.state.name for trial in store.load_study().trials[:1]] == ["WAITING"]


def test_a_rule_ends_a_sweep_and_a_later_call_goes_on(
    swept: Callable[..., Store], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "gansweep")

    def search(searcher: StudySearcher) -> None:
        _one_trial(searcher)
        assert searcher.suggest("b") == StudySearcher.FINISHED

    store = swept(search, patience=1)
    assert store.latest_trials()["status"].tolist() == ["diverged"]
    said = "1 of 2 trials, and the sweep ends: 1 trials in a row have not improved the front; --resume goes on"
    assert said in caplog.messages
    assert len(swept(_one_trial, resume=True).latest_trials()) == 2
