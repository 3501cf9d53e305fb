"""DiscoGAN (Kim et al. 2017): learns cross-domain relations without pairs."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal, cast

from pydantic import Field
from torch.nn import functional as F

from trainables.algorithms.checks import halvings
from trainables.algorithms.cyclic import CyclicGan
from trainables.algorithms.translation import Domains, TranslationArchitecture, check_translation
from trainables.layers.patch_critic import PatchCritic
from trainables.layers.translators import ConvTranslator

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor, nn

    from gansweep.config import TrialConfig
    from gansweep.contracts import ImageSpec, Trainables

__all__ = ["Architecture", "DiscoGan"]


class Architecture(TranslationArchitecture):
    """The networks and weights of `discogan`.

    Args:
        width: channels at half the resolution; doubled at each halving, up to eight times.
        generator_norm: normalisation of the generators.
        reconstruction: weight of the mean squared error of the round trip.
        warm_up: its weight during the warm-up, in which the adversarial losses should find a first mapping.
        warm_up_until: fraction of the budget at which the warm-up ends.
    """

    width: int = Field(64, ge=4, le=256)
    generator_norm: Literal["batch", "instance", "group", "none"] = "batch"
    reconstruction: float = Field(1.0, ge=0.0)
    warm_up: float = Field(1.0, ge=0.0)
    warm_up_until: float = Field(0.0, ge=0.0, le=1.0)


class DiscoGan(CyclicGan):
    """Encoder-decoder generators without skip connections; the paper's loss is `non_saturating`.

    Differences from the paper: the critics score patches, where the paper's give one score per image, and there is no
    weight decay.

    Args:
        config: the trial's configuration.
        spec: shape of the images; the cohort has two classes or paired images.
        trainables: registries of the names in the configuration.
    """

    Architecture: ClassVar[type[TranslationArchitecture]] = Architecture
    smallest: ClassVar[Mapping[str, bool | int | float | str]] = {"width": 4, "critic_width": 8, "critic_layers": 2}
    # New fakes for the critics gain 0.3 dB of PSNR on CT/MR pairs (docs/log.md).
    fresh: ClassVar[bool] = True

    def __init__(self, config: TrialConfig, spec: ImageSpec, trainables: Trainables) -> None:
        self._shape = shape = cast("Architecture", self.shape(config))
        from_a, to_b = Domains.from_spec(shape, spec).channels
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
        """Rejects sizes that cannot be halved down to 4 to 7 pixels, and whatever `check_translation` rejects."""
        # Without images the factor is not used; any number of stages will do.
        stages = 2 if spec is None else halvings(spec, 0, "discogan")[0]
        check_translation(config, spec, trainables, cls.shape(config), factor=2**stages)

    def reconstruction(self, images: Tensor, cycled: Tensor) -> Tensor:
        """Returns the mean squared error (equation 4)."""
        return F.mse_loss(cycled, images)

    def cycle_weight(self, step: int) -> float:
        """`warm_up` during the warm-up, and `reconstruction` after it."""
        warming = step < self._shape.warm_up_until * self.config.iterations
        return self._shape.warm_up if warming else self._shape.reconstruction
