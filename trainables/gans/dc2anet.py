"""DC2Anet (Jin et al. 2019): CT to MR with a supervised and an unsupervised cycle through the same generators."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, cast

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from trainables.algorithms.cyclic import CyclePass, CyclicGan
from trainables.algorithms.translation import DomainBatch, Domains, TranslationArchitecture, check_translation
from trainables.gans.cyclegan import ResnetArchitecture, resnet_networks
from trainables.layers.patch_critic import PatchCritic
from trainables.objectives.image_losses import gradient_difference, perceptual_distance, structural_distance

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gansweep.config import TrialConfig
    from gansweep.contracts import ImageSpec, Trainables

    Distance = Callable[[Tensor, Tensor], Tensor]

__all__ = ["Architecture", "Dc2anet"]


class Architecture(ResnetArchitecture):
    """The networks of `dc2anet`, and the weights of its losses besides the adversarial ones.

    Args:
        cycle: weight of the dual cycle consistency loss.
        voxel: weight of the L1 distance to the paired image.
        gradient: weight of the gradient difference.
        perceptual: weight of the distance between features of the target's critic.
        structural: weight of one minus SSIM.
    """

    cycle: float = Field(10.0, ge=0.0)
    voxel: float = Field(10.0, ge=0.0)
    gradient: float = Field(1.0, ge=0.0)
    perceptual: float = Field(1.0, ge=0.0)
    structural: float = Field(1.0, ge=0.0)


class Dc2anet(CyclicGan):
    """Four critics: two score single images (unsupervised), two score pairs of source and translation (supervised).

    In the paper the unsupervised cycle gets unaligned images. Here both cycles get the same images. The critics of
    single images do not see the pairing, so their cycle is still unsupervised.

    The default weights are our own; the authors' code uses 100 for `voxel` and `gradient`, and 0.05 for `structural`.

    Args:
        config: the trial's configuration.
        spec: shape of the images; the cohort has paired images.
        trainables: registries of the names in the configuration.
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
        both = sum(Domains.from_spec(shape, spec).channels)
        for domain in "ab":
            critics[f"pair_critic_{domain}"] = PatchCritic(
                both, width=shape.critic_width, layers=shape.critic_layers, norm=shape.critic_norm
            )
        super().__init__(config, spec, trainables, generators=generators, critics=critics, shape=shape)

    @classmethod
    def check(cls, config: TrialConfig, spec: ImageSpec | None, trainables: Trainables) -> None:
        """Rejects a cohort without pairs, and whatever `check_translation` rejects."""
        check_translation(config, spec, trainables, cls.shape(config), kinds=("pairs",))

    def cycle_weight(self, step: int) -> float:  # noqa: ARG002
        """Returns the same weight at every step."""
        return self._shape.cycle

    def extra_losses(self, passed: CyclePass) -> dict[str, tuple[float, Tensor]]:
        """Returns the supervised losses of both directions."""
        shape = self._shape
        # Each loss with its weight. One of weight 0 is left out, because 0 times a non-finite value would be NaN.
        losses: dict[str, tuple[float, Distance]] = {
            "voxel": (shape.voxel, F.l1_loss),
            "gradient": (shape.gradient, gradient_difference),
            "structural": (shape.structural, structural_distance),
        }
        terms: dict[str, tuple[float, Tensor]] = {}
        for name, (weight, distance) in losses.items():
            if weight:
                to_a = distance(passed.fake_a, passed.a.images)
                to_b = distance(passed.fake_b, passed.b.images)
                terms[name] = (weight, to_a + to_b)
        if shape.perceptual:
            to_a = self._perceptual("critic_a", passed.fake_a, passed.a.images)
            to_b = self._perceptual("critic_b", passed.fake_b, passed.b.images)
            terms["perceptual"] = (shape.perceptual, to_a + to_b)
        return terms

    def _perceptual(self, critic_name: str, fake: Tensor, real: Tensor) -> Tensor:
        critic = self.networks[critic_name]
        return perceptual_distance(critic(fake), critic(real))

    def _reals(self, a: DomainBatch, b: DomainBatch) -> dict[str, DomainBatch]:
        pair = DomainBatch(torch.cat([a.images, b.images], dim=1), a.draws)
        return {**super()._reals(a, b), "pair_critic_a": pair, "pair_critic_b": pair}

    def _fakes(self, a: Tensor, b: Tensor, fake_a: Tensor, fake_b: Tensor) -> dict[str, Tensor]:
        return {
            **super()._fakes(a, b, fake_a, fake_b),
            "pair_critic_a": torch.cat([fake_a, b], dim=1),
            "pair_critic_b": torch.cat([a, fake_b], dim=1),
        }
