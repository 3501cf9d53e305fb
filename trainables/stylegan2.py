"""StyleGAN2 (Karras et al. 2020): a mapped latent sets the style of every layer, and noise draws what is random."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from gansweep.contracts import Batch, Condition, ImageSpec, Phase, Scalars, Trainables
from gansweep.experiment import Frozen, TrialConfig, validated
from gansweep.training.world import mean_over_workers
from trainables.adversarial import AdversarialGan
from trainables.checks import check_critic, halvings
from trainables.double_backward import without_weight_gradients
from trainables.precision import full_precision
from trainables.stylegan2_networks import Critic, Generator

if TYPE_CHECKING:
    from trainables.stylegan2_networks import Noise

__all__ = ["Stylegan2", "path_lengths"]


class Architecture(Frozen):
    """The networks of `stylegan2` and its own regularisation.

    Args:
        latent: size of the noise, and of the style.
        width: channels at the image's resolution; doubled at each halving, up to eight times.
        mapping: layers from noise to style.
        mixing: probability that an image takes its finer layers' style from a second noise.
        path_length: weight of the path length regularisation; 0 for none.
        path_interval: it takes place in every so many generator steps, scaled by as much.
        attention_size: attention, if any, is applied at the largest feature map of at most so many pixels.
    """

    latent: int = Field(128, ge=1, le=1024)
    width: int = Field(32, ge=4, le=512)
    mapping: int = Field(4, ge=1, le=8)
    mixing: float = Field(0.9, ge=0.0, le=1.0)
    path_length: float = Field(0.0, ge=0.0, le=100.0)
    path_interval: int = Field(8, ge=1, le=64)
    attention_size: int = Field(16, ge=4, le=64)


class Stylegan2(AdversarialGan):
    """Skip generator, residual critic; the path length regularisation is a lazy phase of the generator's.

    Departures: a lazy phase leaves Adam's rates as they are, where the paper multiplies the learning rate by c and
    raises the betas to its power, c = k / (k + 1) at interval k (appendix B); and the critic sees the deviation of the
    whole batch, where the published code has groups of four images.

    Args:
        config: the trial.
        spec: images of 8 to 1024 pixels, of any number of channels.
        trainables: losses, penalties and the rest.
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
        attention = trainables.attentions[config.attention]
        stages, base = halvings(spec, 0, config.family)
        sizes = [base * 2**stage for stage in range(stages + 1)]
        widths = [self.shape.width * 2 ** min(stage, 3) for stage in reversed(range(stages + 1))]
        latent, code = self.shape.latent, conditioning.code_size
        self._generator = Generator(
            latent, code, self.shape.mapping, sizes, widths, spec.channels, conditioning.map_channels,
            attention, self.shape.attention_size,
        )  # fmt: skip
        channels = spec.channels + conditioning.plane_channels
        critic = Critic(
            channels, sizes, widths, conditioning, attention, self.shape.attention_size, classifies=needs_classes
        )
        super().__init__(config, spec, trainables, self._generator, critic, latent=latent, mixes_images=True)
        if self.shape.path_length:
            phase = Phase("path_length", ("generator",), "generator", interval=self.shape.path_interval)
            self.phases = (*self.phases, phase)
        self._path = _PathLength()
        self.state["path_length"] = self._path

    @classmethod
    def check(cls, config: TrialConfig, spec: ImageSpec | None, trainables: Trainables) -> None:
        """Refuses sizes that cannot be halved, and objectives that the critic cannot serve."""
        _architecture(config)
        blocks = None if spec is None else halvings(spec, 0, config.family)[0] + 1
        loss, penalty = trainables.losses[config.loss.kind], trainables.penalties[config.penalty.kind]
        check_critic(config, loss, penalty, norm="none", blocks=blocks, equalised=True)

    def loss(self, phase: str, batch: Batch, step: int) -> tuple[Tensor, Scalars]:
        """As every adversarial family; and the path length regularisation."""
        if phase != "path_length":
            return super().loss(phase, batch, step)
        with torch.autocast(batch.images.device.type, enabled=False):
            return self._path_loss(batch)

    def generate(self, batch: Batch, labels: Tensor) -> Tensor:
        """Fakes `[b, C, H, W]`; some of two styles, the second from a random layer on (style mixing)."""
        styles = self._mixed_styles(batch, labels)
        return self._paint(styles, batch.masks, lambda size: batch.draws.normal(1, size, size))

    def sample(self, n: int, condition: Condition, generator: torch.Generator) -> Tensor:
        """`[n, C, H, W]`, of one style each."""

        def normal(*shape: int) -> Tensor:
            return torch.randn(n, *shape, generator=generator, device=generator.device)

        code = self.conditioning.code(condition.labels, condition.masks)
        styles = self._generator.styles(normal(self.latent), code)
        images = self._paint(styles, condition.masks, lambda size: normal(1, size, size))
        return images.clamp(-1.0, 1.0)

    def _mixed_styles(self, batch: Batch, labels: Tensor) -> Tensor:
        """`[b, layers, latent]`."""
        code, draws = self.conditioning.code(labels, batch.masks), batch.draws
        styles = self._generator.styles(draws.normal(self.latent), code)
        if not self.shape.mixing:
            return styles
        others = self._generator.styles(draws.normal(self.latent), code)
        layers = styles.shape[1]
        cut = torch.where(draws.uniform() < self.shape.mixing, 1 + draws.integers(layers - 1), layers)
        first = torch.arange(layers, device=styles.device) < cut[:, None]
        return torch.where(first[:, :, None], styles, others)

    def _paint(self, styles: Tensor, masks: Tensor | None, noise: Noise) -> Tensor:
        return full_precision(self._generator(styles, self.conditioning.map(masks), noise))

    def _path_loss(self, batch: Batch) -> tuple[Tensor, Scalars]:
        """Lengths are drawn to their own moving average (section 3.2, equation 4)."""
        labels = self._wanted_labels(batch, compares=False)
        styles = self._mixed_styles(batch, labels)
        images = self._paint(styles, batch.masks, lambda size: batch.draws.normal(1, size, size))
        lengths = path_lengths(images, styles, batch.draws.normal(*images.shape[1:]))
        target = self._path.follow(lengths)
        loss = self.shape.path_length * self.shape.path_interval * (lengths - target).square().mean()
        return loss, {"path_length": lengths.mean().detach()}


class _PathLength(nn.Module):
    """The moving average of path lengths."""

    mean: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(()))

    @torch.no_grad()
    def follow(self, lengths: Tensor) -> Tensor:
        """Takes in the lengths of all workers' images."""
        self.mean.lerp_(mean_over_workers(lengths.mean()).to(self.mean.dtype), 0.01)
        return self.mean.clone()


def path_lengths(images: Tensor, styles: Tensor, noise: Tensor) -> Tensor:
    """How far images move with their styles, in a random direction of image space.

    Args:
        images: `[b, C, H, W]` made from `styles`, in the graph.
        styles: `[b, layers, latent]`.
        noise: `[b, C, H, W]` standard normal.

    Returns:
        `[b]`: the norm of (Jacobian transposed times noise), root mean square over layers, per root of pixels.
    """
    direction = noise / (images.shape[2] * images.shape[3]) ** 0.5
    with without_weight_gradients():
        (gradient,) = torch.autograd.grad((images * direction).sum(), styles, create_graph=True)
    # A style that moves nothing has length 0, at which a root has no gradient.
    return (gradient.square().sum(dim=2).mean(dim=1) + 1e-12).sqrt()


def _architecture(config: TrialConfig) -> Architecture:
    return validated(Architecture, config.architecture, where=f"architecture of {config.family}")
