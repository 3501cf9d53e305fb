"""Segmenters in arms of equal compute, and families that make one class only or draw masks."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import pytest
import torch

from gansweep.config import ScoringSettings, TrialConfig
from gansweep.contracts import Condition, ImageSet, ImageSpec, Trainables
from gansweep.errors import CohortError, ConfigError
from gansweep.scoring.networks.detection import Recipe
from gansweep.scoring.networks.segmentation import predicted_masks, train_segmenter, with_lesion
from gansweep.scoring.reference import mask_scores
from gansweep.scoring.trial import TrialScorer
from tests.scoring.discs import SIZE, DiscCohort, disc_set, oracle
from trainables.downstream.detectors import SmallCnn
from trainables.downstream.segmenters import UNet

if TYPE_CHECKING:
    from pathlib import Path

    from gansweep.config import DataView

CPU = torch.device("cpu")
SPEC = ImageSpec(SIZE, 1, ("negative", "positive"), mask_channels=1)
RECIPE = Recipe(partial(UNet, SPEC, width=8), 2, steps=60, batch=12)
FAST = ScoringSettings(
    samples=64, encoder_steps=10, detector_steps=10, detector_batch=12, detector_seeds=1, segmenter_steps=20
)


def spots(images: torch.Tensor) -> torch.Tensor:
    """A mask of what is brighter than the discs are (their brightness -0.1, noise 0.1)."""
    return (torch.nn.functional.avg_pool2d(images, 3, 1, 1, count_include_pad=False) > 0.25).float()


def pairs(n: int, seed: int) -> ImageSet:
    found = disc_set(n, seed)
    return replace(found, masks=spots(found.images) * found.labels[:, None, None, None])


@dataclass
class MaskedCohort(DiscCohort):
    def spec(self, view: DataView | None = None) -> ImageSpec:
        return replace(super().spec(view), mask_channels=1)

    def load(self, split: str, view: DataView | None = None) -> ImageSet:
        found = super().load(split, view)
        return replace(found, masks=spots(found.images) * found.labels[:, None, None, None])


class PositivesOnly:
    @classmethod
    def makes(cls, config: TrialConfig, spec: ImageSpec) -> tuple[int, ...]:  # noqa: ARG003
        return (1,)


def joint(condition: Condition, seed: int) -> torch.Tensor:
    images = oracle(condition, seed)
    return torch.cat([images, 2 * spots(images) * condition.labels[:, None, None, None] - 1], 1)


def scorer(cache: Path, settings: ScoringSettings = FAST, gans: dict[str, object] | None = None) -> TrialScorer:
    own = Trainables(gans=gans or {}, detectors={"small_cnn": SmallCnn}, segmenters={"unet": partial(UNet, width=8)})
    return TrialScorer(MaskedCohort(), settings, own, cache, CPU)


def test_segmenters_learn_from_true_pairs_real_or_not_and_not_from_masks_elsewhere() -> None:
    few, held_out = pairs(8, 1), pairs(80, 2)
    many = pairs(120, 3)
    assert many.masks is not None
    wrong = replace(many, masks=many.masks.flip(-1).flip(-2))
    alone, helped, misled = (
        mask_scores([train_segmenter(RECIPE, few, synthetic, share, 0, CPU)], held_out, CPU).mean()
        for synthetic, share in ((None, 0.0), (many, 0.75), (wrong, 1.0))
    )
    assert alone > 0.6
    assert helped > 0.6
    assert misled < 0.1


def test_the_same_seed_trains_the_same_segmenter_and_arms_share_their_real_images() -> None:
    few = pairs(8, 1)
    short = replace(RECIPE, steps=3)
    one, two, other = (train_segmenter(short, few, None, 0.0, seed, CPU) for seed in (0, 0, 1))
    unmixed = train_segmenter(short, few, pairs(8, 2), 0.0, 0, CPU)
    weights = [torch.cat([p.flatten() for p in s.parameters()]) for s in (one, two, other, unmixed)]
    assert torch.equal(weights[0], weights[1])
    assert torch.equal(weights[0], weights[3])
    assert not torch.equal(weights[0], weights[2])


def test_a_segmenter_that_draws_random_numbers_repeats_itself_and_touches_no_others() -> None:
    recipe = replace(RECIPE, build=lambda: torch.nn.Sequential(torch.nn.Dropout(0.3), UNet(SPEC, width=8)), steps=3)
    found = []
    for _ in range(2):
        torch.rand(3)  # other users of torch's own random numbers
        state = torch.random.get_rng_state()
        trained = train_segmenter(recipe, pairs(8, 1), None, 0.0, 0, CPU)
        assert torch.equal(torch.random.get_rng_state(), state)
        found.append(torch.cat([p.flatten() for p in trained.parameters()]))
    assert torch.equal(*found)


def test_dice_is_taken_on_images_with_a_lesion() -> None:
    found = pairs(10, 1)
    assert with_lesion(found).tolist() == [bool(label) for label in found.labels]

    class Knows(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return spots(images) - 0.5

    assert mask_scores([Knows(), Knows()], found, CPU).shape == (2, 1, 5)
    assert mask_scores([Knows()], found, CPU).min() == 1.0
    assert torch.equal(predicted_masks(Knows(), found, CPU, batch=3), predicted_masks(Knows(), found, CPU))
    with pytest.raises(CohortError, match="no held-out image has a lesion mask"):
        mask_scores([Knows()], replace(found, masks=torch.zeros_like(found.images)), CPU)
    with pytest.raises(CohortError, match="without lesion masks cannot be segmented"):
        mask_scores([Knows()], replace(found, masks=None), CPU)


def test_a_segmenter_that_gives_nan_has_no_dice() -> None:
    class Broken(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return torch.full_like(images, torch.nan)

    assert mask_scores([Broken()], pairs(10, 1), CPU).isnan().all()


def test_a_family_that_draws_masks_is_scored_by_them(tmp_path: Path) -> None:
    scores = scorer(tmp_path).score(joint, TrialConfig())
    assert scores["dice_difference"] == scores["dice"] - scores["dice_real_only"]
    assert 0.0 <= scores["dice_real_only"] <= 1.0
    again = scorer(tmp_path).score(joint, TrialConfig())
    assert again == scores  # the second time from the cache
    equal = scorer(tmp_path).score(joint, TrialConfig(synthetic_ratio=0.0))
    assert equal["dice_difference"] == 0.0
    assert "dice" not in scorer(tmp_path).score(oracle, TrialConfig())
    off = FAST.model_copy(update={"segmenter_steps": 0})
    assert "dice" not in scorer(tmp_path, off).score(joint, TrialConfig())
    with pytest.raises(ConfigError, match=r"unknown segmenter 'mine'.*known: unet"):
        scorer(tmp_path, FAST.model_copy(update={"segmenter": "mine"})).score(joint, TrialConfig())


def test_real_only_segmenters_are_looked_up_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    judge = scorer(tmp_path)
    first = judge.score(joint, TrialConfig())
    monkeypatch.setattr("gansweep.scoring.reference._network", None)  # would build an untrained segmenter
    assert judge.score(joint, TrialConfig()) == first


def test_a_family_is_asked_only_for_the_classes_it_makes(tmp_path: Path) -> None:
    asked = []

    def sampler(condition: Condition, seed: int) -> torch.Tensor:
        asked.append(condition.labels)
        return oracle(condition, seed)

    config = TrialConfig(family="painter")
    some = scorer(tmp_path, gans={"painter": PositivesOnly}).score(sampler, config)
    assert torch.cat(asked).unique().tolist() == [1]
    everything = scorer(tmp_path).score(oracle, config)
    # Compared with real images of that class alone, a true draw of it is no further off than a true draw of all.
    assert some["fid"] < 2 * everything["fid"]
    assert some["fid_floor"] != everything["fid_floor"]
    assert 0.0 <= some["lesion_fidelity"] <= 1.0
    assert some["accuracy_real_only"] == everything["accuracy_real_only"]
