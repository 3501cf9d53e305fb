"""Image and mask drawn together: any family from noise to image, over one channel more."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import ConfigDict

from gansweep.contracts import AnswersPairs, Batch, ChoosesConditions, Condition, GanFamily, ImageSpec, Scalars
from gansweep.errors import ConfigError
from gansweep.experiment import Frozen, TrialConfig, validated
from trainables.conditioning import classes_told
from trainables.masks import check_masks, masked_batch, masked_spec
from trainables.spade import Spade

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from gansweep.contracts import Gan, Trainables

__all__ = ["Architecture", "Joint"]


class Architecture(Frozen):
    """Which family draws image and mask; all other keys are that family's own, and it refuses what it does not know.

    Args:
        base: a key of `GANS`.
    """

    model_config = ConfigDict(frozen=True, extra="allow", allow_inf_nan=False)

    base: str = "dcgan"


class Joint:
    """Generator and critic of `architecture.base` on images that carry their mask as a channel.

    So the critic judges whether mask and image belong together. Images of a class without lesions have empty masks
    (-1 everywhere), and the generator learns that too. A sample's mask is where its last channel is positive.

    Args:
        config: the trial.
        spec: images of a cohort with masks.
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
        self.networks, self.phases = self.inner.networks, self.inner.phases
        self.averaged, self.state = self.inner.averaged, self.inner.state

    @classmethod
    def check(cls, config: TrialConfig, spec: ImageSpec | None, trainables: Trainables) -> None:
        """Refuses a cohort without masks, a base that does not start from noise, and what the base refuses."""
        check_masks(config, spec, trainables, given=False)
        family, own = _base(config, trainables)
        validated(family.Architecture, own.architecture, where=f"architecture of joint {own.family}")
        family.check(own, None if spec is None else masked_spec(spec), trainables)

    @classmethod
    def makes(cls, config: TrialConfig, spec: ImageSpec) -> tuple[int, ...]:
        """Every class; none where it is told none."""
        return classes_told(config, spec)

    def loss(self, phase: str, batch: Batch, step: int) -> tuple[Tensor, Scalars]:
        """The base's."""
        return self.inner.loss(phase, masked_batch(batch), step)

    def sample(self, n: int, condition: Condition, generator: torch.Generator) -> Tensor:
        """`[n, C + 1, H, W]` images in [-1, 1], the last channel the mask."""
        return self.inner.sample(n, condition, generator)


def _base(config: TrialConfig, trainables: Trainables) -> tuple[GanFamily, TrialConfig]:
    """The base and its own configuration."""
    name = validated(Architecture, config.architecture, where="architecture of joint").base
    family = trainables.gans.get(name)
    if family is None or not _from_noise(family):
        known = ", ".join(name for name, family in trainables.gans.items() if _from_noise(family))
        raise ConfigError(f"architecture.base = {name!r} is no family from noise to image", fix=f"use one of {known}")
    own = {key: value for key, value in config.architecture.items() if key != "base"}
    return family, config.derive({"family": name, "architecture": own})


def _from_noise(family: GanFamily) -> bool:
    """Whether its samples start from neither images nor masks."""
    starts_elsewhere = isinstance(family, AnswersPairs | ChoosesConditions)
    return not (starts_elsewhere or (isinstance(family, type) and issubclass(family, Joint | Spade)))
