"""Scores of image-to-image families: right answers, the baseline's, and fusion's."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
import torch

from gansweep.config import DataView, ScoringSettings, TrialConfig
from gansweep.contracts import Condition, ImageSet, ImageSpec, PairedTask, Trainables
from gansweep.scoring.metrics.paired import ms_gmsd
from gansweep.scoring.trial import TrialScorer, paired_scores
from gansweep.testing.images import shapes
from trainables.downstream.detectors import SmallCnn

if TYPE_CHECKING:
    from pathlib import Path

if TYPE_CHECKING:
    from pathlib import Path

SOURCES, TARGET, OTHER = (
    torch.rand(6, 1, 32, 32, generator=torch.Generator().manual_seed(seed)) * 1.8 - 0.9 for seed in range(3)
)
LABELS = torch.zeros(6, dtype=torch.int64)


def test_an_answer_off_by_a_known_error_has_its_psnr_and_stands_beside_the_baseline():
    task = PairedTask(SOURCES, (TARGET,), SOURCES)
    scores = paired_scores(lambda _c, _s: TARGET + 0.02, task, LABELS)
    assert scores["psnr"] == pytest.approx(40.0, abs=1e-3)
    assert scores["ssim"] > 0.99
    assert scores["ssim_baseline"] < 0.2
    assert scores["psnr_baseline"] < 10
    assert scores["spatial_frequency"] == pytest.approx(
        paired_scores(lambda _c, _s: TARGET, task, LABELS)["spatial_frequency"]
    )
    assert "scd" not in scores
    assert scores["ms_gmsd"] < 0.01 < scores["ms_gmsd_baseline"]  # the same edges, and others


def test_the_sampler_is_given_the_sources_and_labels():
    def copying(condition: Condition, _seed: int) -> torch.Tensor:
        assert torch.equal(condition.labels, LABELS)
        return condition.sources

    scores = paired_scores(copying, PairedTask(SOURCES, (TARGET,), SOURCES), LABELS)
    for name in ("psnr", "ssim", "spatial_frequency"):
        assert scores[name] == scores[f"{name}_baseline"]


def test_fusion_is_held_against_both_sources():
    task = PairedTask(torch.cat([TARGET, OTHER], 1), (TARGET, OTHER), torch.maximum(TARGET, OTHER))
    total = paired_scores(lambda c, _s: c.sources.sum(1, keepdim=True), task, LABELS)
    assert total["scd"] == pytest.approx(2.0)  # the sum minus one is the other
    one = paired_scores(lambda _c, _s: TARGET, task, LABELS)
    assert one["ssim"] == pytest.approx(0.5, abs=0.1)  # all of one, nothing of the other
    assert "psnr" not in one
    assert one["ms_gmsd"] == pytest.approx(float(ms_gmsd(OTHER, TARGET).mean()) / 2)


def test_what_has_no_finite_mean_is_left_out():
    scores = paired_scores(lambda _c, _s: TARGET, PairedTask(SOURCES, (TARGET,), SOURCES), LABELS)
    assert "psnr" not in scores
    assert scores["ssim"] == pytest.approx(1.0)


def test_masks_drawn_beside_the_image_do_not_count():
    task = PairedTask(SOURCES, (TARGET,), SOURCES)
    plain = paired_scores(lambda _c, _s: OTHER, task, LABELS)
    assert paired_scores(lambda _c, _s: torch.cat([OTHER, TARGET], 1), task, LABELS) == plain


class PairedShapes:
    """A cohort of shapes, with their negatives as pairs."""

    info = SimpleNamespace(positive_class="square")
    content_hash = "shapes"

    def spec(self, _view: DataView | None = None) -> ImageSpec:
        return shapes(2)[1]

    def load(self, split: str, _view: DataView | None = None) -> ImageSet:
        return shapes(16, seed=len(split))[0]


class Negative:
    """A family that is asked for the negative."""

    @classmethod
    def paired_task(cls, _config: TrialConfig, data: ImageSet) -> PairedTask:
        return PairedTask(data.paired, (data.images,), data.paired)


def test_a_trial_of_a_translator_is_scored_on_validation_pairs(tmp_path: Path) -> None:
    fast = ScoringSettings(samples=32, encoder_steps=5, detector_steps=5, detector_batch=8, detector_seeds=1)
    trainables = Trainables(gans={"negative": Negative, "plain": object}, detectors={"small_cnn": SmallCnn})
    scorer = TrialScorer(PairedShapes(), fast, trainables, tmp_path, torch.device("cpu"))

    def sampler(condition: Condition, seed: int) -> torch.Tensor:
        noise = torch.randn(len(condition.labels), 1, 32, 32, generator=torch.Generator().manual_seed(seed))
        return (noise if condition.sources is None else -condition.sources + 0.02 * noise).clamp(-1, 1)

    scores = scorer.score(sampler, TrialConfig(family="negative"))
    assert scores["psnr"] == pytest.approx(40.0, abs=0.5)
    assert scores["psnr_baseline"] < 10
    assert "fid" in scores
    assert "psnr" not in scorer.score(sampler, TrialConfig(family="plain"))
