"""SNGAN (Miyato et al. 2018): dcgan's networks with spectral normalisation, plain or residual."""

from __future__ import annotations

from typing import ClassVar, Literal

from trainables.gans import dcgan
from trainables.gans.dcgan import Dcgan

__all__ = ["Sngan"]


class Architecture(dcgan.Architecture):
    """The networks of `dcgan` with spectral normalisation in the critic.

    Args:
        critic_norm: `spectral`, or `spectral_batch` with additional batch normalisation (MedGAN's critic).
        upsampling: how the generator doubles its resolution; the paper uses transposed convolutions.
    """

    critic_norm: Literal["spectral", "spectral_batch"] = "spectral"
    upsampling: Literal["nearest", "bilinear", "transposed", "pixel_shuffle"] = "transposed"


class Sngan(Dcgan):
    """SNGAN; with `residual`, its ResNet variant. The paper trains with the hinge loss and no penalty.

    Args:
        config: the trial's configuration.
        spec: shape of the images: 8 to 1024 pixels, any number of channels.
        trainables: registries of the names in the configuration.
    """

    Architecture: ClassVar[type[dcgan.Architecture]] = Architecture
