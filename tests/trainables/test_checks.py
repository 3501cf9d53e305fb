"""Combinations that make no sense are refused in one line that gives the reason."""

from __future__ import annotations

import pytest

from gansweep.config import TrialConfig
from gansweep.contracts import ImageSpec
from gansweep.errors import ConfigError
from gansweep.training.build import check_config
from trainables import TRAINABLES

SPEC = ImageSpec(32, 1, ("control", "fahr"))
ONE_CLASS = ImageSpec(32, 1, ("fahr",))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"architecture.critic_output": "sigmoid"}, "unbounded"),
        ({"architecture.critic_output": "sigmoid", "loss.kind": "minimax"}, "own sigmoid"),
        ({"architecture.critic_norm": "batch"}, "mixes images"),
        ({"architecture.critic_norm": "batch", "loss.kind": "hinge", "penalty.kind": "r1"}, "mixes images"),
        ({"loss.clip": 0.01}, "both bound the same slope"),
        ({"loss.clip": 0.01, "loss.kind": "hinge", "penalty.kind": "none"}, "belongs to the Wasserstein critic"),
        ({"loss.clip": 0.01, "penalty.kind": "none", "architecture.critic_norm": "spectral"}, "both bound the same"),
        ({"loss.clip": 0.01, "penalty.kind": "none", "family": "progan"}, "clipped weights vanish"),
        ({"loss.clip": 0.01, "penalty.kind": "none", "family": "stylegan2"}, "clipped weights vanish"),
        ({"penalty.kind": "none"}, "no Lipschitz constraint"),
        ({"penalty.kind": "lecam"}, "no Lipschitz constraint"),
        ({"penalty.kind": "lecam", "loss.kind": "hinge", "penalty.adaptive": "norm"}, "no gradient norm"),
        ({"loss.label_smoothing": 0.1}, "no target to smooth"),
        ({"loss.kind": "multi_class_hinge"}, "projection critic"),
        ({"conditioning": "lesion_mask"}, "the cohort has none"),
        ({"conditioning": "lesion_burden"}, "the cohort has none"),
        ({"penalty.layer": 1}, "penalty.layer = 1, .*no Lipschitz constraint"),
        ({"penalty.lambda": 0.0}, "penalty.lambda = 0.0 has no Lipschitz constraint"),
        ({"penalty.layer": 1, "penalty.kind": "r1", "loss.kind": "hinge"}, "'r1' penalty is not taken at a layer"),
        ({"penalty.layer": 4, "loss.kind": "hinge"}, "has 3 blocks"),
        ({"architecture.depth": 6}, "cannot be halved"),
        ({"architecture.widht": 8}, "unknown key 'widht'"),
        ({"architecture.width": 1}, "greater than or equal to 4"),
        ({"family": "dcgn"}, "known: .*dcgan"),
        ({"loss.kind": "wgan"}, "known: hinge, least_squares"),
        ({"penalty.kind": "gp"}, "known: gradient_penalty"),
        ({"conditioning": "label"}, "known: auxiliary"),
        ({"attention": "self"}, "known: cbam"),
        ({"augmentation.kind": "randaugment"}, "known: ada"),
    ],
)
def test_refused_with_the_reason(changes, reason):
    with pytest.raises(ConfigError, match=reason) as caught:
        check_config(TrialConfig().derive(changes), SPEC, TRAINABLES)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("conditioning", ["auxiliary", "projection"])
def test_one_class_has_nothing_to_condition_on(conditioning):
    with pytest.raises(ConfigError, match="at least two classes"):
        check_config(TrialConfig(conditioning=conditioning), ONE_CLASS, TRAINABLES)
    check_config(TrialConfig(), ONE_CLASS, TRAINABLES)


@pytest.mark.parametrize("family", ["dcgan", "sngan", "vaegan", "spade", "lapgan"])
def test_attention_over_too_large_a_map_is_refused(family):
    spec = ImageSpec(512, 1, ("control", "fahr"), mask_channels=1)
    config = TrialConfig(family=family, loss={"kind": "hinge"}, penalty={"kind": "none"}, attention="self_attention")
    if family == "lapgan":  # levels of 64, 128, 256 and 512 pixels
        config = config.derive({"architecture.coarsest": 64})
    with pytest.raises(ConfigError, match=r"would attend over (128x128|256x256) pixels"):
        check_config(config.derive({"architecture.depth": 1}), spec, TRAINABLES)
    check_config(config.derive({"architecture.depth": 4}), spec, TRAINABLES)


@pytest.mark.parametrize("size", [32, 48, 64, 80, 96, 128, 256])
def test_sizes_that_can_be_halved(size):
    check_config(TrialConfig(), ImageSpec(size, 3, ("a", "b")), TRAINABLES)


@pytest.mark.parametrize("size", [34, 50, 75])
def test_sizes_that_cannot(size):
    with pytest.raises(ConfigError, match="cannot be halved"):
        check_config(TrialConfig(), ImageSpec(size, 3, ("a", "b")), TRAINABLES)


def test_checks_what_it_can_without_a_cohort():
    check_config(TrialConfig(conditioning="lesion_mask"), None, TRAINABLES)
    with pytest.raises(ConfigError, match="mixes images"):
        check_config(TrialConfig(architecture={"critic_norm": "batch"}), None, TRAINABLES)


def test_a_layer_may_be_penalised_where_something_else_bounds_the_score():
    inside = TrialConfig().derive({"penalty.layer": 2})
    check_config(inside.derive({"architecture.critic_norm": "spectral"}), SPEC, TRAINABLES)
    check_config(inside.derive({"loss.kind": "hinge"}), SPEC, TRAINABLES)
