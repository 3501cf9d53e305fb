"""DiscoGAN (Kim et al. 2017): cross-domain relations discovered without pairs."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal, cast

from pydantic import Field
from torch.nn import functional as F

from trainables.checks import halvings
from trainables.cyclic import CyclicGan
from trainables.translation import Domains, TranslationArchitecture, check_translation
from trainables.translators import ConvTranslator, PatchCritic

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor, nn

    from gansweep.contracts import ImageSpec, Trainables
    from gansweep.experiment import TrialConfig

__all__ = ["Architecture", "DiscoGan"]


class Architecture(TranslationArchitecture):
    """The networks and weights of `discogan`.

    Args:
        width: channels at half the resolution; doubled at each halving, up to eight times.
        generator_norm: normalisation in the generators.
        reconstruction: weight of the round trip's mean squared error.
        warm_up: weight of the same at first, while the adversarial terms find a mapping at all.
        warm_up_until: fraction of the budget until when.
    """

    width: int = Field(64, ge=4, le=256)
    generator_norm: Literal["batch", "instance", "group", "none"] = "batch"
    reconstruction: float = Field(1.0, ge=0.0)
    warm_up: float = Field(1.0, ge=0.0)
    warm_up_until: float = Field(0.0, ge=0.0, le=1.0)


class DiscoGan(CyclicGan):
    """Encoder-decoders without skips, the round trip in squared error; the paper's loss is `non_saturating`.

    Departures: the critics judge patches, where the paper's give one score per image; and weights do not decay.

    Args:
        config: the trial.
        spec: images of two classes, or paired images.
        trainables: losses, penalties and the rest.
    """

    Architecture: ClassVar[type[TranslationArchitecture]] = Architecture
    smallest: ClassVar[Mapping[str, bool | int | float | str]] = {"width": 4, "critic_width": 8, "critic_layers": 2}
    fresh: ClassVar[bool] = True  # 0.3 dB on CT/MR pairs (docs/log.md)

    def __init__(self, config: TrialConfig, spec: ImageSpec, trainables: Trainables) -> None:
        self._shape = shape = cast("Architecture", self.shape(config))
        from_a, to_b = Domains.of(shape, spec).channels
        stages, _ = halvings(spec, 0, "discogan")

        def generator(channels: int, out: int) -> nn.Module:
            return ConvTranslator(
                channels,
                out,
                width=shape.width,
                stages=stages,
                norm=shape.generator_norm,
                attention=trainables.attentions[config.attention],
            )

        def critic(channels: int) -> nn.Module:
            return PatchCritic(channels, width=shape.critic_width, layers=shape.critic_layers, norm=shape.critic_norm)

        super().__init__(
            config,
            spec,
            trainables,
            generators=(generator(from_a, to_b), generator(to_b, from_a)),
            critics={"critic_a": critic(from_a), "critic_b": critic(to_b)},
            shape=shape,
        )

    @classmethod
    def check(cls, config: TrialConfig, spec: ImageSpec | None, trainables: Trainables) -> None:
        """Refuses sizes that cannot be halved down to 4 to 7 pixels, and what CycleGAN refuses."""
        stages = 2 if spec is None else halvings(spec, 0, "discogan")[0]
        check_translation(config, spec, trainables, cls.shape(config), factor=2**stages)

    def reconstruction(self, images: Tensor, cycled: Tensor) -> Tensor:
        """Mean squared error (equation 4)."""
        return F.mse_loss(cycled, images)

    def cycle_weight(self, step: int) -> float:
        """The warm-up's, and then the full one."""
        warming = step < self._shape.warm_up_until * self.config.iterations
        return self._shape.warm_up if warming else self._shape.reconstruction
