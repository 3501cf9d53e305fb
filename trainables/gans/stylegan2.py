"""StyleGAN2 (Karras et al. 2020): a mapped latent gives the style of every layer, and noise gives random detail."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from gansweep.config import Frozen, TrialConfig, validated
from gansweep.contracts import Batch, Condition, ImageSpec, Phase, Scalars, Trainables
from gansweep.devices import exact_float32
from gansweep.distributed import mean_over_workers
from trainables.algorithms.adversarial import AdversarialGan
from trainables.algorithms.checks import check_critic, halvings
from trainables.layers.double_backward import without_weight_gradients
from trainables.layers.precision import full_precision
from trainables.layers.stylegan2_networks import Critic, FeatureMaps, Generator

if TYPE_CHECKING:
    from trainables.layers.stylegan2_networks import Noise

__all__ = ["Stylegan2", "path_lengths"]


class Architecture(Frozen):
    """The networks of `stylegan2` and its path length regularisation.

    Args:
        latent: size of the noise and of the style.
        width: channels at the image's resolution; doubled at each halving, up to eight times.
        mapping: number of layers from noise to style.
        mixing: probability that the finer layers of an image take their style from a second noise vector.
        path_length: weight of the path length regularisation; 0 disables it.
        path_interval: generator steps between two path length steps, and the factor of their loss.
        attention_size: attention, if any, is placed at the largest feature map of at most this many pixels.
    """

    latent: int = Field(128, ge=1, le=1024)
    width: int = Field(32, ge=4, le=512)
    mapping: int = Field(4, ge=1, le=8)
    mixing: float = Field(0.9, ge=0.0, le=1.0)
    path_length: float = Field(0.0, ge=0.0, le=100.0)
    path_interval: int = Field(8, ge=1, le=64)
    attention_size: int = Field(16, ge=4, le=64)


class Stylegan2(AdversarialGan):
    """A skip generator and a residual critic. Path length regularisation is a lazy phase of the generator.

    Differences from the paper: lazy phases use Adam's settings unchanged, where the paper multiplies the learning rate
    by c and raises the betas to the power of c, with c = k / (k + 1) at interval k (appendix B). The minibatch standard
    deviation is over the whole batch, where the published code uses groups of four images.

    Args:
        config: the trial's configuration.
        spec: shape of the images: 8 to 1024 pixels, any number of channels.
        trainables: registries of the names in the configuration.
    """

    Architecture: ClassVar[type[Frozen]] = Architecture
    smallest: ClassVar[dict[str, bool | int | float | str]] = {
        "latent": 4,
        "width": 4,
        "mapping": 2,
        "path_length": 2.0,
        "path_interval": 2,
        "attention_size": 8,
    }

    def __init__(self, config: TrialConfig, spec: ImageSpec, trainables: Trainables) -> None:
        self.shape = _architecture(config)
        needs_classes = trainables.losses[config.loss.kind].needs_classes
        conditioning = trainables.conditionings[config.conditioning](spec)
        stages, base = halvings(spec, 0, config.family)
        maps = FeatureMaps(
            sizes=[base * 2**stage for stage in range(stages + 1)],
            widths=[self.shape.width * 2 ** min(stage, 3) for stage in reversed(range(stages + 1))],
            attention=trainables.attentions[config.attention],
            attention_size=self.shape.attention_size,
        )
        self._generator = Generator(
            self.shape.latent,
            conditioning.code_size,
            self.shape.mapping,
            maps,
            channels=spec.channels,
            extra=conditioning.map_channels,
        )
        critic = Critic(spec.channels + conditioning.plane_channels, maps, conditioning, classifies=needs_classes)
        # The minibatch standard deviation makes a score depend on the whole batch.
        super().__init__(config, spec, trainables, self._generator, critic, latent=self.shape.latent, mixes_images=True)

        if self.shape.path_length:
            phase = Phase("path_length", ("generator",), "generator", interval=self.shape.path_interval)
            self.phases = (*self.phases, phase)
        self._path = _PathLength()
        self.state["path_length"] = self._path

    @classmethod
    def check(cls, config: TrialConfig, spec: ImageSpec | None, trainables: Trainables) -> None:
        """Rejects sizes that cannot be halved, and a loss or penalty that does not fit the critic."""
        _architecture(config)
        blocks = None if spec is None else halvings(spec, 0, config.family)[0] + 1
        loss = trainables.losses[config.loss.kind]
        penalty = trainables.penalties[config.penalty.kind]
        check_critic(config, loss, penalty, norm="none", blocks=blocks, equalised=True)

    def loss(self, phase: str, batch: Batch, step: int) -> tuple[Tensor, Scalars]:
        """Returns the loss of `AdversarialGan`, or the path length regularisation."""
        if phase != "path_length":
            return super().loss(phase, batch, step)
        with exact_float32(batch.images.device):
            return self._path_loss(batch)

    def generate(self, batch: Batch, labels: Tensor) -> Tensor:
        """Returns fakes `[b, C, H, W]` with style mixing."""
        styles = self._mixed_styles(batch, labels)
        return self._images_from_styles(styles, batch.masks, lambda size: batch.draws.normal(1, size, size))

    def sample(self, n: int, condition: Condition, generator: torch.Generator) -> Tensor:
        """`[n, C, H, W]` samples in [-1, 1], without style mixing."""

        def normal(*shape: int) -> Tensor:
            return torch.randn(n, *shape, generator=generator, device=generator.device)

        code = self.conditioning.code(condition.labels, condition.masks)
        styles = self._generator.styles(normal(self.latent), code)
        images = self._images_from_styles(styles, condition.masks, lambda size: normal(1, size, size))
        return images.clamp(-1.0, 1.0)

    def _mixed_styles(self, batch: Batch, labels: Tensor) -> Tensor:
        """Returns styles `[b, layers, latent]`.

        With probability `mixing`, layers from a random one on use a second style.
        """
        code = self.conditioning.code(labels, batch.masks)
        draws = batch.draws
        styles = self._generator.styles(draws.normal(self.latent), code)
        if not self.shape.mixing:
            return styles
        others = self._generator.styles(draws.normal(self.latent), code)
        layers = styles.shape[1]
        cut = torch.where(draws.uniform() < self.shape.mixing, 1 + draws.integers(layers - 1), layers)
        before_cut = torch.arange(layers, device=styles.device) < cut[:, None]
        return torch.where(before_cut[:, :, None], styles, others)

    def _images_from_styles(self, styles: Tensor, masks: Tensor | None, noise: Noise) -> Tensor:
        return full_precision(self._generator(styles, self.conditioning.map(masks), noise))

    def _path_loss(self, batch: Batch) -> tuple[Tensor, Scalars]:
        """Returns the squared difference of path lengths from their moving average (section 3.2, equation 4)."""
        labels = self._wanted_labels(batch, compares=False)
        styles = self._mixed_styles(batch, labels)
        images = self._images_from_styles(styles, batch.masks, lambda size: batch.draws.normal(1, size, size))
        lengths = path_lengths(images, styles, batch.draws.normal(*images.shape[1:]))
        target = self._path.follow(lengths)
        loss = self.shape.path_length * self.shape.path_interval * (lengths - target).square().mean()
        return loss, {"path_length": lengths.mean().detach()}


class _PathLength(nn.Module):
    """The moving average of the path lengths."""

    mean: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(()))

    @torch.no_grad()
    def follow(self, lengths: Tensor) -> Tensor:
        """Updates the average with the lengths `[b]` of all workers' images, and returns it."""
        # 0.01 is the decay of the published code.
        self.mean.lerp_(mean_over_workers(lengths.mean()).to(self.mean.dtype), 0.01)
        return self.mean.clone()


def path_lengths(images: Tensor, styles: Tensor, noise: Tensor) -> Tensor:
    """Returns path lengths: how far images move with their styles, in a random direction of image space.

    Args:
        images: `[b, C, H, W]` generated from `styles`, with its graph.
        styles: `[b, layers, latent]`.
        noise: `[b, C, H, W]` standard normal numbers.

    Returns:
        `[b]`: norm of the transposed Jacobian times the noise over the latent, root mean square over the layers,
        divided by the root of the number of pixels.
    """
    direction = noise / (images.shape[2] * images.shape[3]) ** 0.5
    with without_weight_gradients():
        (gradient,) = torch.autograd.grad((images * direction).sum(), styles, create_graph=True)
    # 1e-12: the square root has no finite gradient at 0, the length of a style without effect.
    return (gradient.square().sum(dim=2).mean(dim=1) + 1e-12).sqrt()


def _architecture(config: TrialConfig) -> Architecture:
    return validated(Architecture, config.architecture, where=f"architecture of {config.family}")
