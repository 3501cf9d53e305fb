"""The image-to-image families in each of their domains, what they refuse, and that they learn.

Every loss and penalty with pairs is the matter of test_gans.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from gansweep.config import TrialConfig
from gansweep.contracts import AnswersPairs, Batch, Condition, ImageSpec
from gansweep.distributed import World
from gansweep.errors import ConfigError
from gansweep.scoring.trial import paired_scores
from gansweep.testing.gan_contract import check_gan, check_resume, check_two_workers, describe
from gansweep.testing.images import shapes
from gansweep.training.build import build_gan, check_config
from gansweep.training.loop import train
from gansweep.training.random import SeededStepRandom
from gansweep.training.reporters import MemoryReporter
from trainables import GANS, TRAINABLES
from trainables.algorithms.translation import Domains, TranslationArchitecture

CPU = torch.device("cpu")
FAMILIES = ("cyclegan", "discogan", "csgan", "dc2anet", "srgan", "auto_context", "kgan")
KINDS = {
    "cyclegan": ("classes", "pairs", "fusion"),
    "discogan": ("classes", "pairs", "fusion"),
    "csgan": ("pairs", "fusion"),
    "dc2anet": ("pairs",),
    "auto_context": ("pairs",),
    "kgan": ("pairs", "fusion"),
}
DATA, PLAIN = shapes(count=20, size=16)
SPEC = replace(PLAIN, paired_channels=1)


def small(family: str, **changes: Any) -> TrialConfig:
    """A tiny configuration that goes with everything; `__` in a key stands for a dot."""
    config = TrialConfig(
        family=family,
        architecture=dict(GANS[family].smallest),
        conditioning="none",
        batch_size=8,
        n_critic=2,
        iterations=4,
    )
    return config.derive({key.replace("__", "."): value for key, value in changes.items()})


DOMAINS = [small(family, architecture__domains=kind) for family, kinds in KINDS.items() for kind in kinds]
VARIATIONS = [
    small("cyclegan", attention="self_attention", architecture__identity=0.5, architecture__pool=0),
    small("cyclegan", augmentation__kind="ada", precision="bfloat16"),
    small("dc2anet", loss__kind="least_squares", penalty__kind="none", loss__feature_matching=1.0),
    small("srgan", loss__kind="hinge", penalty__layer=1, architecture__perceptual=0.1, architecture__content_until=0.0),
    small("kgan", architecture__teacher_until=0.0, architecture__soft=0.0),
    small("kgan", architecture__critic_norm="spectral", penalty__kind="none", augmentation__kind="diffaugment"),
]


@pytest.mark.parametrize("config", [*DOMAINS, *VARIATIONS], ids=describe)
def test_contract(config):
    check_gan(config, SPEC, DATA, TRAINABLES)


FAMILIES = dict.fromkeys(config.family for config in DOMAINS)
FIRST = [next(config for config in DOMAINS if config.family == family) for family in FAMILIES]


@pytest.mark.parametrize(
    "config",
    [pytest.param(config, marks=[] if config in FIRST else pytest.mark.slow) for config in DOMAINS],
    ids=describe,
)
def test_resumes_bit_for_bit(config):
    check_resume(config, SPEC, DATA, TRAINABLES)


def test_two_workers_get_the_gradients_of_one():
    check_two_workers([*DOMAINS, VARIATIONS[0], VARIATIONS[2]], SPEC, DATA, TRAINABLES, 1e-9)


def test_three_channels():
    data, spec = shapes(count=12, size=16, channels=3)
    for family in FAMILIES:
        check_gan(small(family), replace(spec, paired_channels=3), data, TRAINABLES)


@pytest.mark.parametrize(
    ("config", "spec", "reason"),
    [
        (small("cyclegan", conditioning="concat"), SPEC, "set conditioning = 'none'"),
        (small("csgan"), PLAIN, "ingest with paired images"),
        (small("dc2anet", architecture__domains="classes"), SPEC, "learns from pairs"),
        (small("cyclegan", architecture__domains="pairs"), PLAIN, "no paired images"),
        (small("cyclegan"), replace(PLAIN, classes=("a", "b", "c")), "translation needs exactly two"),
        (small("cyclegan", batch_size=5), PLAIN, "use an even size"),
        (small("kgan", architecture__domains="fusion"), replace(SPEC, paired_channels=3), "cannot be fused"),
        (small("cyclegan"), replace(SPEC, size=18), "multiple of 4"),
        (small("cyclegan", architecture__critic_layers=3), SPEC, "is too many for images"),
        (small("discogan"), replace(SPEC, size=20 + 2), "cannot be halved"),
        *(
            (small(family, attention="self_attention"), replace(SPEC, size=size), f"over {over}x{over} pixels")
            for family, size, over in (
                ("auto_context", 128, 128),
                ("cyclegan", 512, 128),
                ("csgan", 512, 128),
                ("dc2anet", 512, 128),
                ("kgan", 512, 128),
                ("srgan", 256, 128),
            )
        ),
        (small("srgan", architecture__scale=4), replace(SPEC, size=50), "halved|reduced 4 times"),
        (small("kgan", architecture__teacher_until=0.0), SPEC, "without a teacher"),
        (small("kgan", architecture__soft=0.0, architecture__hard=0.0), SPEC, "no loss that ties"),
        (small("cyclegan", penalty__kind="none"), SPEC, "no Lipschitz constraint"),
        (small("cyclegan", loss__kind="hinge", penalty__layer=4), SPEC, "has 3 blocks"),
        (small("cyclegan", architecture__widht=4), SPEC, "unknown key 'widht'"),
    ],
)
def test_refused_with_the_reason(config, spec, reason):
    with pytest.raises(ConfigError, match=reason) as caught:
        check_config(config, spec, TRAINABLES)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("family", "attention", "size"),
    [
        ("auto_context", "self_attention", 64),
        ("auto_context", "cbam", 512),
        ("cyclegan", "self_attention", 256),
        ("discogan", "self_attention", 512),
        ("srgan", "self_attention", 128),
    ],
)
def test_attends_where_it_fits(family, attention, size):
    check_config(small(family, attention=attention), replace(SPEC, size=size), TRAINABLES)


def test_checks_what_it_can_without_a_cohort():
    for family in FAMILIES:
        check_config(small(family), None, TRAINABLES)


def batch_of(rows: slice = slice(0, 8), **changes: Any) -> Batch:
    draws = SeededStepRandom((0,), 8, World(), CPU)
    whole = {"images": DATA.images[rows], "labels": DATA.labels[rows], "masks": None, "paired": DATA.paired[rows]}
    return Batch(**{**whole, **changes}, draws=draws, total=8)


def domains(kind: Any, *, flips: bool = False) -> Domains:
    return Domains.from_spec(TranslationArchitecture(domains=kind, flips=flips), SPEC)


def test_auto_means_pairs_where_there_are_any():
    assert Domains.from_spec(TranslationArchitecture(), SPEC).kind == "pairs"
    assert Domains.from_spec(TranslationArchitecture(), PLAIN).kind == "classes"


def test_pairs_lead_from_the_other_kind_to_the_cohorts_own_and_are_flipped_together():
    source, target = domains("pairs").split(batch_of())
    assert torch.equal(source.images, DATA.paired[:8])
    assert torch.equal(target.images, DATA.images[:8])
    source, target = domains("pairs", flips=True).split(batch_of())
    assert torch.equal(source.images, -target.images)
    flipped = (target.images == DATA.images[:8]).flatten(1).all(1)
    assert 0 < flipped.sum() < 8


def test_classes_are_translated_into_each_other():
    source, target = domains("classes").split(batch_of())
    assert torch.equal(source.images, DATA.images[0:8:2])
    assert torch.equal(target.images, DATA.images[1:8:2])
    assert source.draws.uniform(1).shape == (4, 1)


def test_fusion_has_both_as_source_and_either_as_example():
    source, target = domains("fusion").split(batch_of())
    assert torch.equal(source.images, torch.cat([DATA.images[:8], DATA.paired[:8]], 1))
    either = [
        torch.equal(one, a) or 2 * torch.equal(one, b)
        for one, a, b in zip(target.images, *source.images.chunk(2, 1), strict=True)
    ]
    assert set(either) == {1, 2}


def test_samples_between_classes_come_from_the_other_class_by_the_way_that_leads_there():
    gan = build_gan(small("cyclegan", architecture__domains="classes"), SPEC, TRAINABLES)
    gan.networks["generator_ab"] = torch.nn.Identity()
    gan.networks["generator_ba"] = torch.nn.Hardtanh(-0.5, 0.5)
    labels = torch.tensor([0, 1, 0, 1])
    condition = gan.condition(labels, DATA, torch.Generator().manual_seed(0))
    images = gan.sample(4, condition, torch.Generator())
    is_square = (DATA.images[:, None] == condition.sources).flatten(2).all(2).float().argmax(0) % 2
    assert torch.equal(is_square, 1 - labels)
    assert torch.equal(images[1::2], condition.sources[1::2])
    assert torch.equal(images[0::2], condition.sources[0::2].clamp(-0.5, 0.5))


def test_sources_of_the_wrong_kind_are_refused():
    gan = build_gan(small("kgan", architecture__domains="fusion"), SPEC, TRAINABLES)
    with pytest.raises(ConfigError, match="2 channels, but was given images of 1"):
        gan.sample(2, Condition(torch.zeros(2, dtype=torch.int64), DATA.images[:2]), torch.Generator())
    with pytest.raises(ConfigError, match="given none"):
        gan.sample(2, Condition(torch.zeros(2, dtype=torch.int64)), torch.Generator())


def test_every_family_says_what_it_can_be_asked_on_held_out_images():
    for family, kinds in {**KINDS, "srgan": ("auto",)}.items():
        assert isinstance(GANS[family], AnswersPairs)
        for kind in kinds:
            config = small(family) if family == "srgan" else small(family, architecture__domains=kind)
            task = GANS[family].paired_task(config, DATA)
            if kind == "classes":
                assert task is None
                continue
            gan = build_gan(config, SPEC, TRAINABLES)
            gan.networks = {name: network.eval().requires_grad_(False) for name, network in gan.networks.items()}
            scores = paired_scores(lambda c, _s: gan.sample(len(c.labels), c, torch.Generator()), task, DATA.labels)  # noqa: B023
            assert set(scores) >= {"ssim", "ssim_baseline", "spatial_frequency", "spatial_frequency_baseline"}
            assert ("scd" in scores) == (kind == "fusion")


LEARNING = {
    "cyclegan": (400, {"loss__kind": "least_squares", "architecture__critic_width": 16}),
    "discogan": (400, {"loss__kind": "non_saturating", "architecture__critic_width": 16}),
    "csgan": (200, {"loss__kind": "least_squares", "architecture__synthesized": 10.0}),
    "dc2anet": (150, {"loss__kind": "least_squares"}),
    "srgan": (200, {"loss__kind": "non_saturating"}),
    "auto_context": (200, {"loss__kind": "non_saturating"}),
    "kgan": (300, {"loss__kind": "non_saturating"}),
}
"""Iterations, and changes to the smallest configuration."""


@pytest.mark.acceptance
@pytest.mark.parametrize("family", FAMILIES)
def test_beats_its_baseline_on_held_out_images(family):
    """The pair of an image is its dimmed negative, so that the identity map is far off."""
    iterations, changes = LEARNING[family]
    width = {} if family in {"srgan", "kgan"} else {"architecture__width": 8}
    rates = {"lr_d": 1e-3, "lr_g": 2e-3, "beta1": 0.5, "n_critic": 1, "ema_half_life": 0.1}
    config = small(family, iterations=iterations, penalty__kind="none", **rates, **width, **changes)
    data, held_out = (
        replace(found, paired=-0.8 * found.images) for found, _ in (shapes(64, 16), shapes(64, 16, seed=1))
    )
    found: list[dict[str, float]] = []

    def score(sampler: Any, _iteration: int) -> dict[str, float]:
        task = GANS[family].paired_task(config, held_out)
        found.append(paired_scores(sampler, task, held_out.labels))
        return found[-1]

    train(config, build_gan(config, SPEC, TRAINABLES), data, MemoryReporter(), score, reports=1, device=CPU)
    assert found[-1]["psnr"] > found[-1]["psnr_baseline"], found
    assert found[-1]["ssim"] > found[-1]["ssim_baseline"], found


def test_one_class_is_enough_for_pairs():
    one = replace(DATA, labels=torch.zeros_like(DATA.labels))
    check_gan(small("kgan"), ImageSpec(16, 1, ("CT",), paired_channels=1), one, TRAINABLES)
