"""CycleGAN (Zhu et al. 2017): unpaired translation with cycle consistency."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal, cast

from pydantic import Field
from torch.nn import functional as F

from trainables.algorithms.cyclic import CyclePass, CyclicGan
from trainables.algorithms.translation import Domains, TranslationArchitecture
from trainables.layers.patch_critic import PatchCritic
from trainables.layers.translators import ResnetTranslator

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor, nn

    from gansweep.config import TrialConfig
    from gansweep.contracts import ImageSpec, Trainables

__all__ = ["Architecture", "CycleGan", "ResnetArchitecture", "resnet_networks"]


class ResnetArchitecture(TranslationArchitecture):
    """Residual generators and patch critics.

    Args:
        width: channels of the generators at full resolution.
        blocks: number of their residual blocks; 0 means the paper's: 6 below 256 pixels, else 9.
        generator_norm: normalisation of the generators.
        upsampling: how the generators double the resolution; the paper uses transposed convolutions.
    """

    width: int = Field(64, ge=4, le=256)
    blocks: int = Field(0, ge=0, le=24)
    generator_norm: Literal["instance", "batch", "group", "none"] = "instance"
    upsampling: Literal["nearest", "bilinear", "transposed", "pixel_shuffle"] = "transposed"


class Architecture(ResnetArchitecture):
    """The networks and weights of `cyclegan`.

    Args:
        cycle: weight of the cycle consistency loss, lambda of the paper's equation 3.
        identity: weight of the identity loss as a fraction of `cycle` (section 5.2).
        pool: number of earlier translations kept for each critic (section 4).
    """

    cycle: float = Field(10.0, ge=0.0)
    identity: float = Field(0.0, ge=0.0)
    pool: int = Field(50, ge=0, le=1000)


class CycleGan(CyclicGan):
    """CycleGAN with any loss and penalty; the paper uses `least_squares` and a pool of 50 images.

    Differences from the paper: learning rates are constant, where the paper's fall to zero in the second half of the
    training, and the generators use He initialisation instead of N(0, 0.02).

    Args:
        config: the trial's configuration.
        spec: shape of the images; the cohort has two classes or paired images.
        trainables: registries of the names in the configuration.
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
        """Returns the same weight at every step."""
        return self._shape.cycle

    def extra_losses(self, passed: CyclePass) -> dict[str, tuple[float, Tensor]]:
        """Returns the identity loss; it exists only if both domains have the same number of channels."""
        if not self._shape.identity or len(set(self.domains.channels)) > 1:
            return {}
        to_b = self.networks["generator_ab"]
        to_a = self.networks["generator_ba"]
        # A generator should leave images of its own target domain unchanged.
        change_b = F.l1_loss(to_b(passed.b.images), passed.b.images)
        change_a = F.l1_loss(to_a(passed.a.images), passed.a.images)
        return {"identity": (self._shape.identity * self._shape.cycle, change_b + change_a)}


def resnet_networks(
    config: TrialConfig, spec: ImageSpec, trainables: Trainables, shape: ResnetArchitecture
) -> tuple[tuple[nn.Module, nn.Module], dict[str, nn.Module]]:
    """Returns both generators (A to B, B to A), and a patch critic for each domain by name."""
    from_a, to_b = Domains.from_spec(shape, spec).channels

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
