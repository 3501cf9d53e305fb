"""GANs by the field's names are configurations that can be trained."""

import pytest

from gansweep.config import TrialConfig
from gansweep.contracts import ImageSpec
from gansweep.errors import ConfigError
from gansweep.training.build import check_config
from trainables import TRAINABLES
from trainables.variants import VARIANTS

SPEC = ImageSpec(32, 1, ("control", "fahr"), mask_channels=1, paired_channels=1)
FREE = TrialConfig(conditioning="none").derive({"loss.kind": "non_saturating", "penalty.kind": "none"})


@pytest.mark.parametrize("name", VARIANTS)
def test_a_variant_can_be_trained(name: str) -> None:
    settings = VARIANTS[name].settings
    # A diffusion model refuses settings of a critic.
    config = (TrialConfig() if settings.get("family") == "diffusion" else FREE).derive(settings)
    if config.family == "dcgan" and config.loss.kind == "multi_class_hinge":
        config = config.derive({"family": "sngan"})
    defaults = TRAINABLES.gans[config.family]
    try:
        check_config(config, SPEC, TRAINABLES)
    except ConfigError as error:
        pytest.fail(f"{name} ({defaults.__name__}): {error}")


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        (
            "WGAN-GP",
            {"loss.kind": "wasserstein", "penalty.kind": "gradient_penalty", "penalty.interpolation": "uniform"},
        ),
        (
            "DRAGAN",
            {"loss.kind": "non_saturating", "penalty.kind": "gradient_penalty", "penalty.interpolation": "local"},
        ),
        ("LSGAN", {"loss.kind": "least_squares", "penalty.kind": "none"}),
        ("AC-GAN", {"conditioning": "auxiliary"}),
    ],
)
def test_what_the_papers_say(name: str, settings: dict[str, object]) -> None:
    assert VARIANTS[name].settings == settings


def test_every_family_loss_penalty_and_conditioning_is_some_variants_or_our_own() -> None:
    def named(key: str) -> set[object]:
        return {variant.settings[key] for variant in VARIANTS.values() if key in variant.settings}

    assert named("loss.kind") == set(TRAINABLES.losses)
    assert named("penalty.kind") >= set(TRAINABLES.penalties) - {"r2"}
    assert named("augmentation.kind") == set(TRAINABLES.augmentations) - {"none"}
