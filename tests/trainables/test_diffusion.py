"""The diffusion model: it learns to denoise, hears the class, and refuses what belongs to a critic.

`test_gpu.py` tries it on a pretended GPU, as it does every family.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from gansweep.config import TrialConfig
from gansweep.contracts import Condition, ImageSet
from gansweep.errors import ConfigError
from gansweep.testing.gan_contract import (
    admissible,
    check_gan,
    check_resume,
    check_two_trainings,
    check_two_workers,
    variations,
)
from gansweep.testing.images import shapes
from gansweep.training.build import build_gan, check_config
from gansweep.training.loop import train
from gansweep.training.reporters import MemoryReporter
from trainables import TRAINABLES

CPU = torch.device("cpu")
DATA, SPEC = shapes(count=20, size=16)
CONFIGS = [*admissible("diffusion", SPEC, TRAINABLES), *variations("diffusion", SPEC, TRAINABLES)]
EXACT = [config for config in CONFIGS if config.precision == "float32"]


def test_it_keeps_the_contract_of_families() -> None:
    assert {config.conditioning for config in CONFIGS} == {"none", "concat"}
    assert {config.precision for config in CONFIGS} == {"float32", "bfloat16"}
    for config in CONFIGS:
        check_gan(config, SPEC, DATA, TRAINABLES)
    check_resume(EXACT[0], SPEC, DATA, TRAINABLES)


@pytest.mark.slow
def test_two_workers_are_one() -> None:
    check_two_workers(EXACT, SPEC, DATA, TRAINABLES, tolerance=1e-8)
    check_two_trainings(EXACT[:1], SPEC, DATA, TRAINABLES)


def test_it_learns_which_class_is_bright() -> None:
    """Class 0 is dark, class 1 bright: after a short training so are the samples."""
    labels = torch.arange(32) % 2
    images = (labels[:, None, None, None] - 0.5) + 0.05 * torch.randn(
        32, 1, 16, 16, generator=torch.Generator().manual_seed(0)
    )
    spec = replace(SPEC, mask_channels=0)
    config = TrialConfig(
        family="diffusion",
        architecture={"width": 8, "levels": 2, "timesteps": 100, "sampling_steps": 10},
        batch_size=16,
        iterations=80,
        lr_g=4e-3,
        beta1=0.9,
        ema_half_life=0.1,
    )
    drawn: list[torch.Tensor] = []

    def score(sampler: Any, _iteration: int) -> dict[str, float]:
        drawn.append(sampler(Condition(torch.arange(32) % 2), 0).mean((1, 2, 3)))
        return {}

    gan = build_gan(config, spec, TRAINABLES)
    train(config, gan, ImageSet(images, labels), MemoryReporter(), score, reports=1, device=CPU)
    dark, bright = drawn[0][0::2], drawn[0][1::2]
    assert dark.mean() == pytest.approx(-0.5, abs=0.2)
    assert bright.mean() == pytest.approx(0.5, abs=0.2)
    assert dark.max() < bright.min()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"loss.kind": "hinge"}, "loss: diffusion has no critic"),
        ({"penalty.kind": "r1"}, "penalty: diffusion has no critic"),
        ({"augmentation.kind": "ada"}, "augmentation: diffusion has no critic"),
        ({"attention": "cbam"}, "attention: diffusion has no critic"),
        ({"conditioning": "projection"}, "conditioning = 'projection' in diffusion; use 'concat' or 'none'"),
        ({"architecture.levels": 5}, "diffusion: images of 24 pixels cannot be halved 4 times"),
        ({"architecture.width": 12}, "multiple of 8"),
        ({"architecture.sampling_steps": 40}, "40 sampling steps of 20 timesteps"),
    ],
)
def test_what_belongs_to_a_critic_is_refused(changes: dict[str, Any], says: str) -> None:
    config = CONFIGS[0].derive(changes)
    with pytest.raises(ConfigError) as told:
        check_config(config, replace(SPEC, size=24), TRAINABLES)
    assert says in str(told.value)


@pytest.mark.parametrize(("size", "levels", "needed"), [(256, 2, 3), (512, 3, 4)])
def test_attention_over_a_large_image_is_refused(size: int, levels: int, needed: int) -> None:
    spec = replace(SPEC, size=size)
    with pytest.raises(ConfigError, match=f"set architecture.levels to {needed} or more at {size} pixels"):
        check_config(CONFIGS[0].derive({"architecture.levels": levels}), spec, TRAINABLES)
    check_config(CONFIGS[0].derive({"architecture.levels": needed}), spec, TRAINABLES)


def test_samples_without_a_class_have_no_label() -> None:
    free = CONFIGS[0].derive({"conditioning": "none"})
    assert TRAINABLES.classes_labelled(free, SPEC) == ()
    assert TRAINABLES.classes_labelled(CONFIGS[0], SPEC) == (0, 1)
