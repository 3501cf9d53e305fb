"""Every registered family is held to the contract, with every loss and penalty it admits: a new one needs no test.

A few of the combinations for each family, all for `dcgan`, and the whole product in the acceptance runs. Two workers
are given each value of a setting of `dcgan`, not each combination.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from gansweep.testing.gan_contract import (
    admissible,
    check_gan,
    check_resume,
    check_two_trainings,
    check_two_workers,
    describe,
    variations,
)
from gansweep.testing.images import shapes
from trainables import GANS, LOSSES, PENALTIES, TRAINABLES

if TYPE_CHECKING:
    from gansweep.config import TrialConfig

DATA, PLAIN = shapes(count=20, size=16)
SPEC = replace(PLAIN, paired_channels=1)
OBJECTIVES = {family: admissible(family, SPEC, TRAINABLES) for family in GANS}
VARIATIONS = {family: variations(family, SPEC, TRAINABLES) for family in GANS}
EVERYTHING = [*(config for family in GANS for config in (*OBJECTIVES[family], *VARIATIONS[family]))]
# Each family starts elsewhere in the product, so that together they meet every loss and every penalty.
FEW = [
    config
    for start, family in enumerate(GANS)
    for config in (*OBJECTIVES[family][5 * start % 31 :: 31], *VARIATIONS[family][start % 19 :: 19])
]
DCGAN = [*OBJECTIVES["dcgan"], *VARIATIONS["dcgan"]]
CHOSEN = [*DCGAN, *(config for config in FEW if config.family != "dcgan")]


def with_each_value(configs: list[TrialConfig]) -> list[TrialConfig]:
    """Some of the configurations, such that each value of a setting is still among them."""
    seen: set[str] = set()
    found = []
    for config in configs:
        values = set(describe(config).split("-"))
        if values - seen:
            found.append(config)
        seen |= values
    return found


def test_every_family_admits_something_and_every_objective_is_admitted():
    assert all(OBJECTIVES.values())
    assert {config.loss.kind for config in FEW} == set(LOSSES)
    assert {config.penalty.kind for config in FEW} == set(PENALTIES)


@pytest.mark.parametrize("config", CHOSEN, ids=describe)
def test_contract(config):
    check_gan(config, SPEC, DATA, TRAINABLES)


def _resumed_fast(config: TrialConfig) -> bool:
    """Whether it keeps state of its own from step to step, or is the first of its family."""
    has_state = config.penalty.kind == "lecam" or config.penalty.adaptive != "none" or config.augmentation.kind == "ada"
    return has_state or config == next(other for other in FEW if other.family == config.family)


@pytest.mark.parametrize(
    "config",
    [pytest.param(config, marks=[] if _resumed_fast(config) else pytest.mark.slow) for config in FEW],
    ids=describe,
)
def test_resumes_bit_for_bit(config):
    check_resume(config, SPEC, DATA, TRAINABLES)


def test_two_workers_get_the_gradients_of_one():
    chosen = [*with_each_value(DCGAN), *(config for config in FEW if config.family != "dcgan")]
    exact = [config for config in chosen if config.precision == "float32"]
    check_two_workers(exact, SPEC, DATA, TRAINABLES, tolerance=1e-8)


@pytest.mark.slow
def test_two_workers_end_where_one_does():
    """What the families keep from step to step is put together from both workers too."""
    changed = [next(config for config in VARIATIONS[family] if config.n_critic == 1) for family in GANS]
    check_two_trainings(changed, SPEC, DATA, TRAINABLES)


def test_three_channels():
    data, spec = shapes(count=12, size=16, channels=3)
    check_gan(admissible("dcgan", spec, TRAINABLES)[0], spec, data, TRAINABLES)


@pytest.mark.acceptance
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("family", GANS)
def test_the_whole_product(family):
    configs = [config for config in EVERYTHING if config.family == family]
    for config in configs:
        check_gan(config, SPEC, DATA, TRAINABLES)
        check_resume(config, SPEC, DATA, TRAINABLES)
    exact = [config for config in configs if config.precision == "float32"]
    check_two_workers(exact, SPEC, DATA, TRAINABLES, tolerance=1e-8)
    check_two_trainings(exact, SPEC, DATA, TRAINABLES)
