"""Every family on a pretended GPU: the CPU's numbers, no round trip in an iteration, two workers as one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gansweep.errors import ConfigError
from gansweep.testing.gan_contract import admissible, describe, variations
from gansweep.testing.gpu_contract import (
    check_on_gpu,
    check_on_two_gpus,
    check_stored_images,
    check_updates_on_gpu,
    on_gpu,
)
from gansweep.testing.images import shapes
from gansweep.training.build import check_config
from trainables import GANS, TRAINABLES

DATA, PLAIN = shapes(count=20, size=16)
SPEC = replace(PLAIN, paired_channels=1)
EVERY = {family: on_gpu(family, SPEC, TRAINABLES) for family in GANS}
# Of each family one objective and, if there is time, one other path: a different one from family to family.
FEW = [
    pytest.param(config, id=f"{config.family}-{describe(config)}", marks=marks)
    for turn, configs in enumerate(EVERY.values())
    for config, marks in ((configs[0], ()), (configs[1 + turn % (len(configs) - 1)], pytest.mark.slow))
]


@pytest.mark.timeout(900)
@pytest.mark.parametrize("config", FEW)
def test_a_gpu_gives_what_the_cpu_gives_without_a_round_trip(config):
    # Of the other paths only the one whose numbers change with the step is captured here; the long tests capture all.
    captured = config is EVERY[config.family][0] or config.penalty.adaptive == "progress"
    check_on_gpu(config, SPEC, DATA, TRAINABLES, captured=captured)


VARIATIONS = {family: variations(family, SPEC, TRAINABLES) for family in GANS}


def each_setting():
    """Every loss, penalty and setting in the quickest family, and two settings of each other one, with all as slow."""
    quickest = "dcgan"
    every = {describe(one): one for one in (*VARIATIONS[quickest], *admissible(quickest, SPEC, TRAINABLES))}
    yield from (pytest.param(config, id=f"{quickest}-{name}") for name, config in every.items())
    for turn, (family, configs) in enumerate(VARIATIONS.items()):
        dealt = {2 * turn % len(configs), (2 * turn + 1) % len(configs)}
        for place, config in enumerate(configs):
            if family != quickest:
                marks = () if place in dealt else pytest.mark.slow
                yield pytest.param(config, id=f"{family}-{describe(config)}", marks=marks)


@pytest.mark.parametrize("config", list(each_setting()))
def test_a_gpu_trains_with_every_setting(config):
    check_updates_on_gpu(config, SPEC, DATA, TRAINABLES)


def each_way_of_sampling():
    """The first configuration of each family, and with each kind of translation that the family has."""
    for family, configs in EVERY.items():
        yield configs[0]
        for kind in ("classes", "pairs", "fusion") if "domains" in GANS[family].Architecture.model_fields else ():
            config = configs[0].derive({"architecture.domains": kind})
            if not refusal(config):
                yield config


def refusal(config):
    try:
        check_config(config, SPEC, TRAINABLES)
    except ConfigError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    "config",
    list(each_way_of_sampling()),
    ids=lambda config: f"{config.family} {config.architecture.get('domains', '')}",
)
def test_a_gpu_trains_from_images_as_they_are_stored(config):
    check_stored_images(config, SPEC, DATA, TRAINABLES)


def first(family, fits=lambda _config: True):
    return next(config for config in EVERY[family] if fits(config))


def test_two_workers_on_gpus_are_one_whatever_they_communicate():
    """Beside gradients: LeCam's anchors, ADA's confidence, norms of gradients, path lengths, pools of images, the next
    worker's rows, and means of features.
    """
    configs = [
        *[config for config in VARIATIONS["dcgan"] if config.penalty.interpolation == "real_real"],
        *[config for config in VARIATIONS["dcgan"] if config.loss.feature_matching],
        first("dcgan", lambda config: config.penalty.kind == "lecam"),
        first("dcgan", lambda config: config.augmentation.kind == "ada"),
        first("dcgan", lambda config: config.penalty.adaptive == "norm"),
        first("stylegan2"),
        first("cyclegan"),
    ]
    check_on_two_gpus(configs, SPEC, DATA, TRAINABLES)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_workers_on_gpus_are_one():
    check_on_two_gpus([configs[0] for configs in EVERY.values()], SPEC, DATA, TRAINABLES)


@pytest.mark.acceptance
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("family", GANS)
def test_every_path(family):
    for config in EVERY[family]:
        check_on_gpu(config, SPEC, DATA, TRAINABLES)
