"""Scores of a trial: planted truths, the cache, determinism, and what is refused."""

from __future__ import annotations

import shutil
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import torch
from torch.nn import functional

from gansweep.config import ScoringSettings, TrialConfig
from gansweep.contracts import Condition, ImageSpec, Trainables
from gansweep.errors import CohortError, ConfigError, Diverged
from gansweep.scoring.metrics.registry import METRICS
from gansweep.scoring.trial import TrialScorer
from tests.scoring.discs import SIZE, DiscCohort, noise, oracle
from trainables.downstream.detectors import SmallCnn

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gansweep.scoring.metrics.registry import Metric

FAST = ScoringSettings(samples=64, encoder_steps=25, detector_steps=40, detector_batch=16, detector_seeds=2)
TRAINABLES = Trainables(detectors={"small_cnn": SmallCnn})
CPU = torch.device("cpu")


def scorer(cache: Path, cohort: DiscCohort | None = None, settings: ScoringSettings = FAST) -> TrialScorer:
    return TrialScorer(cohort or DiscCohort(), settings, TRAINABLES, cache, CPU)


@pytest.fixture(scope="module")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache with everything that `of_oracle` needs."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def of_oracle(warm: Path) -> dict[str, float]:
    """Scores of true draws, with an empty cache at first."""
    return scorer(warm).score(oracle, TrialConfig())


def test_true_draws_score_like_the_floor_and_noise_does_not(warm: Path, of_oracle: dict[str, float]) -> None:
    good, bad = of_oracle, scorer(warm).score(noise, TrialConfig())
    assert good["fid_matched"] < 3 * good["fid_floor"]
    assert bad["fid"] > 20 * good["fid"]
    assert bad["kid"] > 20 * abs(good["kid"])
    assert good["lesion_fidelity"] > 0.8
    assert 0.3 < bad["lesion_fidelity"] < 0.7


def test_every_difference_is_the_difference(of_oracle: dict[str, float]) -> None:
    for name in ("accuracy", "sensitivity", "specificity", "auroc"):
        assert of_oracle[f"{name}_difference"] == of_oracle[name] - of_oracle[f"{name}_real_only"]


def test_without_synthetic_images_the_arm_is_the_real_only_one(warm: Path) -> None:
    scores = scorer(warm).score(noise, TrialConfig(synthetic_ratio=0.0))
    assert all(scores[f"{name}_difference"] == 0 for name in ("accuracy", "sensitivity", "specificity", "auroc"))


def test_the_same_trial_scores_the_same_and_another_seed_does_not(warm: Path, of_oracle: dict[str, float]) -> None:
    judge, config = scorer(warm), TrialConfig()
    fifth = judge.score(oracle, config, 5)
    assert fifth == judge.score(oracle, config, 5)
    assert fifth["fid"] != of_oracle["fid"], "another iteration"
    assert fifth["fid"] != judge.score(oracle, config.derive({"seed": 1}), 5)["fid"]


def test_floors_are_computed_once(warm: Path, of_oracle: dict[str, float], monkeypatch: pytest.MonkeyPatch) -> None:
    computed: Counter[str] = Counter()

    def counted(name: str, metric: Metric) -> Metric:
        def compute(*arguments: torch.Tensor) -> float:
            computed[name] += 1
            return metric.compute(*arguments)

        return replace(metric, compute=compute)

    metrics = {name: counted(name, metric) for name, metric in METRICS.items()}
    monkeypatch.setattr("gansweep.scoring.metrics.registry.METRICS", metrics)
    judge = scorer(warm)
    assert judge.score(oracle, TrialConfig()) == of_oracle
    first = computed.copy()
    assert judge.score(oracle, TrialConfig()) == of_oracle
    assert {name: 2 * first[name] - computed[name] for name in ("fid", "kid")} == {"fid": 1, "kid": 1}


def test_a_second_scorer_trains_nothing(
    warm: Path, of_oracle: dict[str, float], caplog: pytest.LogCaptureFixture
) -> None:
    before = {path: path.stat().st_mtime_ns for path in warm.glob("*.pt")}
    assert {path.name.split("-")[0] for path in before} == {"encoder", "features", "baseline"}
    with caplog.at_level("INFO"):
        again = scorer(warm).score(oracle, TrialConfig())
    assert not caplog.records
    assert {path: path.stat().st_mtime_ns for path in warm.glob("*.pt")} == before
    assert again == of_oracle


class Own(torch.nn.Module):
    """A detector of the user's."""

    def __init__(self, spec: ImageSpec) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(spec.channels, len(spec.classes))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.layer(images.square().mean((2, 3)))


def other_features(self: Own, images: torch.Tensor) -> torch.Tensor:
    return self.layer(images.mean((2, 3)))


def dropped_in_training(self: Own, images: torch.Tensor) -> torch.Tensor:
    return self.layer(functional.dropout(images.square(), 0.3, self.training).mean((2, 3)))


def other_classes(self: Own, images: torch.Tensor) -> torch.Tensor:
    return self.layer(images.square().mean((2, 3))).flip(1)


OWN = Trainables(detectors={"small_cnn": Own})


@pytest.fixture(scope="module")
def of_own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache after two scorers with the user's detector, which trained it once."""
    cache = tmp_path_factory.mktemp("own")
    for seed in range(2):
        TrialScorer(DiscCohort(), FAST, OWN, cache, CPU).score(oracle, TrialConfig(), seed)
    assert len(list(cache.glob("baseline-*.pt"))) == 1
    return cache


@pytest.mark.parametrize("forward", [other_features, dropped_in_training, other_classes])
def test_a_detector_that_computes_something_else_is_trained_again(
    of_own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forward: Callable[..., torch.Tensor]
) -> None:
    cache = shutil.copytree(of_own, tmp_path / "cache")
    monkeypatch.setattr(Own, "forward", forward)
    TrialScorer(DiscCohort(), FAST, OWN, cache, CPU).score(oracle, TrialConfig())
    assert len(list(cache.glob("baseline-*.pt"))) == 2


def test_a_cut_file_in_the_cache_is_made_again(warm: Path, of_oracle: dict[str, float], tmp_path: Path) -> None:
    for path in warm.glob("*.pt"):
        (tmp_path / path.name).write_bytes(path.read_bytes()[:100])
    assert scorer(tmp_path).score(oracle, TrialConfig()) == of_oracle


def test_the_filter_shows_the_detector_only_samples_that_carry_their_label(warm: Path) -> None:
    """Samples whose labels are swapped teach the opposite; the filter of detectors that know better drops them all."""

    def swapped(condition: Condition, seed: int) -> torch.Tensor:
        return oracle(replace(condition, labels=1 - condition.labels), seed)

    harmful, filtered = (
        TrialConfig(synthetic_ratio=4.0),
        TrialConfig(synthetic_ratio=4.0, sample_filter="detector_agrees"),
    )
    judge = scorer(warm, settings=FAST.model_copy(update={"detector_steps": 80}))
    harmed = judge.score(swapped, harmful)
    assert harmed["accuracy_difference"] < -0.3
    assert judge.score(swapped, filtered)["accuracy_difference"] > -0.1
    assert harmed["lesion_fidelity"] < 0.2


def test_one_class_gives_distances_and_no_detection(tmp_path: Path) -> None:
    scores = scorer(tmp_path, DiscCohort(classes=("negative",))).score(oracle, TrialConfig())
    assert set(scores) == {"fid", "fid_matched", "fid_floor", "kid", "kid_floor"}


def test_samples_without_a_label_are_compared_and_teach_no_detector(warm: Path) -> None:
    """An unconditional generator draws either class, whatever it is asked for."""

    class Unconditional:
        @classmethod
        def makes(cls, config: TrialConfig, spec: ImageSpec) -> tuple[int, ...]:  # noqa: ARG003
            return ()

    trainables = replace(TRAINABLES, gans={"unconditional": Unconditional})
    judge = TrialScorer(DiscCohort(), FAST, trainables, warm, CPU)
    scores = judge.score(oracle, TrialConfig(family="unconditional", synthetic_ratio=4.0))
    labelled = scorer(warm).score(oracle, TrialConfig(synthetic_ratio=4.0))
    for name in ("accuracy", "sensitivity", "specificity", "auroc"):
        assert scores[name] == scores[f"{name}_real_only"] == labelled[f"{name}_real_only"]
        assert scores[f"{name}_difference"] == 0
    assert "lesion_fidelity" not in scores
    assert scores["fid"] == labelled["fid"]


def test_samples_that_are_not_finite_end_the_trial(warm: Path) -> None:
    with pytest.raises(Diverged, match="not finite"):
        scorer(warm).score(lambda c, _: torch.full((len(c.labels), 1, SIZE, SIZE), torch.nan), TrialConfig())


def test_mask_channels_of_joint_families_are_left_out(warm: Path, of_oracle: dict[str, float]) -> None:
    joint = scorer(warm).score(lambda c, s: torch.cat([oracle(c, s), noise(c, s)], 1), TrialConfig())
    assert joint == of_oracle


def test_an_unknown_detector_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"unknown detector 'large'.*known: small_cnn"):
        scorer(tmp_path, settings=FAST.model_copy(update={"detector": "large"}))


def test_a_split_without_a_class_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CohortError, match="no image of third"):
        scorer(tmp_path, DiscCohort(classes=("a", "b", "third"))).score(oracle, TrialConfig())
