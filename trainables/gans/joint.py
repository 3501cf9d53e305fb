"""Image and mask generated together, by any family from noise to image with one more channel."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import ConfigDict

from gansweep.config import Frozen, TrialConfig, validated
from gansweep.contracts import (
    AnswersPairs,
    Batch,
    ChoosesConditions,
    Condition,
    GanFamily,
    ImageSpec,
    Scalars,
    Scheduled,
)
from gansweep.errors import ConfigError
from trainables.conditioning.conditionings import sampled_classes
from trainables.conditioning.masks import check_masks, masked_batch, masked_spec
from trainables.gans.spade import Spade

if TYPE_CHECKING:
    from collections.abc import Hashable

    import torch
    from torch import Tensor

    from gansweep.contracts import Gan, Trainables

__all__ = ["Architecture", "Joint"]


class Architecture(Frozen):
    """The family that generates image and mask. All other keys belong to its architecture and are validated there.

    Args:
        base: name of a family from noise to image.
    """

    model_config = ConfigDict(frozen=True, extra="allow", allow_inf_nan=False)

    base: str = "dcgan"


class Joint:
    """The family `architecture.base`, trained on images with their mask as a channel.

    The critic thus sees whether mask and image belong together. Images without a lesion have empty masks (-1
    everywhere), and the generator learns that too. The mask of a sample is where its last channel is positive.

    Args:
        config: the trial's configuration.
        spec: shape of the images; the cohort has masks.
        trainables: where the base is looked up.
    """

    Architecture: ClassVar[type[Frozen]] = Architecture
    smallest: ClassVar[dict[str, bool | int | float | str]] = {
        "base": "dcgan",
        "latent": 4,
        "width": 4,
        "attention_size": 8,
    }

    def __init__(self, config: TrialConfig, spec: ImageSpec, trainables: Trainables) -> None:
        family, own = _base(config, trainables)
        self.inner: Gan = family(own, masked_spec(spec), trainables)
        self.networks = self.inner.networks
        self.phases = self.inner.phases
        self.averaged = self.inner.averaged
        self.state = self.inner.state

    @classmethod
    def check(cls, config: TrialConfig, spec: ImageSpec | None, trainables: Trainables) -> None:
        """Rejects a cohort without masks, a base that does not start from noise, and whatever the base rejects."""
        check_masks(config, spec, trainables, given=False)
        family, own = _base(config, trainables)
        validated(family.Architecture, own.architecture, where=f"architecture of joint {own.family}")
        family.check(own, None if spec is None else masked_spec(spec), trainables)

    @classmethod
    def makes(cls, config: TrialConfig, spec: ImageSpec) -> tuple[int, ...]:
        """Returns every class, or none if the generator is not conditioned on the class."""
        return sampled_classes(config, spec)

    def schedule(self, step: int) -> Hashable:
        """Returns the schedule of the base family."""
        return self.inner.schedule(step) if isinstance(self.inner, Scheduled) else None

    def loss(self, phase: str, batch: Batch, step: int) -> tuple[Tensor, Scalars]:
        """Returns the loss of the base family."""
        return self.inner.loss(phase, masked_batch(batch), step)

    def sample(self, n: int, condition: Condition, generator: torch.Generator) -> Tensor:
        """`[n, C + 1, H, W]` samples in [-1, 1]; the last channel is the mask."""
        return self.inner.sample(n, condition, generator)


def _base(config: TrialConfig, trainables: Trainables) -> tuple[GanFamily, TrialConfig]:
    """Returns the base family and its configuration."""
    name = validated(Architecture, config.architecture, where="architecture of joint").base
    family = trainables.gans.get(name)
    if family is None or not _from_noise(family):
        known = ", ".join(name for name, family in trainables.gans.items() if _from_noise(family))
        raise ConfigError(
            f"architecture.base = {name!r} is not a family from noise to image", fix=f"use one of {known}"
        )
    own = {key: value for key, value in config.architecture.items() if key != "base"}
    return family, config.derive({"family": name, "architecture": own})


def _from_noise(family: GanFamily) -> bool:
    """Returns whether samples of the family start from noise alone, and not from images or masks."""
    if isinstance(family, AnswersPairs | ChoosesConditions):
        return False
    is_masked = isinstance(family, type) and issubclass(family, Joint | Spade)
    return not is_masked
