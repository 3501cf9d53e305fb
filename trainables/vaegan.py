"""VAE-GAN (Larsen et al. 2016): an autoencoder whose notion of likeness is what the critic sees."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from gansweep.contracts import Batch, ImageSpec, Phase, Scalars, Trainables
from gansweep.errors import ConfigError
from trainables import dcgan
from trainables.blocks import initialise
from trainables.dcgan import Dcgan, DcganBody
from trainables.precision import full_precision

if TYPE_CHECKING:
    from collections.abc import Callable

    from gansweep.experiment import TrialConfig
    from trainables.conditioning import Conditioning

__all__ = ["Vaegan", "divergence"]


class Architecture(dcgan.Architecture):
    """The networks of `vaegan`: dcgan's, and an encoder like the critic, normalised like the generator.

    Args:
        likeness_layer: the critic's block in whose output images are compared.
        reconstruction: weight of that likeness in the generator's loss (the paper's gamma).
        prior: weight of the divergence from the prior in the encoder's loss.
    """

    likeness_layer: int = Field(2, ge=1, le=8)
    reconstruction: float = Field(1.0, ge=0.0)
    prior: float = Field(1.0, ge=0.0)


class Vaegan(Dcgan):
    """Algorithm 1: the critic judges fakes from the prior and reconstructions, drawn by lot in equal shares.

    The encoder is no part of sampling; it teaches the generator to cover all images.

    Args:
        config: the trial.
        spec: images of 8 to 1024 pixels, of any number of channels.
        trainables: losses, penalties and the rest.
    """

    Architecture: ClassVar[type[dcgan.Architecture]] = Architecture

    def __init__(self, config: TrialConfig, spec: ImageSpec, trainables: Trainables) -> None:
        super().__init__(config, spec, trainables)
        self.weights = Architecture.model_validate(config.architecture)
        self.encoder = _Encoder(self.weights, spec, self.conditioning, trainables.attentions[config.attention])
        self.networks["encoder"] = self.encoder
        self.phases = (*self.phases, Phase("encoder", ("encoder",), "generator"))

    @classmethod
    def check(cls, config: TrialConfig, spec: ImageSpec | None, trainables: Trainables) -> None:
        """As dcgan, and the critic must have the block in which images are compared."""
        super().check(config, spec, trainables)
        layer = Architecture.model_validate(config.architecture).likeness_layer
        blocks = cls.critic_blocks(config, spec)
        if blocks is not None and layer > blocks:
            raise ConfigError(f"architecture.likeness_layer = {layer}, but the critic has {blocks} blocks")

    def generate(self, batch: Batch, labels: Tensor) -> Tensor:
        """Fakes `[b, C, H, W]`: each from the prior or from the code of its real image, by lot."""
        mean, spread = self._encoded(batch)
        noise = batch.draws.normal(self.latent)
        from_prior = batch.draws.uniform(1) < 0.5
        return self._synthesise(
            torch.where(from_prior, noise, mean + spread.mul(0.5).exp() * noise), labels, batch.masks
        )

    def loss(self, phase: str, batch: Batch, step: int) -> tuple[Tensor, Scalars]:
        """The critic's and the generator's as ever; likeness is added to the generator's and is the encoder's own."""
        if phase not in {"generator", "encoder"}:
            return super().loss(phase, batch, step)
        mean, spread = self._encoded(batch)
        unlike, features = self._unlikeness(batch, mean + spread.mul(0.5).exp() * batch.draws.normal(self.latent))
        if phase == "generator":
            adversarial, log = super().loss(phase, batch, step)
            return adversarial + self.weights.reconstruction * unlike.mean(), log
        # The paper adds sums over features and over the code; both divided by the features, likeness is a mean.
        diverged = divergence(mean, spread)
        loss = (unlike + self.weights.prior * diverged / features).mean()
        return loss, {"unlikeness": unlike.mean().detach(), "divergence": diverged.mean().detach()}

    def _encoded(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Mean and log variance of each image's code, `[b, latent]`."""
        planes = self.conditioning.planes(batch.labels, batch.masks, batch.images.shape[-1])
        seen = batch.images if planes is None else torch.cat([batch.images, planes.to(batch.images.dtype)], dim=1)
        mean, spread = self.encoder(seen)
        return full_precision(mean), full_precision(spread)

    def _unlikeness(self, batch: Batch, noise: Tensor) -> tuple[Tensor, int]:
        """Half the mean squared distance of each image from its reconstruction, `[b]`; over how many features."""
        with torch.no_grad():
            wanted = self._compared(batch, batch.images)
        found = self._compared(batch, self._synthesise(noise, batch.labels, batch.masks))
        return 0.5 * (found - wanted).square().flatten(1).mean(dim=1), wanted[0].numel()

    def _compared(self, batch: Batch, images: Tensor) -> Tensor:
        judged = self.judge(images, batch.labels, batch.masks)
        return full_precision(judged.features[self.weights.likeness_layer - 1])

    def _wanted_labels(self, batch: Batch, *, compares: bool) -> Tensor:  # noqa: ARG002
        """Those of the images whose codes are used."""
        return batch.labels


class _Encoder(DcganBody):
    """Image to mean and log variance of its code."""

    def __init__(
        self,
        shape: Architecture,
        spec: ImageSpec,
        conditioning: Conditioning,
        attention: Callable[[int], nn.Module],
    ) -> None:
        super().__init__(shape, spec, conditioning.plane_channels, attention, shape.generator_norm)
        self.code = nn.Linear(self.out * self.base**2, 2 * shape.latent)
        initialise(self)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        mean, spread = self.code(self.features(images)[-1].flatten(1)).chunk(2, dim=1)
        return mean, spread


def divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Kullback-Leibler divergence of N(mean, exp(log_variance)) from N(0, 1), `[b]` (Kingma & Welling 2014, B)."""
    return 0.5 * (mean.square() + log_variance.exp() - 1.0 - log_variance).sum(dim=1)
