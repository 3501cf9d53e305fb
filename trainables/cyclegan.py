"""CycleGAN (Zhu et al. 2017): unpaired translation, held together by the way back."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal, cast

from pydantic import Field
from torch.nn import functional as F

from trainables.cyclic import CyclicGan, Tour
from trainables.translation import Domains, TranslationArchitecture
from trainables.translators import PatchCritic, ResnetTranslator

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor, nn

    from gansweep.contracts import ImageSpec, Trainables
    from gansweep.experiment import TrialConfig

__all__ = ["Architecture", "CycleGan", "ResnetArchitecture", "resnet_networks"]


class ResnetArchitecture(TranslationArchitecture):
    """Residual generators and patch critics.

    Args:
        width: channels of the generators at full resolution.
        blocks: their residual blocks; 0: the paper's 6 below 256 pixels and 9 from there on.
        generator_norm: their normalisation.
        upsampling: how they double the resolution; the paper transposes convolutions.
    """

    width: int = Field(64, ge=4, le=256)
    blocks: int = Field(0, ge=0, le=24)
    generator_norm: Literal["instance", "batch", "group", "none"] = "instance"
    upsampling: Literal["nearest", "bilinear", "transposed", "pixel_shuffle"] = "transposed"


class Architecture(ResnetArchitecture):
    """The networks and weights of `cyclegan`.

    Args:
        cycle: weight of the round trip, lambda of the paper's equation 3.
        identity: weight of leaving the target's own images alone, as a fraction of `cycle` (section 5.2).
        pool: earlier translations kept for each critic (section 4).
    """

    cycle: float = Field(10.0, ge=0.0)
    identity: float = Field(0.0, ge=0.0)
    pool: int = Field(50, ge=0, le=1000)


class CycleGan(CyclicGan):
    """Zhu et al. 2017, with every loss and penalty open; the paper's is `least_squares` with a pool.

    Departures: learning rates are constant, where the paper's fall to zero over the second half of the training; and
    the generators start from He's initialisation, not from N(0, 0.02).

    Args:
        config: the trial.
        spec: images of two classes, or paired images.
        trainables: losses, penalties and the rest.
    """

    Architecture: ClassVar[type[TranslationArchitecture]] = Architecture
    smallest: ClassVar[Mapping[str, bool | int | float | str]] = {
        "width": 4,
        "blocks": 1,
        "critic_width": 8,
        "critic_layers": 2,
        "pool": 4,
    }

    def __init__(self, config: TrialConfig, spec: ImageSpec, trainables: Trainables) -> None:
        self._shape = cast("Architecture", self.shape(config))
        generators, critics = resnet_networks(config, spec, trainables, self._shape)
        super().__init__(
            config,
            spec,
            trainables,
            generators=generators,
            critics=critics,
            shape=self._shape,
            pool=self._shape.pool,
        )

    def cycle_weight(self, step: int) -> float:  # noqa: ARG002
        """Constant."""
        return self._shape.cycle

    def further(self, tour: Tour) -> dict[str, tuple[float, Tensor]]:
        """The identity term; only between domains of equally many channels is there one."""
        if not self._shape.identity or len(set(self.domains.channels)) > 1:
            return {}
        forth, back = self.networks["generator_ab"], self.networks["generator_ba"]
        kept = F.l1_loss(forth(tour.b.images), tour.b.images) + F.l1_loss(back(tour.a.images), tour.a.images)
        return {"identity": (self._shape.identity * self._shape.cycle, kept)}


def resnet_networks(
    config: TrialConfig, spec: ImageSpec, trainables: Trainables, shape: ResnetArchitecture
) -> tuple[tuple[nn.Module, nn.Module], dict[str, nn.Module]]:
    """Both generators, and a patch critic for each domain."""
    from_a, to_b = Domains.of(shape, spec).channels

    def generator(channels: int, out: int) -> nn.Module:
        return ResnetTranslator(
            channels,
            out,
            width=shape.width,
            blocks=shape.blocks or (6 if spec.size < 256 else 9),
            norm=shape.generator_norm,
            upsampling=shape.upsampling,
            attention=trainables.attentions[config.attention],
        )

    def critic(channels: int) -> nn.Module:
        return PatchCritic(channels, width=shape.critic_width, layers=shape.critic_layers, norm=shape.critic_norm)

    critics = {"critic_a": critic(from_a), "critic_b": critic(to_b)}
    return (generator(from_a, to_b), generator(to_b, from_a)), critics
