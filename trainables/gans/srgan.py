"""SRGAN (Ledig et al. 2017): super-resolution with residual blocks, sub-pixel upsampling and a critic."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from gansweep.config import Frozen, validated
from gansweep.contracts import Condition, PairedTask, Phase
from gansweep.errors import ConfigError
from trainables.algorithms.adversarial_objective import AdversarialObjective, adversarial_phases
from trainables.algorithms.checks import check_attention, check_critic, check_largest_layer, halvings
from trainables.algorithms.translation import choose_same_class, no_class_conditioning
from trainables.layers.translators import ImageCritic, SubPixelResnet
from trainables.objectives.image_losses import perceptual_distance

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

    from gansweep.config import TrialConfig
    from gansweep.contracts import Batch, ImageSet, ImageSpec, Scalars, Trainables

__all__ = ["Architecture", "SrGan", "enlarged", "reduced"]

_MOST_WEIGHTS = 150_000_000
"""Maximum number of weights in the critic's largest layer. The paper's critic has 134 million at 256 pixels."""

STAGES = 4
"""Maximum number of halvings in the critic, which stops at 4 to 7 pixels."""


class Architecture(Frozen):
    """The networks and weights of `srgan`.

    Args:
        scale: upsampling factor of height and width.
        width: channels of the generator.
        blocks: number of the generator's residual blocks.
        generator_norm: normalisation of the generator.
        critic_width: channels of the critic's first pair of layers.
        critic_norm: normalisation of the critic (batch in the paper); spectral normalises its weights.
        content_until: fraction of the budget in which the generator is trained with the content loss alone (section
            3.2).
        adversarial: weight of the adversarial loss after that (equation 3).
        perceptual: weight of the distance between the critic's features of restored and original image.
        flips: whether training images are flipped left to right at random.
    """

    scale: Literal[2, 4, 8] = 4
    width: int = Field(64, ge=4, le=256)
    blocks: int = Field(16, ge=1, le=32)
    generator_norm: Literal["batch", "instance", "group", "none"] = "batch"
    critic_width: int = Field(64, ge=4, le=256)
    critic_norm: Literal["none", "layer", "group", "instance", "spectral"] = "instance"
    content_until: float = Field(0.5, ge=0.0, lt=1.0)
    adversarial: float = Field(1e-3, ge=0.0)
    perceptual: float = Field(0.0, ge=0.0)
    flips: bool = True


class SrGan:
    """Restores images from reduced copies of themselves.

    The content loss is the mean squared error (equation 4). A distance of the critic's features (`perceptual`) replaces
    the distance of features of an ImageNet network (equation 5).

    Args:
        config: the trial's configuration.
        spec: shape of the images.
        trainables: registries of the names in the configuration.
    """

    Architecture: ClassVar[type[Frozen]] = Architecture
    smallest: ClassVar[Mapping[str, bool | int | float | str]] = {
        "scale": 2,
        "width": 4,
        "blocks": 1,
        "critic_width": 4,
    }
    averaged = ("generator",)

    def __init__(self, config: TrialConfig, spec: ImageSpec, trainables: Trainables) -> None:
        self.config = config
        self._shape = _architecture(config)
        shape = self._shape
        generator = SubPixelResnet(
            spec.channels,
            width=shape.width,
            blocks=shape.blocks,
            scale=shape.scale,
            norm=shape.generator_norm,
            attention=trainables.attentions[config.attention],
        )
        stages = _critic_stages(spec)
        critic = ImageCritic(spec.channels, spec.size, width=shape.critic_width, stages=stages, norm=shape.critic_norm)
        self.networks: dict[str, nn.Module] = {"generator": generator, "critic": critic}
        self.objective = AdversarialObjective(config, trainables, critic)
        self.state = self.objective.state
        self.phases = self._phases()

    @classmethod
    def check(cls, config: TrialConfig, spec: ImageSpec | None, trainables: Trainables) -> None:
        """Rejects sizes that are not divisible, and a loss or penalty that does not fit the critic."""
        shape = _architecture(config)
        no_class_conditioning(config)
        check_critic(
            config,
            trainables.losses[config.loss.kind],
            trainables.penalties[config.penalty.kind],
            norm=shape.critic_norm,
            blocks=STAGES if spec is None else _critic_stages(spec),
        )
        if spec is not None and spec.size % shape.scale:
            raise ConfigError(
                f"images of {spec.size} pixels cannot be reduced {shape.scale} times",
                where="srgan",
                fix=f"set data.size to a multiple of {shape.scale}",
            )
        if spec is not None:
            check_attention(config, trainables, spec.size // shape.scale)
            stages = _critic_stages(spec)
            # The critic's first fully connected layer is its largest.
            channels = shape.critic_width * 2 ** min(stages - 1, 3)
            smallest = spec.size // 2**stages
            weights = channels * smallest**2 * 16 * shape.critic_width
            check_largest_layer("srgan", spec, weights, width="architecture.critic_width", most=_MOST_WEIGHTS)

    @classmethod
    def paired_task(cls, config: TrialConfig, data: ImageSet) -> PairedTask:
        """Returns the restoration of held-out images; the baseline is bicubic interpolation."""
        small = reduced(data.images, _architecture(config).scale)
        return PairedTask(data.images, (data.images,), enlarged(small, data.images.shape[-1]))

    def schedule(self, step: int) -> Hashable:
        """Sets what the penalties depend on."""
        self.objective.schedule(step)
        return None

    def loss(self, phase: str, batch: Batch, step: int) -> tuple[Tensor, Scalars]:
        """Returns the loss of content, critic, penalty or generator, depending on `phase`."""
        self.schedule(step)
        images = batch.images
        if self._shape.flips:
            images = torch.where(batch.draws.uniform(1, 1, 1) < 0.5, images.flip(-1), images)
        small = reduced(images, self._shape.scale)
        if phase in {"content", "generator"}:
            return self._generator_loss(phase, small, images, batch)
        with torch.no_grad():
            fake = self.networks["generator"](small)
        if phase == "penalty":
            return self.objective.penalty_loss(images, fake, batch.draws)
        return self.objective.critic_loss(images, fake, batch, batch.draws)

    def sample(self, n: int, condition: Condition, generator: torch.Generator) -> Tensor:  # noqa: ARG002
        """Returns the condition's sources `[n, C, H, W]`, reduced and restored."""
        if condition.sources is None:
            raise ConfigError("srgan restores images, but was given none")
        images: Tensor = self.networks["generator"](reduced(condition.sources, self._shape.scale))
        return images

    def condition(self, labels: Tensor, data: ImageSet, generator: torch.Generator) -> Condition:
        """Returns training images of the requested classes as sources."""
        return Condition(labels, data.images[choose_same_class(labels, data, generator)])

    def _phases(self) -> tuple[Phase, ...]:
        start = self._shape.content_until
        content = Phase("content", ("generator",), "generator", stop=start)
        adversarial = adversarial_phases(
            self.config,
            critics=("critic",),
            generators=("generator",),
            penalised=self.objective.penalty.active,
            start=start,
        )
        return (content, *adversarial) if start else adversarial

    def _generator_loss(self, phase: str, small: Tensor, images: Tensor, batch: Batch) -> tuple[Tensor, Scalars]:
        restored = self.networks["generator"](small)
        content = F.mse_loss(restored, images)
        scalars = {"content": content.detach()}
        if phase == "content":
            return content, scalars
        adversarial = self.objective.generator_loss(images, restored, batch, batch.draws)
        loss = content + self._shape.adversarial * adversarial
        if self._shape.perceptual:
            critic = self.networks["critic"]
            loss = loss + self._shape.perceptual * perceptual_distance(critic(restored), critic(images))
        return loss, {**scalars, "adversarial": adversarial.detach()}


def reduced(images: Tensor, scale: int) -> Tensor:
    """`[b, C, H, W]` to `[b, C, H / scale, W / scale]` by antialiased bicubic interpolation, detached."""
    size = images.shape[-1] // scale
    return F.interpolate(images.detach(), (size, size), mode="bicubic", antialias=True).clamp(-1.0, 1.0)


def enlarged(images: Tensor, size: int) -> Tensor:
    """`[b, C, h, w]` to `[b, C, size, size]` by bicubic interpolation, the baseline of super-resolution."""
    return F.interpolate(images, (size, size), mode="bicubic").clamp(-1.0, 1.0)


def _critic_stages(spec: ImageSpec) -> int:
    return min(STAGES, halvings(spec, 0, "srgan")[0])


def _architecture(config: TrialConfig) -> Architecture:
    return validated(Architecture, config.architecture, where="architecture of srgan")
