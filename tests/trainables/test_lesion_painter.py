"""The painter leaves the rest alone, paints what it is asked for, and draws masks like those of training lesions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from gansweep.cohort.phantom.scans import draw_phantom
from gansweep.config import TrialConfig
from gansweep.contracts import Condition, ImageSet, ImageSpec
from gansweep.errors import ConfigError
from gansweep.training.build import build_gan, check_config
from gansweep.training.loop import train
from gansweep.training.reporters import MemoryReporter
from gansweep.training.sampling import make_sampler
from trainables import TRAINABLES
from trainables.conditioning.mask_model import MaskModel, displace, head_interior
from trainables.gans import lesion_painter
from trainables.gans.lesion_painter import LesionPainter, lesion_windows
from trainables.layers.painter import soft_neighbourhood

SIZE = 32
SPEC = ImageSpec(SIZE, 1, ("control", "fahr"), mask_channels=1, positive=1)
CPU = torch.device("cpu")
CONFIG = TrialConfig().derive(
    {
        "family": "lesion_painter",
        "conditioning": "none",
        "architecture": {"noise": 1, "width": 8, "depth": 2, "critic_width": 8},
        "loss.kind": "hinge",
        "penalty.kind": "r1",
        "penalty.lambda": 1.0,
        "n_critic": 1,
        "lr_g": 1e-3,
        "batch_size": 8,
        "iterations": 8,
        "ema_half_life": 0.0,
    }
)


def heads(count: int, seed: int) -> ImageSet:
    """Phantom slices in a brain window; every second one has calcified basal ganglia."""
    rng = np.random.default_rng(seed)
    drawn = [draw_phantom(rng, bool(index % 2), 64) for index in range(count)]
    hu = torch.tensor(np.stack([image for image, _ in drawn]))[:, None]
    masks = torch.tensor(np.stack([mask for _, mask in drawn]))[:, None].float()
    images = functional.avg_pool2d(hu.clamp(-20.0, 120.0), 2) / 70.0 - 5.0 / 7.0
    return ImageSet(images.clamp(-1.0, 1.0), torch.arange(count) % 2, (functional.avg_pool2d(masks, 2) > 0.25).float())


DATA = heads(48, seed=0)
SICK, WELL = DATA.labels == 1, DATA.labels == 0


@pytest.fixture(scope="module")
def painter() -> LesionPainter:
    gan = build_gan(CONFIG, SPEC, TRAINABLES)
    train(CONFIG, gan, DATA, MemoryReporter(), lambda *_: {}, reports=1, device=CPU)
    assert isinstance(gan, LesionPainter)
    return gan


def two_sided(masks: torch.Tensor) -> float:
    left = masks[..., : SIZE // 2].sum((1, 2, 3)) / masks.sum((1, 2, 3))
    return float(((left > 0.1) & (left < 0.9)).double().mean())


def painted(gan: LesionPainter, seed: int = 0) -> tuple[Condition, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    condition = gan.condition(torch.ones(32, dtype=torch.int64), DATA, generator)
    with torch.no_grad():
        return condition, gan.sample(32, condition, generator)


def test_pixels_outside_the_neighbourhood_are_the_sources_own(painter: LesionPainter) -> None:
    condition, images = painted(painter)
    assert condition.sources is not None
    assert condition.masks is not None
    far = soft_neighbourhood(condition.masks, painter.painter.reach) == 0
    assert far.double().mean() > 0.7
    assert torch.equal(images[:, :1][far], condition.sources[far])
    inside = condition.masks > 0
    assert (images[:, :1][inside] != condition.sources[inside]).double().mean() > 0.9
    assert torch.equal(images[:, 1:] > 0, inside)


def test_sources_are_training_controls(painter: LesionPainter) -> None:
    condition, _ = painted(painter)
    controls = {image.numpy().tobytes() for image in DATA.images[WELL]}
    assert condition.sources is not None
    assert all(source.numpy().tobytes() in controls for source in condition.sources)


def test_of_many_lesions_the_model_of_masks_keeps_some_of_all_places(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[torch.Tensor] = []

    class Model(MaskModel):
        def __init__(self, images: torch.Tensor, masks: torch.Tensor, rows: torch.Tensor) -> None:
            kept.append(rows)
            super().__init__(images, masks, rows)

    monkeypatch.setattr(lesion_painter, "MaskModel", Model)
    marked = (SICK & DATA.masks.flatten(1).any(1)).nonzero().squeeze(1)  # type: ignore[union-attr]
    for most, expected in ((5, marked[[0, (len(marked) - 1) // 4, (len(marked) - 1) // 2, -1]]), (2048, marked)):
        monkeypatch.setattr(lesion_painter, "_LESIONS", most)
        gan = build_gan(CONFIG, SPEC, TRAINABLES)
        assert isinstance(gan, LesionPainter)
        painted(gan)
        assert len(kept[-1]) == min(most, len(marked))
        assert set(expected.tolist()) <= set(kept[-1].tolist()) <= set(marked.tolist())


def test_lesions_have_the_wanted_density(painter: LesionPainter) -> None:
    condition, _ = painted(painter)
    assert condition.sources is not None
    assert condition.masks is not None
    noise = torch.randn(32, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(1))
    for wanted in (-0.2, 0.4):
        density = torch.full((32, 1), wanted)
        with torch.no_grad():
            images = painter.painter(condition.sources, condition.masks, density, noise)
        found = (images * condition.masks).sum((1, 2, 3)) / condition.masks.sum((1, 2, 3))
        assert (found - wanted).abs().mean() < 0.05


def test_it_learns_the_densities_of_the_training_lesions(painter: LesionPainter) -> None:
    masks = DATA.masks[SICK]  # type: ignore[index]
    marked = masks.flatten(1).any(1)
    real = (DATA.images[SICK] * masks).sum((1, 2, 3))[marked] / masks.sum((1, 2, 3))[marked]
    drawn = painter.density.drawn(torch.randn(4000, 1, generator=torch.Generator().manual_seed(0)))
    assert abs(float(drawn.mean() - real.mean())) < 0.1
    assert 0.5 * real.std() < drawn.std() < 1.5 * real.std()


def test_drawn_masks_lie_inside_the_head_and_have_training_sizes() -> None:
    masks = DATA.masks[SICK]  # type: ignore[index]
    with_lesion = SICK & DATA.masks.flatten(1).any(1)  # type: ignore[union-attr]
    model = MaskModel(DATA.images, DATA.masks, with_lesion.nonzero().squeeze(1))  # type: ignore[arg-type]
    assert model.bilateral
    onto = heads(80, seed=7).images[::2]
    drawn = model.draw(onto, torch.Generator().manual_seed(0))
    assert set(drawn.unique().tolist()) == {0.0, 1.0}
    assert ((drawn * head_interior(onto)).sum((1, 2, 3)) == drawn.sum((1, 2, 3))).all()
    areas, real = drawn.sum((1, 2, 3)), masks.sum((1, 2, 3))
    real = real[real > 0]
    # Sizes are relative to the head, whose scale varies by a tenth or two.
    assert areas.min() >= 0.5 * real.min()
    assert areas.max() <= 1.5 * real.max()
    assert 0.6 < areas.mean() / real.mean() < 1.5
    assert abs(two_sided(drawn) - two_sided(masks[masks.flatten(1).any(1)])) < 0.2
    originals = {mask.numpy().tobytes() for mask in masks}
    assert sum(mask.numpy().tobytes() in originals for mask in drawn) < 4


def test_the_model_of_masks_asks_for_few_images_at_a_time() -> None:
    """Those of 512 pixels would fill a GPU together: the frames of heads take ten times the memory of their images."""
    data = heads(400, seed=3)
    asked: list[int] = []

    class Counted:
        def __init__(self, images: Tensor) -> None:
            self._images = images

        def __getitem__(self, rows: Tensor) -> Tensor:
            asked.append(len(rows))
            return self._images[rows]

    assert data.masks is not None
    rows = data.masks.flatten(1).any(1).nonzero().squeeze(1)
    images: Any = Counted(data.images)
    masks: Any = Counted(data.masks)
    onto = data.images[:20]
    found = MaskModel(images, masks, rows).draw(onto, torch.Generator().manual_seed(0))
    assert len(rows) > 2 * max(asked)
    few = MaskModel(data.images, data.masks, rows).draw(onto, torch.Generator().manual_seed(0))
    assert torch.equal(found, few)


def test_a_lesion_keeps_its_place_in_a_smaller_head() -> None:
    large = torch.full((1, 1, 64, 64), -1.0)
    small = large.clone()
    large[..., 4:60, 12:52], small[..., 20:48, 16:36] = 0.0, 0.0
    mask = torch.zeros(1, 1, 64, 64)
    mask[..., 30:38, 18:26] = 1.0  # a quarter of the way in from the left, half-way down
    moved = displace(mask, large, small, torch.zeros(1, 3), torch.ones(1))
    rows, columns = moved[0, 0].nonzero().double().mean(0) + 0.5
    assert float(rows) == pytest.approx(34.0, abs=1.0)
    assert float(columns) == pytest.approx(21.0, abs=1.0)
    assert 12 <= float(moved.sum()) <= 20  # a quarter of 64
    mirrored = displace(mask, large, small, torch.zeros(1, 3), torch.zeros(1))
    assert float(mirrored[0, 0].nonzero().double().mean(0)[1] + 0.5) == pytest.approx(31.0, abs=1.0)


def test_an_empty_mask_stays_empty_and_changes_nothing(painter: LesionPainter) -> None:
    sources, masks = DATA.images[WELL][:4], torch.zeros(4, 1, SIZE, SIZE)
    assert not displace(masks, sources, sources, torch.randn(4, 3), torch.rand(4)).any()
    with torch.no_grad():
        images = painter.painter(sources, masks, torch.zeros(4, 1), torch.randn(4, 1, SIZE, SIZE))
    assert torch.equal(images, sources)


def test_windows_are_about_the_lesion_and_inside_the_image() -> None:
    masks = torch.zeros(3, 1, SIZE, SIZE)
    masks[0, 0, 0, 0] = masks[1, 0, 20, 12] = 1.0
    windows = lesion_windows(masks, masks, 8)
    assert windows.shape == (3, 1, 8, 8)
    assert windows.sum((1, 2, 3)).tolist() == [1.0, 1.0, 0.0]
    assert windows[0, 0, 0, 0] == 1.0
    assert windows[1, 0, 3:5, 3:5].sum() == 1.0


def test_it_makes_the_diseased_class_wherever_that_stands() -> None:
    assert TRAINABLES.classes_made(CONFIG, SPEC) == (1,)
    assert TRAINABLES.classes_made(CONFIG, replace(SPEC, positive=0)) == (0,)
    assert TRAINABLES.classes_made(TrialConfig(), SPEC) == (0, 1)
    swapped = replace(DATA, labels=1 - DATA.labels)
    gan = build_gan(CONFIG, replace(SPEC, positive=0), TRAINABLES)
    images = make_sampler(gan, None, swapped, CPU)(Condition(torch.zeros(32, dtype=torch.int64)), 0)
    condition = gan.condition(torch.zeros(32, dtype=torch.int64), swapped, torch.Generator().manual_seed(0))  # type: ignore[attr-defined]
    controls = {image.numpy().tobytes() for image in DATA.images[WELL]}
    assert all(source.numpy().tobytes() in controls for source in condition.sources)
    assert (images[:, 1:] > 0).flatten(1).any(1).all()


@pytest.mark.parametrize(
    ("spec", "changes", "message"),
    [
        (replace(SPEC, mask_channels=0), {}, "needs lesion masks, but the cohort has none"),
        (replace(SPEC, classes=("fahr",)), {}, "paints lesions of one class into another, but the cohort has 1"),
        (SPEC, {"batch_size": 7}, "each class fills half of a batch"),
        (SPEC, {"conditioning": "lesion_mask"}, "already takes the mask as input"),
        (SPEC, {"conditioning": "concat"}, "set conditioning = 'none'"),
        (SPEC, {"architecture.depth": 6}, "cannot be halved architecture.depth = 6 times"),
        (replace(SPEC, size=256), {"architecture.depth": 1, "attention": "self_attention"}, "over 128x128 pixels"),
    ],
)
def test_what_it_refuses(spec: ImageSpec, changes: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_config(CONFIG.derive(changes), spec, TRAINABLES)


def test_a_cohort_whose_masks_are_all_empty_is_refused() -> None:
    gan = build_gan(CONFIG, SPEC, TRAINABLES)
    blank = replace(DATA, masks=torch.zeros_like(DATA.images))
    with pytest.raises(ConfigError, match="no lesion mask among the training images of 'fahr'"):
        make_sampler(gan, None, blank, CPU)(Condition(torch.ones(2, dtype=torch.int64)), 0)
