"""Published GANs by name, as settings of a trial configuration."""

from __future__ import annotations

from typing import Any, NamedTuple

__all__ = ["VARIANTS", "Variant"]


class Variant(NamedTuple):
    """A published GAN.

    Args:
        settings: settings that define it, by dotted key; all others are free.
        source: publication.
    """

    settings: dict[str, Any]
    source: str


def _adversarial(loss: str, penalty: str = "none", **settings: Any) -> dict[str, Any]:
    """Returns a loss and a penalty; double underscores in the names of further settings stand for dots."""
    further = {name.replace("__", "."): value for name, value in settings.items()}
    return {"loss.kind": loss, "penalty.kind": penalty, **further}


_SPECTRAL: dict[str, Any] = {"family": "sngan", **_adversarial("hinge")}

VARIANTS: dict[str, Variant] = {
    "GAN": Variant(_adversarial("minimax"), "Goodfellow et al. 2014"),
    "NSGAN": Variant(_adversarial("non_saturating"), "Goodfellow et al. 2014, section 3"),
    "DCGAN": Variant({"family": "dcgan", **_adversarial("non_saturating")}, "Radford et al. 2016"),
    "LSGAN": Variant(_adversarial("least_squares"), "Mao et al. 2017"),
    "WGAN": Variant(_adversarial("wasserstein", loss__clip=0.01), "Arjovsky et al. 2017"),
    "WGAN-GP": Variant(
        _adversarial("wasserstein", "gradient_penalty", penalty__interpolation="uniform"), "Gulrajani et al. 2017"
    ),
    "WGAN-LP": Variant(_adversarial("wasserstein", "gradient_penalty", penalty__one_sided=True), "Petzka et al. 2018"),
    "DRAGAN": Variant(
        _adversarial("non_saturating", "gradient_penalty", penalty__interpolation="local"), "Kodali et al. 2017"
    ),
    "GAN with R1": Variant(_adversarial("non_saturating", "r1"), "Mescheder et al. 2018"),
    "LeCam GAN": Variant(_adversarial("hinge", "lecam"), "Tseng et al. 2021"),
    "Improved GAN": Variant(
        {**_adversarial("non_saturating"), "loss.feature_matching": 1.0, "loss.label_smoothing": 0.1},
        "Salimans et al. 2016",
    ),
    "SNGAN": Variant(_SPECTRAL, "Miyato et al. 2018"),
    "SAGAN": Variant({**_SPECTRAL, "attention": "self_attention", "conditioning": "projection"}, "Zhang et al. 2019"),
    "cGAN": Variant({"conditioning": "concat"}, "Mirza & Osindero 2014"),
    "AC-GAN": Variant({"conditioning": "auxiliary"}, "Odena et al. 2017"),
    "Projection cGAN": Variant({"conditioning": "projection"}, "Miyato & Koyama 2018"),
    "MHingeGAN": Variant({**_adversarial("multi_class_hinge"), "conditioning": "projection"}, "Kavalerov et al. 2021"),
    "RpGAN": Variant(_adversarial("relativistic", "r1_r2"), "Jolicoeur-Martineau 2019"),
    "R3GAN": Variant({"family": "r3gan", **_adversarial("relativistic", "r1_r2")}, "Huang et al. 2024"),
    "DiffAugment": Variant({"augmentation.kind": "diffaugment"}, "Zhao et al. 2020"),
    "ADA": Variant({"augmentation.kind": "ada"}, "Karras et al. 2020"),
    "StyleGAN2": Variant({"family": "stylegan2", **_adversarial("non_saturating", "r1")}, "Karras et al. 2020"),
    "StyleGAN2-ADA": Variant(
        {"family": "stylegan2", **_adversarial("non_saturating", "r1"), "augmentation.kind": "ada"},
        "Karras et al. 2020",
    ),
    "Progressive GAN": Variant({"family": "progan"}, "Karras et al. 2018"),
    "LAPGAN": Variant({"family": "lapgan"}, "Denton et al. 2015"),
    "VAE-GAN": Variant({"family": "vaegan"}, "Larsen et al. 2016"),
    "DDPM with DDIM sampling": Variant({"family": "diffusion"}, "Ho et al. 2020; Song et al. 2021"),
    "CycleGAN": Variant({"family": "cyclegan"}, "Zhu et al. 2017"),
    "DiscoGAN": Variant({"family": "discogan"}, "Kim et al. 2017"),
    "SRGAN": Variant({"family": "srgan"}, "Ledig et al. 2017"),
    "SPADE (GauGAN)": Variant({"family": "spade"}, "Park et al. 2019"),
}
"""A variant without a family can belong to one of several. `trainables` lists all of them."""
