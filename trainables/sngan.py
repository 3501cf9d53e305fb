"""SNGAN (Miyato et al. 2018) by its own name: dcgan's networks with spectral normalisation, plain or residual."""

from __future__ import annotations

from typing import ClassVar, Literal

from trainables import dcgan
from trainables.dcgan import Dcgan

__all__ = ["Sngan"]


class Architecture(dcgan.Architecture):
    """dcgan's, with the critic's weights always spectrally normalised.

    Args:
        critic_norm: `spectral`, or `spectral_batch` with batch normalisation between the layers (MedGAN's critic).
        upsampling: how the generator doubles its resolution; the papers' choice is transposed convolutions.
    """

    critic_norm: Literal["spectral", "spectral_batch"] = "spectral"
    upsampling: Literal["nearest", "bilinear", "transposed", "pixel_shuffle"] = "transposed"


class Sngan(Dcgan):
    """With `residual`, the ResNet variant; the paper trains both with the hinge loss and no penalty.

    Args:
        config: the trial.
        spec: images of 8 to 1024 pixels, of any number of channels.
        trainables: losses, penalties and the rest.
    """

    Architecture: ClassVar[type[dcgan.Architecture]] = Architecture
