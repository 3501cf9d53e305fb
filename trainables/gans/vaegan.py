"""VAE-GAN (Larsen et al. 2016): a variational autoencoder whose reconstruction error is measured in critic features."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from gansweep.contracts import Batch, ImageSpec, Phase, Scalars, Trainables
from gansweep.errors import ConfigError
from trainables.gans import dcgan
from trainables.gans.dcgan import Dcgan, DcganBody
from trainables.layers.blocks import initialise
from trainables.layers.precision import full_precision

if TYPE_CHECKING:
    from collections.abc import Callable

    from gansweep.config import TrialConfig
    from trainables.conditioning.conditionings import Conditioning

__all__ = ["Vaegan", "divergence"]


class Architecture(dcgan.Architecture):
    """The networks of `vaegan`: dcgan's, and an encoder with the critic's layers and the generator's normalisation.

    Args:
        likeness_layer: the critic's block in whose output images and reconstructions are compared.
        reconstruction: weight of that distance in the generator's loss (corresponds to the paper's gamma).
        prior: weight of the divergence from the prior in the encoder's loss.
    """

    likeness_layer: int = Field(2, ge=1, le=8)
    reconstruction: float = Field(1.0, ge=0.0)
    prior: float = Field(1.0, ge=0.0)


class Vaegan(Dcgan):
    """Algorithm 1 of the paper; each fake is a reconstruction or a sample from the prior, with equal probability.

    The encoder is not used for sampling. Reconstruction makes the generator cover all training images.

    Args:
        config: the trial's configuration.
        spec: shape of the images: 8 to 1024 pixels, any number of channels.
        trainables: registries of the names in the configuration.
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
        """Rejects what dcgan rejects, and a `likeness_layer` that the critic does not have."""
        super().check(config, spec, trainables)
        layer = Architecture.model_validate(config.architecture).likeness_layer
        blocks = cls.critic_blocks(config, spec)
        if blocks is not None and layer > blocks:
            raise ConfigError(f"architecture.likeness_layer = {layer}, but the critic has {blocks} blocks")

    def generate(self, batch: Batch, labels: Tensor) -> Tensor:
        """Returns fakes `[b, C, H, W]`, each from the prior or from its real image's code, with equal probability."""
        mean, log_variance = self._encoded(batch)
        noise = batch.draws.normal(self.latent)
        from_prior = batch.draws.uniform(1) < 0.5
        code = torch.where(from_prior, noise, _sampled_code(mean, log_variance, noise))
        return self._synthesise(code, labels, batch.masks)

    def loss(self, phase: str, batch: Batch, step: int) -> tuple[Tensor, Scalars]:
        """Returns the loss of `phase`: `AdversarialGan`'s, for the generator plus the reconstruction, or the encoder's.

        See Larsen et al. 2016, algorithm 1.
        """
        if phase not in {"generator", "encoder"}:
            return super().loss(phase, batch, step)
        mean, log_variance = self._encoded(batch)
        code = _sampled_code(mean, log_variance, batch.draws.normal(self.latent))
        unlike, features = self._unlikeness(batch, code)
        if phase == "generator":
            adversarial, log = super().loss(phase, batch, step)
            return adversarial + self.weights.reconstruction * unlike.mean(), log
        # The paper adds a sum over features and a sum over the code. Here both are divided by the number of features,
        # so that the loss does not grow with the size of the images.
        diverged = divergence(mean, log_variance)
        loss = (unlike + self.weights.prior * diverged / features).mean()
        return loss, {"unlikeness": unlike.mean().detach(), "divergence": diverged.mean().detach()}

    def _encoded(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Returns mean and log variance of each image's code, `[b, latent]`."""
        planes = self.conditioning.planes(batch.labels, batch.masks, batch.images.shape[-1])
        seen = batch.images if planes is None else torch.cat([batch.images, planes.to(batch.images.dtype)], dim=1)
        mean, log_variance = self.encoder(seen)
        return full_precision(mean), full_precision(log_variance)

    def _unlikeness(self, batch: Batch, code: Tensor) -> tuple[Tensor, int]:
        """Returns half the mean squared feature distance of each reconstruction, `[b]`, and the number of features."""
        with torch.no_grad():
            wanted = self._compared(batch, batch.images)
        found = self._compared(batch, self._synthesise(code, batch.labels, batch.masks))
        distances = (found - wanted).square().flatten(1).mean(dim=1)
        return 0.5 * distances, wanted[0].numel()

    def _compared(self, batch: Batch, images: Tensor) -> Tensor:
        judged = self.judge(images, batch.labels, batch.masks)
        return full_precision(judged.features[self.weights.likeness_layer - 1])

    def _wanted_labels(self, batch: Batch, *, compares: bool) -> Tensor:  # noqa: ARG002
        """Returns the labels of the batch, whose images are encoded."""
        return batch.labels


class _Encoder(DcganBody):
    """An encoder from images to mean and log variance `[b, latent]` of their codes."""

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
        mean, log_variance = self.code(self.features(images)[-1].flatten(1)).chunk(2, dim=1)
        return mean, log_variance


def _sampled_code(mean: Tensor, log_variance: Tensor, noise: Tensor) -> Tensor:
    """Returns codes `[b, latent]` by the reparametrisation trick (Kingma & Welling 2014, section 2.4)."""
    return mean + log_variance.mul(0.5).exp() * noise


def divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Returns the Kullback-Leibler divergence of N(mean, exp(log_variance)) from N(0, 1), `[b]`.

    Kingma & Welling 2014, appendix B; both arguments are `[b, latent]`.
    """
    return 0.5 * (mean.square() + log_variance.exp() - 1.0 - log_variance).sum(dim=1)
