"""DC2Anet (Jin et al. 2019): CT to MR with a supervised and an unsupervised cycle through the same generators."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, cast

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from trainables.cyclegan import ResnetArchitecture, resnet_networks
from trainables.cyclic import CyclicGan, Tour
from trainables.image_losses import gradient_difference, perceptual_distance, structural_distance
from trainables.translation import Domains, Side, TranslationArchitecture, check_translation
from trainables.translators import PatchCritic

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gansweep.contracts import ImageSpec, Trainables
    from gansweep.experiment import TrialConfig

__all__ = ["Architecture", "Dc2anet"]


class Architecture(ResnetArchitecture):
    """The networks of `dc2anet`, and the weights of its six losses beside the adversarial ones.

    Args:
        cycle: dual cycle consistency.
        voxel: L1 distance to the paired image.
        gradient: gradient difference.
        perceptual: distance of the features of the target's critic.
        structural: one minus SSIM.
    """

    cycle: float = Field(10.0, ge=0.0)
    voxel: float = Field(10.0, ge=0.0)
    gradient: float = Field(1.0, ge=0.0)
    perceptual: float = Field(1.0, ge=0.0)
    structural: float = Field(1.0, ge=0.0)


class Dc2anet(CyclicGan):
    """Four critics: two judge single images (unsupervised), two judge pairs of source and translation (supervised).

    The paper feeds the unsupervised cycle with unaligned images. Here both cycles see the same images; the critics of
    single images make no use of the pairing, so that the cycle they hold is the unsupervised one.

    The default weights are ours; the authors' code has 100 for `voxel` and `gradient`, and 0.05 for `structural`.

    Args:
        config: the trial.
        spec: paired images.
        trainables: losses, penalties and the rest.
    """

    Architecture: ClassVar[type[TranslationArchitecture]] = Architecture
    smallest: ClassVar[Mapping[str, bool | int | float | str]] = {
        "width": 4,
        "blocks": 1,
        "critic_width": 8,
        "critic_layers": 2,
    }

    def __init__(self, config: TrialConfig, spec: ImageSpec, trainables: Trainables) -> None:
        self._shape = shape = cast("Architecture", self.shape(config))
        generators, critics = resnet_networks(config, spec, trainables, shape)
        both = sum(Domains.of(shape, spec).channels)
        for domain in "ab":
            critics[f"pair_critic_{domain}"] = PatchCritic(
                both, width=shape.critic_width, layers=shape.critic_layers, norm=shape.critic_norm
            )
        super().__init__(config, spec, trainables, generators=generators, critics=critics, shape=shape)

    @classmethod
    def check(cls, config: TrialConfig, spec: ImageSpec | None, trainables: Trainables) -> None:
        """Needs pairs."""
        check_translation(config, spec, trainables, cls.shape(config), kinds=("pairs",))

    def cycle_weight(self, step: int) -> float:  # noqa: ARG002
        """Constant."""
        return self._shape.cycle

    def further(self, tour: Tour) -> dict[str, tuple[float, Tensor]]:
        """The supervised terms, both ways."""
        shape, ways = self._shape, (("a", tour.fake_a, tour.a.images), ("b", tour.fake_b, tour.b.images))
        distances: dict[str, tuple[float, Callable[[str, Tensor, Tensor], Tensor]]] = {
            "voxel": (shape.voxel, lambda _, fake, real: F.l1_loss(fake, real)),
            "gradient": (shape.gradient, lambda _, fake, real: gradient_difference(fake, real)),
            "structural": (shape.structural, lambda _, fake, real: structural_distance(fake, real)),
            "perceptual": (shape.perceptual, self._perceptual),
        }
        return {
            name: (weight, torch.stack([distance(*way) for way in ways]).sum())
            for name, (weight, distance) in distances.items()
            # Not computed at weight 0: nothing times a value that is not finite is not nothing.
            if weight
        }

    def _perceptual(self, domain: str, fake: Tensor, real: Tensor) -> Tensor:
        critic = self.networks[f"critic_{domain}"]
        return perceptual_distance(critic(fake), critic(real))

    def _reals(self, a: Side, b: Side) -> dict[str, Side]:
        pair = Side(torch.cat([a.images, b.images], dim=1), a.draws)
        return {**super()._reals(a, b), "pair_critic_a": pair, "pair_critic_b": pair}

    def _fakes(self, a: Tensor, b: Tensor, fake_a: Tensor, fake_b: Tensor) -> dict[str, Tensor]:
        return {
            **super()._fakes(a, b, fake_a, fake_b),
            "pair_critic_a": torch.cat([fake_a, b], dim=1),
            "pair_critic_b": torch.cat([a, fake_b], dim=1),
        }
