"""Detectors and segmenters of several seeds trained together are those trained one by one."""

from __future__ import annotations

import logging
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import torch

from gansweep.scoring.networks.augmentation import AUGMENTATIONS
from gansweep.scoring.networks.detection import Recipe, predict, train_detectors
from gansweep.scoring.networks.segmentation import predicted_masks, train_segmenters
from gansweep.testing.images import shapes
from gansweep.testing.pretended_gpu.device import CPU, GPU, PretendedGpu
from trainables.downstream.detectors import SmallCnn
from trainables.downstream.segmenters import DruNet, UNet

if TYPE_CHECKING:
    from torch import Tensor, nn

REAL, SPEC = shapes(count=24, size=32)
SYNTHETIC, _ = shapes(count=16, size=32, seed=1)
RECIPE = Recipe(partial(SmallCnn, SPEC), 2, steps=8, batch=10)
SEEDS = (3, 5, 8)
TOLERANCE = 1e-3
"""Of probabilities, as `train_detectors` promises; a fault is a hundred times that after eight updates."""


def said(recipe: Recipe, device: torch.device, *, together: bool) -> Tensor:
    detectors = train_detectors(recipe, REAL, SYNTHETIC, 0.4, SEEDS, device, together=together)
    return predict(detectors, REAL.images, device)


@pytest.mark.parametrize("augmentation", [*AUGMENTATIONS, None])
def test_detectors_trained_together_are_those_trained_one_by_one(augmentation: str | None) -> None:
    recipe = replace(RECIPE, augmentation=augmentation)
    alone = said(recipe, CPU, together=False)
    together = said(recipe, CPU, together=True)
    assert float((together - alone).abs().max()) < TOLERANCE
    assert float((alone[0] - alone[1]).abs().max()) > 10 * TOLERANCE, "other seeds are other detectors"


class Normalised(SmallCnn):
    """Keeps running statistics, as MONAI's DenseNet does."""

    def __init__(self) -> None:
        super().__init__(SPEC)
        self.norm = torch.nn.BatchNorm2d(SPEC.channels)

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(self.norm(images))


def test_detectors_with_running_statistics_are_trained_together_too() -> None:
    recipe = replace(RECIPE, build=Normalised, steps=4)
    ways = [train_detectors(recipe, REAL, None, 0.0, SEEDS, CPU, together=one) for one in (False, True)]
    for alone, together in zip(*ways, strict=True):
        assert int(together.norm.num_batches_tracked) == 4
        torch.testing.assert_close(together.norm.running_mean, alone.norm.running_mean)
    one, other = (predict(detectors, REAL.images, CPU) for detectors in ways)
    assert float((one - other).abs().max()) < TOLERANCE


class Forgetful(SmallCnn):
    """Draws random numbers of its own in training."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(torch.nn.functional.dropout(images, 0.3, self.training))


def test_detectors_that_draw_random_numbers_are_trained_one_by_one(caplog: pytest.LogCaptureFixture) -> None:
    recipe = replace(RECIPE, build=partial(Forgetful, SPEC), steps=2)
    alone = said(recipe, CPU, together=False)
    with caplog.at_level(logging.INFO, "gansweep"):
        assert torch.equal(said(recipe, CPU, together=True), alone)
    assert "one by one" in caplog.text


@pytest.mark.parametrize("network", [UNet, DruNet])
def test_segmenters_trained_together_are_those_trained_one_by_one(network: type[nn.Module]) -> None:
    recipe = replace(RECIPE, build=partial(network, SPEC), steps=3)
    ways: list[list[nn.Module]] = [
        train_segmenters(recipe, REAL, SYNTHETIC, 0.4, (3, 5), CPU, together=one) for one in (False, True)
    ]
    for alone, together in zip(*ways, strict=True):
        with torch.no_grad():
            torch.testing.assert_close(together(REAL.images), alone(REAL.images), atol=1e-2, rtol=0)
        agreed = predicted_masks(together, REAL, CPU) == predicted_masks(alone, REAL, CPU)
        assert agreed.float().mean() > 0.99


class Replaces(SmallCnn):
    """A buffer in whose place there is a new tensor after each update."""

    def __init__(self) -> None:
        super().__init__(SPEC)
        self.register_buffer("seen", torch.zeros(()))
        self.seen: Tensor

    def forward(self, images: Tensor) -> Tensor:
        self.seen = self.seen + 1
        return super().forward(images)


def test_detectors_that_replace_a_buffer_are_trained_one_by_one() -> None:
    detectors = train_detectors(replace(RECIPE, build=Replaces), REAL, None, 0.0, SEEDS, CPU, together=True)
    assert [float(detector.seen) for detector in detectors] == [RECIPE.steps] * len(SEEDS)


def on_gpu(steps: int, seeds: tuple[int, ...] = SEEDS, **changes: Any) -> tuple[Tensor, int, int]:
    """Probabilities, and the round trips and kernels of the training."""
    recipe = replace(RECIPE, steps=steps, **changes)
    with PretendedGpu() as gpu:
        detectors = train_detectors(recipe, REAL, SYNTHETIC, 0.4, seeds, GPU)
        trips = gpu.round_trips().total()
        kernels = (gpu.kernels + gpu.replayed).total()
        return predict(detectors, REAL.images, GPU), trips, kernels


@pytest.mark.parametrize("augmentation", ["classical", "mixup", "cutmix"])
def test_on_a_gpu_they_are_trained_together_without_a_round_trip_an_update(augmentation: str) -> None:
    found, trips, _ = on_gpu(8, augmentation=augmentation)
    alone = said(replace(RECIPE, augmentation=augmentation), CPU, together=False)
    assert float((found - alone).abs().max()) < TOLERANCE
    assert trips == on_gpu(5, augmentation=augmentation)[1], "an update waits for the host"


def test_on_a_gpu_an_update_of_three_seeds_has_as_many_kernels_as_one_of_two() -> None:
    updates = [on_gpu(6, seeds)[2] - on_gpu(3, seeds)[2] for seeds in (SEEDS, SEEDS[:2])]
    assert updates[0] == updates[1] > 0


def test_images_that_do_not_fit_are_gathered_on_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gansweep.scoring.networks.arm_batches.has_room", lambda *_: False)
    found, trips, _ = on_gpu(4)
    assert float((found - said(replace(RECIPE, steps=4), CPU, together=False)).abs().max()) < TOLERANCE
    assert trips >= on_gpu(3)[1] + 1, "each batch is copied"
