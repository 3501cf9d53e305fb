"""Arms of segmenters: what they share, what they learn from, and what is compared."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import Any

import pytest
import torch

from gansweep.contracts import ImageSet
from gansweep.scoring.arms import BASE, RIVALS
from gansweep.scoring.judged_arms import judge_mask_arms
from gansweep.scoring.mask_arms import MaskArms
from gansweep.scoring.networks.recipe import Recipe
from gansweep.scoring.networks.segmentation import with_lesion

CPU = torch.device("cpu")
SIZE = 16
SYNTHETIC = "real + 1 synthetic"


class Small(torch.nn.Sequential):
    """A segmenter that learns bright squares in a moment."""

    def __init__(self) -> None:
        first = torch.nn.Conv2d(1, 8, 3, padding=1)
        super().__init__(first, torch.nn.ReLU(), torch.nn.Conv2d(8, 1, 3, padding=1))


RECIPE = Recipe(Small, 2, steps=3, batch=8, lr=3e-2)


def pairs(n: int, seed: int) -> ImageSet:
    """Noisy images of as many patients. Every second one has a bright square and its mask."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % 2
    masks = torch.zeros(n, 1, SIZE, SIZE)
    for mask, label in zip(masks, labels, strict=True):
        row, column = torch.randint(3, SIZE - 8, (2,), generator=generator).tolist()
        mask[0, row : row + 5, column : column + 5] = float(label)
    images = (masks - 0.5 + 0.3 * torch.randn(masks.shape, generator=generator)).clamp(-1, 1)
    return ImageSet(images, labels, masks, tuple(map(str, range(n))))


def arms(recipe: Recipe = RECIPE, seeds: tuple[int, ...] = (0, 1), **changes: Any) -> MaskArms:
    return MaskArms(recipe, **{"real": pairs(8, 1), "test": pairs(12, 2), "seeds": seeds, "device": CPU, **changes})


def test_arms_have_the_names_of_the_detectors_and_a_dice_of_each_image_with_a_lesion() -> None:
    test = pairs(12, 2)
    found = arms().real_arms() | arms().synthetic_arms(pairs(8, 3), (0.25, 1.0))
    assert list(found) == [BASE, "real, not augmented", "real + 0.25 synthetic", SYNTHETIC, "synthetic only"]
    assert {tuple(values.shape) for values in found.values()} == {(2, 1, int(with_lesion(test).sum()))}
    rivals = arms().rival_arms(tuple(RIVALS), positive=1, images=8)
    assert list(rivals) == [RIVALS[name] for name in ("cutmix", "elastic", "intensity", "paste", "blend")]
    assert not arms(real=replace(pairs(8, 1), labels=torch.ones(8, dtype=torch.int64))).rival_arms(("paste",), 1, 8)


def test_the_base_is_bitwise_the_same_whatever_else_is_trained() -> None:
    recipe = replace(RECIPE, steps=20)
    one = arms(recipe)
    whole = one.real_arms() | one.synthetic_arms(pairs(8, 3), (1.0,)) | one.rival_arms(("cutmix",), 1, 8)
    again = arms(recipe).real_arms()
    assert whole[BASE].min() > 0
    assert torch.equal(whole[BASE], again[BASE])
    assert torch.equal(whole[BASE][1:], arms(recipe, seeds=(1,)).real_arms()[BASE])
    others = [values for name, values in whole.items() if name != BASE]
    assert not any(torch.equal(whole[BASE], values) for values in others)


def test_every_arm_makes_the_same_updates_on_as_many_images() -> None:
    seen: list[int] = []

    class Counting(Small):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            if self.training:
                seen.append(len(images))
            found: torch.Tensor = super().forward(images)
            return found

    one = arms(replace(RECIPE, build=Counting), seeds=(0,))
    for trained in (
        one.real_arms,
        lambda: one.synthetic_arms(pairs(8, 3), (0.25,)),
        lambda: one.rival_arms(tuple(RIVALS), 1, 8),
    ):
        seen.clear()
        count = len(trained())
        assert seen == [RECIPE.batch] * RECIPE.steps * count


def test_true_pairs_do_no_harm_and_wrong_masks_do() -> None:
    recipe = replace(RECIPE, steps=60)
    test = pairs(24, 2)
    true = pairs(60, 3)
    assert true.masks is not None
    wrong = replace(true, masks=1 - true.masks)
    trainings: dict[str, list[dict[str, torch.Tensor]]] = {"truth": [], "wrong": []}
    for seed in range(3):
        one = arms(recipe, (seed,), test=test)
        base = one.real_arms()
        for kind, samples in (("truth", true), ("wrong", wrong)):
            trainings[kind].append(base | one.synthetic_arms(samples, (3.0,)))
    judged = judge_mask_arms(trainings, {"truth": test, "wrong": test})
    truth, harm = (judged[kind].comparisons["real + 3 synthetic"]["dice"] for kind in ("truth", "wrong"))
    assert truth.verdict in {"helps", "no evidence"}
    assert truth.difference > -0.02
    assert harm.verdict == "harms"
    assert judged["wrong"].arms["synthetic only"]["dice"][0] < 0.1
    assert (harm.patients, harm.trainings) == (12, 3)
    arms_of_truth = judged["truth"].arms
    assert truth.difference == pytest.approx(
        arms_of_truth["real + 3 synthetic"]["dice"][0] - arms_of_truth[BASE]["dice"][0]
    )
    json.dumps({kind: asdict(found) for kind, found in judged.items()}, allow_nan=False)


def dice(*values: float) -> torch.Tensor:
    """Of one segmenter, for one image of each of as many patients."""
    return torch.tensor(values)[None, None]


def test_pairs_help_only_if_they_beat_the_best_rival_too() -> None:
    test = ImageSet(torch.zeros(9, 1, 8, 8), torch.arange(9) % 2, torch.zeros(9, 1, 8, 8), tuple("abcdefghi"))
    assert test.masks is not None
    test.masks[1:] = 1  # the first patient has no lesion
    generator = torch.Generator().manual_seed(0)

    def arm(mean: float) -> torch.Tensor:
        return (mean + 0.01 * torch.randn(1, 1, 8, generator=generator)).float()

    def judged(rival: float) -> Any:
        runs = [{BASE: arm(0.5), SYNTHETIC: arm(0.6), RIVALS["elastic"]: arm(rival)} for _ in range(3)]
        return judge_mask_arms({"one": runs}, {"one": test})["one"]

    weak, strong = judged(0.52), judged(0.6)
    assert weak.comparisons[SYNTHETIC]["dice"].verdict == "helps"
    assert strong.comparisons[SYNTHETIC]["dice"].verdict == "no evidence"
    assert strong.comparisons[SYNTHETIC]["dice"].difference == pytest.approx(0.1, abs=0.02)
    assert (strong.best_rival, strong.comparisons[SYNTHETIC]["dice"].patients) == ({"dice": RIVALS["elastic"]}, 8)


def test_a_segmenter_that_broke_is_absent_with_the_reason() -> None:
    test = replace(pairs(4, 2), patients=tuple("abcd"))
    runs = [{BASE: dice(0.5, 0.6), SYNTHETIC: dice(0.5, torch.nan)} for _ in range(3)]
    judged = judge_mask_arms({"one": runs}, {"one": test})["one"]
    assert judged.arms[SYNTHETIC] == {}
    assert judged.comparisons[SYNTHETIC] == {}
    assert judged.absent[SYNTHETIC] == {"dice": "its segmenters give masks that are not finite"}
