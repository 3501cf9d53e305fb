"""Which choices two configurations differ in, and what is left when one is taken back."""

from __future__ import annotations

import pytest

from gansweep.config import TrialConfig
from gansweep.errors import ConfigError
from gansweep.search.choices import Choice, choices_between

PAPER = TrialConfig(architecture={"width": 48}, seed=1)
LEADER = PAPER.derive({"lr_d": 1e-3, "attention": "self_attention", "architecture.depth": 2, "seed": 7})


def by_name(leader: TrialConfig, paper: TrialConfig) -> dict[str, Choice]:
    return {choice.name: choice for choice in choices_between(leader, paper)}


def test_each_choice_is_taken_back_alone_and_the_seed_is_none() -> None:
    found = by_name(LEADER, PAPER)
    assert {name: (choice.ours, choice.theirs) for name, choice in found.items()} == {
        "lr_d": (1e-3, 2e-4),
        "attention": ("self_attention", "none"),
        "architecture.depth": (2, "default"),
    }
    assert found["lr_d"].config == LEADER.derive({"lr_d": 2e-4})
    assert found["architecture.depth"].config == TrialConfig.model_validate(
        {**LEADER.as_dict(), "architecture": {"width": 48}}
    )


def test_settings_go_with_the_kind_that_they_belong_to() -> None:
    """A weight of 1 is usual for R1 and far too little for a gradient penalty."""
    leader = PAPER.derive({"penalty.kind": "r1", "penalty.lambda": 1.0, "loss.kind": "hinge"})
    found = by_name(leader, PAPER)
    assert set(found) == {"penalty", "loss"}
    assert (found["penalty"].ours, found["penalty"].theirs) == ("r1", "gradient_penalty")
    assert found["penalty"].config == leader.derive({"penalty.kind": "gradient_penalty", "penalty.lambda": 10.0})
    same_kind = PAPER.derive({"penalty.lambda": 5.0})
    assert set(by_name(same_kind, PAPER)) == {"penalty.lambda"}


def test_a_family_goes_with_its_architecture() -> None:
    leader = TrialConfig(family="r3gan", architecture={"width": 8})
    found = by_name(leader, PAPER)
    assert set(found) == {"family"}
    taken = found["family"].config
    assert taken is not None
    assert (taken.family, taken.architecture) == ("dcgan", {"width": 48})


def test_settings_of_what_is_not_there_are_no_choice() -> None:
    leader = PAPER.derive({"augmentation.probability": 0.5})
    assert not choices_between(leader, PAPER)


def test_what_cannot_be_taken_back_alone_is_told() -> None:
    def check(config: TrialConfig) -> None:
        if config.lr_d == PAPER.lr_d:
            raise ConfigError("too slow for attention")

    refused = {choice.name: choice.refused for choice in choices_between(LEADER, PAPER, check) if choice.config is None}
    assert refused == {"lr_d": "too slow for attention"}


@pytest.mark.parametrize("key", ["lr_d", "attention", "architecture.depth"])
def test_taking_all_back_gives_the_other_configuration(key: str) -> None:
    config = LEADER
    while choices := choices_between(config, PAPER):
        first = next((choice for choice in choices if choice.name == key), choices[0])
        assert first.config is not None
        config = first.config
    assert config == PAPER.derive({"seed": 7})
