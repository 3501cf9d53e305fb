"""CSGAN (Kancharagunta & Dubey 2019): CycleGAN on pairs, with a cyclic-synthesized loss."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, cast

from pydantic import Field
from torch.nn import functional as F

from trainables.algorithms.cyclic import CyclePass, CyclicGan
from trainables.algorithms.translation import TranslationArchitecture, check_translation
from trainables.gans.cyclegan import ResnetArchitecture, resnet_networks

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from gansweep.config import TrialConfig
    from gansweep.contracts import ImageSpec, Trainables

__all__ = ["Architecture", "CsGan"]


class Architecture(ResnetArchitecture):
    """The networks and weights of `csgan`.

    Args:
        cycle: weight of the cycle consistency loss.
        synthesized: weight of the cyclic-synthesized loss.
    """

    cycle: float = Field(10.0, ge=0.0)
    synthesized: float = Field(30.0, ge=0.0)


class CsGan(CyclicGan):
    """The cyclic-synthesized loss: L1 between the translation of one image of a pair and the round trip of the other.

    Both should show the same image.

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
        self._shape = cast("Architecture", self.shape(config))
        generators, critics = resnet_networks(config, spec, trainables, self._shape)
        super().__init__(config, spec, trainables, generators=generators, critics=critics, shape=self._shape)

    @classmethod
    def check(cls, config: TrialConfig, spec: ImageSpec | None, trainables: Trainables) -> None:
        """Rejects unpaired domains, where translation and round trip need not agree."""
        check_translation(config, spec, trainables, cls.shape(config), kinds=("pairs", "fusion"))

    def cycle_weight(self, step: int) -> float:  # noqa: ARG002
        """Returns the same weight at every step."""
        return self._shape.cycle

    def extra_losses(self, passed: CyclePass) -> dict[str, tuple[float, Tensor]]:
        """Returns the cyclic-synthesized loss of both domains."""
        agreement = F.l1_loss(passed.fake_a, passed.cycled_a) + F.l1_loss(passed.fake_b, passed.cycled_b)
        return {"synthesized": (self._shape.synthesized, agreement)}
