"""Arms judged together: each against its own base, the claims corrected for each other."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from functools import partial
from typing import Any

import pytest
import torch

from gansweep.contracts import Condition, ImageSet
from gansweep.scoring.arms import (
    BASE,
    PASTED,
    RIVALS,
    arm_names,
    pasted_lesions,
    real_arms,
    rival_arms,
    run_arms,
    synthetic_arms,
)
from gansweep.scoring.judged_arms import COMPARED, JudgedArms, judge_arms
from gansweep.scoring.networks.detection import Recipe
from tests.scoring.discs import DiscCohort, disc_set, oracle
from trainables.downstream.detectors import SmallCnn

CPU = torch.device("cpu")


def said(right: float, trainings: int, seed: int, n: int = 60) -> list[dict[str, torch.Tensor]]:
    """Arms whose detectors are right about this share of n images, labelled 0 and 1 in turn."""
    generator = torch.Generator().manual_seed(seed)

    def arm(share: float) -> torch.Tensor:
        hits = torch.rand(1, n, generator=generator) < share
        called = torch.where(hits, torch.arange(n) % 2, 1 - torch.arange(n) % 2)
        return torch.nn.functional.one_hot(called, 2) * 0.8 + 0.1

    return [{BASE: arm(right), "real + 1 synthetic": arm(right), "synthetic only": arm(0.5)} for _ in range(trainings)]


def test_a_better_view_of_the_images_is_no_gain_from_synthetic_ones() -> None:
    """Two leaders, one of which sees its images better, with and without samples."""
    test = ImageSet(torch.zeros(60, 1, 8, 8), torch.arange(60) % 2, None, tuple(map(str, range(60))))
    judged = judge_arms({"poor": said(0.65, 4, 0), "good": said(0.98, 3, 1)}, test, 1)
    assert (judged["poor"].trainings, judged["good"].trainings) == (4, 3)
    for kind in judged.values():
        assert kind.comparisons["real + 1 synthetic"]["accuracy"].verdict == "no evidence"
        for name, by_metric in kind.comparisons.items():
            for metric in COMPARED:
                gain = kind.arms[name][metric][0] - kind.arms[BASE][metric][0]
                assert by_metric[metric].difference == pytest.approx(gain)
    assert judged["good"].comparisons["synthetic only"]["accuracy"].verdict == "harms"


@pytest.mark.parametrize("undefined", [BASE, "real + 1 synthetic"])
def test_what_an_arm_does_not_define_is_absent_with_the_reason_and_the_rest_is_there(undefined: str) -> None:
    """One training's detectors of one arm went to NaN; of NaN an argmax still names a class."""
    test = ImageSet(torch.zeros(60, 1, 8, 8), torch.arange(60) % 2, None, tuple(map(str, range(60))))
    runs, others = said(0.8, 3, 0), said(0.8, 3, 1)
    runs[1][undefined] = torch.full_like(runs[1][undefined], torch.nan)
    judged = judge_arms({"broken": runs, "whole": others}, test, 1)
    reason = "its detectors give probabilities that are not finite"
    broken, compared = judged["broken"], {"real + 1 synthetic", "synthetic only"}
    lost = compared if undefined == BASE else {undefined}
    assert broken.arms[undefined] == {}
    assert broken.absent[undefined] == dict.fromkeys(COMPARED, reason)
    for name in compared:
        assert set(broken.comparisons[name]) == (set() if name in lost else set(COMPARED))
        assert set(broken.absent[name]) == (set(COMPARED) if name in lost else set())
    if undefined == BASE:
        assert set(broken.absent["synthetic only"].values()) == {f"real: {reason}"}
        assert set(broken.arms["synthetic only"]) == set(COMPARED)
    assert set(judged["whole"].comparisons["synthetic only"]) == set(COMPARED)
    assert not any(judged["whole"].absent.values())
    json.dumps({kind: asdict(arms) for kind, arms in judged.items()}, allow_nan=False)


def test_the_parts_of_a_comparison_are_the_whole() -> None:
    """Real arms can be computed once for several generators."""
    cohort = DiscCohort()
    recipe = Recipe(partial(SmallCnn, cohort.spec()), 2, 6, 8)
    real, test = cohort.load("train"), disc_set(10, 3).images
    labels = torch.arange(16) % 2
    samples = ImageSet(oracle(Condition(labels), 0), labels)
    options = {"seeds": [0, 1], "device": CPU}
    whole = run_arms(recipe, real, samples, test, ratios=(0.5,), **options)
    parts = real_arms(recipe, real, test, **options)
    parts |= synthetic_arms(recipe, real, samples, test, ratios=(0.5,), **options)
    assert tuple(whole) == tuple(parts) == arm_names((0.5,))
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    assert whole[BASE].shape == (2, 10, 2)
    assert not torch.equal(whole[BASE], whole["real + 0.5 synthetic"])


def test_synthetic_images_help_only_if_they_beat_the_best_rival_too() -> None:
    n = 200
    test = ImageSet(torch.zeros(n, 1, 8, 8), torch.arange(n) % 2, None, tuple(map(str, range(n))))
    better = [
        run | {"real + 1 synthetic": other[BASE]}
        for run, other in zip(said(0.6, 4, 0, n), said(0.9, 4, 1, n), strict=True)
    ]
    alone = judge_arms({"one": better}, test, 1)["one"]
    assert alone.comparisons["real + 1 synthetic"]["accuracy"].verdict == "helps"
    assert alone.best_rival == {}
    assert alone.over_rival["real + 1 synthetic"] == {}

    def rivalled(right: float) -> JudgedArms:
        rival = [run[BASE] for run in said(right, 4, 2, n)]
        runs = [run | {RIVALS["mixup"]: other} for run, other in zip(better, rival, strict=True)]
        return judge_arms({"one": runs}, test, 1)["one"]

    weak = rivalled(0.6)
    assert weak.comparisons["real + 1 synthetic"]["accuracy"].verdict == "helps"
    assert weak.over_rival["real + 1 synthetic"]["accuracy"].verdict == "helps"
    assert weak.rivals[RIVALS["mixup"]]["accuracy"].verdict == "no evidence"

    strong = rivalled(0.9)
    claim = strong.comparisons["real + 1 synthetic"]["accuracy"]
    assert claim.verdict == "no evidence", "MixUp gives as much"
    assert (claim.difference, claim.p) == pytest.approx(
        (alone.comparisons["real + 1 synthetic"]["accuracy"].difference, 0.0), abs=1e-3
    )
    assert strong.best_rival["accuracy"] == RIVALS["mixup"]
    assert strong.rivals[RIVALS["mixup"]]["accuracy"].verdict == "helps"
    assert RIVALS["mixup"] not in strong.comparisons


def test_the_best_of_several_rivals_is_the_one_to_beat() -> None:
    n = 200
    test = ImageSet(torch.zeros(n, 1, 8, 8), torch.arange(n) % 2, None, tuple(map(str, range(n))))
    runs = said(0.7, 3, 0, n)
    for name, right in (("mixup", 0.6), ("cutmix", 0.9), ("elastic", 0.8)):
        rival = [run[BASE] for run in said(right, 3, int(100 * right), n)]
        runs = [run | {RIVALS[name]: other} for run, other in zip(runs, rival, strict=True)]
    judged = judge_arms({"one": runs}, test, 1)["one"]
    assert judged.best_rival["accuracy"] == RIVALS["cutmix"]
    expected = judged.arms["real + 1 synthetic"]["accuracy"][0] - judged.arms[RIVALS["cutmix"]]["accuracy"][0]
    assert judged.over_rival["real + 1 synthetic"]["accuracy"].difference == pytest.approx(expected)
    json.dumps(asdict(judged), allow_nan=False)


def test_rivals_are_trained_like_the_base_and_those_that_cannot_be_had_are_left_out() -> None:
    real = disc_set(24, 0)
    spec = DiscCohort().spec()
    recipe = Recipe(partial(SmallCnn, spec), 2, steps=3, batch=8)
    options: dict[str, Any] = {"images": 16, "positive": 1, "seeds": [0, 1], "device": CPU}
    test = disc_set(10, 9).images
    found = rival_arms(recipe, real, test, rivals=tuple(RIVALS), **options)
    assert list(found) == [RIVALS[name] for name in ("mixup", "cutmix", "elastic", "intensity")], "there are no masks"
    assert all(said.shape == (2, 10, 2) for said in found.values())
    masked = replace(real, masks=((real.images > -0.1) & (real.labels == 1)[:, None, None, None]).float())
    found = rival_arms(replace(recipe, augmentation="mixup"), masked, test, rivals=tuple(RIVALS), **options)
    names = ("cutmix", "elastic", "intensity", "paste", "blend")
    assert list(found) == [RIVALS[name] for name in names], "the base itself has MixUp"
    base = real_arms(recipe, real, test, seeds=[0, 1], device=CPU)[BASE]
    assert not any(torch.equal(base, said) for said in found.values())
    for rival in RIVALS:
        pasted = pasted_lesions(rival, masked, 1, images=16, seed=0)
        assert (pasted is not None) == (rival in PASTED)
        assert pasted is None or len(pasted.images) == 16
