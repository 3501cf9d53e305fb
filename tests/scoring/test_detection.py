"""Detectors: they learn what can be learned, and arms differ in nothing but the synthetic images."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from gansweep.contracts import ImageSet, ImageSpec
from gansweep.scoring.metrics.answers import Predictions, mean_over_trainings
from gansweep.scoring.metrics.registry import METRICS, metrics_of
from gansweep.scoring.networks.augmentation import augmented
from gansweep.scoring.networks.detection import Batches, Recipe, fraction_of_ratio, predict, train_detector
from gansweep.seeds import stream
from tests.scoring.discs import SIZE, disc_set
from trainables.downstream.detectors import DenseNetDetector, SmallCnn

CPU = torch.device("cpu")
SPEC = ImageSpec(SIZE, 1, ("negative", "positive"))
RECIPE = Recipe(lambda: SmallCnn(SPEC), 2, steps=45, batch=16)


def accuracy(real: ImageSet, synthetic: ImageSet | None = None, share: float = 0.0) -> float:
    test = disc_set(100, 77)
    detector = train_detector(RECIPE, real, synthetic, share, 0, CPU)
    said = predict([detector], test.images, CPU).numpy()
    return mean_over_trainings(METRICS["accuracy"].compute, Predictions(said, test.labels.numpy(), test.patients, 1))


def test_an_easy_task_is_learned_from_real_or_from_good_synthetic_images() -> None:
    assert accuracy(disc_set(60, 0)) > 0.9
    assert accuracy(disc_set(60, 0), disc_set(60, 5), share=1.0) > 0.9


def test_shuffled_labels_teach_nothing() -> None:
    real = disc_set(60, 0)
    order = torch.randperm(60, generator=torch.Generator().manual_seed(0))
    assert 0.3 < accuracy(replace(real, labels=real.labels[order])) < 0.7


class Forgetful(SmallCnn):
    """Draws random numbers of its own in training."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return super().forward(torch.nn.functional.dropout(images, 0.3, self.training))


@pytest.mark.parametrize("kind", [SmallCnn, Forgetful])
def test_training_repeats_itself_and_touches_no_other_random_numbers(kind: type[SmallCnn]) -> None:
    real, recipe = disc_set(40, 0), replace(RECIPE, build=lambda: kind(SPEC), steps=5)
    found = []
    for seed in (3, 3, 4):
        torch.rand(3)  # other users of torch's own random numbers
        state = torch.random.get_rng_state()
        found.append(train_detector(recipe, real, None, 0.0, seed, CPU).state_dict())
        assert torch.equal(torch.random.get_rng_state(), state)
    one, two, other = found
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not torch.equal(one["head.weight"], other["head.weight"])


def test_batches_and_augmentation_do_not_share_their_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor do two seeds: the image that stands in a place says nothing of how it is turned."""
    drawn = set()

    def spied(seed: int, purpose: str) -> torch.Generator:
        generator = stream(seed, purpose)
        drawn.add(generator.initial_seed())
        return generator

    monkeypatch.setattr("gansweep.scoring.networks.arm_batches.stream", spied)
    for seed in range(4):
        train_detector(replace(RECIPE, steps=1), disc_set(40, 0), None, 0.0, seed, CPU)
    assert len(drawn) == 12


def marked(n: int, mark: float, labels: torch.Tensor | None = None) -> ImageSet:
    """Images whose pixels say which set and which row they come from."""
    rows = torch.arange(n)[:, None, None, None] / 1000 + mark
    return ImageSet(rows.expand(n, 1, 2, 2), torch.arange(n) % 2 if labels is None else labels)


def test_batches_are_balanced_and_share_their_real_images_between_arms() -> None:
    scarce = torch.tensor([0] * 27 + [1] * 3)
    real, synthetic = marked(30, 0.0, scarce), marked(30, 5.0)
    recipe = replace(RECIPE, batch=12)
    alone, mixed = Batches(recipe, real, None, 0.0, 1), Batches(recipe, real, synthetic, fraction_of_ratio(0.5), 1)
    for step in range(5):
        (of_alone, labels_alone), (of_mixed, labels_mixed) = alone[step], mixed[step]
        made = of_mixed[:, 0, 0, 0] >= 5
        assert made.tolist() == [False] * 8 + [True] * 4  # half a synthetic image per real one
        assert torch.equal(of_alone[:8], of_mixed[:8])
        for labels in (labels_alone, labels_mixed):
            assert torch.bincount(labels).tolist() == [6, 6]


@pytest.mark.parametrize("mean", [0.25, 0.5, 0.75, 1.0])
@pytest.mark.parametrize("use", ["mixed", "pretrained", "annealed"])
def test_every_use_of_synthetic_images_costs_the_same(use: str, mean: float) -> None:
    """As many updates, and as many synthetic images among them."""
    recipe = replace(RECIPE, steps=40, batch=12, use=use)
    batches = Batches(recipe, marked(30, 0.0), marked(30, 5.0), mean, 1)
    made = torch.tensor([float((batches[step][0][:, 0, 0, 0] >= 5).double().mean()) for step in range(40)])
    assert made.mean() == pytest.approx(mean, abs=0.02)
    if use == "mixed":
        assert made.unique().tolist() == [mean]
    if use == "pretrained":
        assert made.tolist() == [1.0] * round(40 * mean) + [0.0] * (40 - round(40 * mean))
    if use == "annealed":
        assert made[0] == min(1.0, 2 * mean)
        assert made[-1] == max(0.0, 2 * mean - 1)
        assert (made.diff() <= 0).all()


def test_a_detector_forgets_less_of_what_it_sees_last() -> None:
    """Wrong samples first and real images afterwards: pretrained on, they harm less than mixed in."""
    wrong = disc_set(60, 5)
    wrong = replace(wrong, labels=1 - wrong.labels)
    found = {}
    for use in ("mixed", "pretrained"):
        recipe, test = replace(RECIPE, steps=60, use=use), disc_set(60, 77)
        detector = train_detector(recipe, disc_set(60, 0), wrong, 0.5, 0, CPU)
        found[use] = (predict([detector], test.images, CPU)[0].argmax(1) == test.labels).double().mean()
    assert found["pretrained"] > found["mixed"] + 0.1


def test_unbalanced_batches_keep_the_proportions() -> None:
    scarce = torch.tensor([0] * 45 + [1] * 5)
    batches = Batches(replace(RECIPE, batch=100, balanced=False), marked(50, 0.0, scarce), None, 0.0, 0)
    share = torch.cat([batches[step][1] for step in range(20)]).double().mean()
    assert share == pytest.approx(0.1, abs=0.02)


def test_a_class_without_samples_is_filled_with_real_images() -> None:
    synthetic = marked(30, 5.0, torch.zeros(30, dtype=torch.int64))
    images, labels = Batches(replace(RECIPE, batch=12), marked(30, 0.0), synthetic, 1.0, 0)[0]
    made = images[:, 0, 0, 0] >= 5
    assert torch.equal(made, labels == 0)
    assert torch.bincount(labels).tolist() == [6, 6]
    none = marked(0, 5.0)  # a filter may leave no sample at all
    images, labels = Batches(replace(RECIPE, batch=12), marked(30, 0.0), none, 1.0, 0)[0]
    assert images.max() < 5
    assert torch.bincount(labels).tolist() == [6, 6]


def test_probabilities_that_are_none_have_no_score() -> None:
    """Of NaN an argmax still names a class."""
    probabilities = torch.full((2, 6, 2), 0.5)
    probabilities[1, 3] = torch.nan
    said = Predictions(probabilities.numpy(), np.arange(6) % 2, list("abcdef"), 1)
    assert all(math.isnan(mean_over_trainings(metric.compute, said)) for metric in metrics_of("answers").values())


def test_shares_of_ratios() -> None:
    assert [fraction_of_ratio(ratio) for ratio in (0.0, 0.5, 1.0, 3.0)] == pytest.approx([0, 1 / 3, 1 / 2, 3 / 4])


def test_augmentation_moves_pixels_and_keeps_intensities() -> None:
    images = torch.full((64, 1, SIZE, SIZE), 0.3)
    assert torch.allclose(augmented(images, torch.Generator().manual_seed(0)), images, atol=1e-6)
    spot = torch.zeros(200, 1, SIZE, SIZE)
    spot[:, :, 8:11, 15:18] = 1
    moved = augmented(spot, torch.Generator().manual_seed(0))
    axis = torch.arange(SIZE) + 0.5
    height = (moved.sum((1, 3)) * axis).sum(1) / moved.sum((1, 2, 3))
    assert height.std() > 0.5
    assert (height - 9.5).abs().max() < 0.1 * SIZE + 4  # 10 % shift, and what rotation and zoom add at this place
    gradient = torch.linspace(-1, 1, SIZE).expand(300, 1, SIZE, SIZE)
    flipped = augmented(gradient, torch.Generator().manual_seed(1))[:, 0, SIZE // 2].diff(dim=1).mean(1) < 0
    assert flipped.double().mean() == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize("kind", [SmallCnn, DenseNetDetector])
def test_detectors_give_one_logit_per_class(kind: type[torch.nn.Module]) -> None:
    detector = kind(ImageSpec(64, 3, ("a", "b", "c"))).eval()
    assert detector(torch.zeros(2, 3, 64, 64)).shape == (2, 3)
