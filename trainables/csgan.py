"""CSGAN (Kancharagunta & Dubey 2019): CycleGAN on pairs, whose translations and round trips must agree."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, cast

from pydantic import Field
from torch.nn import functional as F

from trainables.cyclegan import ResnetArchitecture, resnet_networks
from trainables.cyclic import CyclicGan, Tour
from trainables.translation import TranslationArchitecture, check_translation

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from gansweep.contracts import ImageSpec, Trainables
    from gansweep.experiment import TrialConfig

__all__ = ["Architecture", "CsGan"]


class Architecture(ResnetArchitecture):
    """The networks and weights of `csgan`.

    Args:
        cycle: weight of the round trip.
        synthesized: weight of the cyclic-synthesized loss.
    """

    cycle: float = Field(10.0, ge=0.0)
    synthesized: float = Field(30.0, ge=0.0)


class CsGan(CyclicGan):
    """The translation of one image of a pair and the round trip of the other show the same: L1 between them.

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
        self._shape = cast("Architecture", self.shape(config))
        generators, critics = resnet_networks(config, spec, trainables, self._shape)
        super().__init__(config, spec, trainables, generators=generators, critics=critics, shape=self._shape)

    @classmethod
    def check(cls, config: TrialConfig, spec: ImageSpec | None, trainables: Trainables) -> None:
        """Needs pairs: between unpaired images the two need not agree."""
        check_translation(config, spec, trainables, cls.shape(config), kinds=("pairs", "fusion"))

    def cycle_weight(self, step: int) -> float:  # noqa: ARG002
        """Constant."""
        return self._shape.cycle

    def further(self, tour: Tour) -> dict[str, tuple[float, Tensor]]:
        """The cyclic-synthesized loss of both domains."""
        agreement = F.l1_loss(tour.fake_a, tour.cycled_a) + F.l1_loss(tour.fake_b, tour.cycled_b)
        return {"synthesized": (self._shape.synthesized, agreement)}
