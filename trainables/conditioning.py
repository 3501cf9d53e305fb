"""How a class, or a lesion, enters generator and critic. Orthogonal to the architecture: a family asks for channels.

Add one: a subclass of `Conditioning` and a line in `trainables/__init__.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from gansweep.errors import ConfigError

if TYPE_CHECKING:
    from gansweep.contracts import ImageSpec
    from gansweep.experiment import TrialConfig

__all__ = ["Auxiliary", "Concat", "Conditioning", "LesionBurden", "LesionMask", "Projection", "classes_told"]


class Conditioning:
    """None: neither network knows what is wanted. The base of the others.

    Args:
        spec: the cohort's classes and masks.
    """

    projects: ClassVar[bool] = False
    """Whether the critic adds the inner product of its features with a class embedding."""
    classifies: ClassVar[bool] = False
    """Whether the critic has a classifier head."""
    uses_masks: ClassVar[bool] = False
    """Whether masks are needed."""
    needs_classes: ClassVar[bool] = False
    """Whether it is void with one class."""

    def __init__(self, spec: ImageSpec) -> None:
        self.classes = len(spec.classes)

    @classmethod
    def check(cls, config: TrialConfig, spec: ImageSpec | None) -> None:
        """Refuses a cohort without the classes or the masks it needs."""
        if spec is None:
            return
        if cls.needs_classes and len(spec.classes) < 2:
            raise ConfigError(
                f"conditioning = {config.conditioning!r} needs at least two classes, and the cohort has one",
                fix="set conditioning = 'none'",
            )
        if cls.uses_masks and not spec.mask_channels:
            raise ConfigError(
                f"conditioning = {config.conditioning!r} needs lesion masks, and the cohort has none",
                fix="ingest with masks, or condition on the class",
            )

    @property
    def code_size(self) -> int:
        """Numbers the generator gets beside its noise."""
        return 0

    @property
    def map_channels(self) -> int:
        """Channels the generator gets at each of its resolutions."""
        return 0

    @property
    def plane_channels(self) -> int:
        """Channels the critic gets beside the image."""
        return 0

    def code(self, labels: Tensor, masks: Tensor | None) -> Tensor:  # noqa: ARG002
        """`[b, code_size]`."""
        return torch.empty(len(labels), 0, device=labels.device)

    def map(self, masks: Tensor | None) -> Tensor | None:  # noqa: ARG002
        """`[b, map_channels, H, W]`, or None where there are none."""
        return None

    def planes(self, labels: Tensor, masks: Tensor | None, size: int) -> Tensor | None:  # noqa: ARG002
        """`[b, plane_channels, size, size]`, or None where there are none."""
        return None


class _ClassCode(Conditioning):
    """The generator gets the class as one-hot numbers."""

    @property
    def code_size(self) -> int:
        return self.classes

    def code(self, labels: Tensor, masks: Tensor | None) -> Tensor:  # noqa: ARG002
        return F.one_hot(labels, self.classes).float()


class Concat(_ClassCode):
    """Conditional GAN (Mirza & Osindero 2014): the class beside the noise, and as planes beside the image."""

    @property
    def plane_channels(self) -> int:
        """One per class."""
        return self.classes

    def planes(self, labels: Tensor, masks: Tensor | None, size: int) -> Tensor | None:
        """One-hot planes."""
        return self.code(labels, masks)[:, :, None, None].expand(-1, -1, size, size)


class Auxiliary(_ClassCode):
    """AC-GAN (Odena et al. 2017): the critic does not hear the class, it has to name it."""

    classifies = True
    needs_classes = True


class Projection(_ClassCode):
    """Projection critic (Miyato & Koyama 2018)."""

    projects = True
    needs_classes = True


class LesionBurden(Concat):
    """Concatenation of the class and of the lesion's size: the root of the masked fraction of the image."""

    uses_masks = True

    @property
    def code_size(self) -> int:
        """The classes and the burden."""
        return self.classes + 1

    @property
    def plane_channels(self) -> int:
        """The classes and the burden."""
        return self.classes + 1

    def code(self, labels: Tensor, masks: Tensor | None) -> Tensor:
        """One-hot class and burden."""
        burden = _required(masks).mean(dim=(1, 2, 3)).sqrt()
        return torch.cat([F.one_hot(labels, self.classes).float(), burden[:, None]], dim=1)


class LesionMask(Concat):
    """Concatenation of the class, and of the lesion's mask at every resolution of both networks."""

    uses_masks = True

    @property
    def map_channels(self) -> int:
        """The mask."""
        return 1

    @property
    def plane_channels(self) -> int:
        """The classes and the mask."""
        return self.classes + 1

    def map(self, masks: Tensor | None) -> Tensor | None:
        """The mask."""
        return _required(masks)

    def planes(self, labels: Tensor, masks: Tensor | None, size: int) -> Tensor | None:
        """One-hot planes and the mask."""
        classes = super().planes(labels, masks, size)
        assert classes is not None
        return torch.cat([classes, _required(masks)], dim=1)


def classes_told(config: TrialConfig, spec: ImageSpec) -> tuple[int, ...]:
    """The labels of samples that start from noise: none where the generator is told no class and there are several."""
    classes = tuple(range(len(spec.classes)))
    return () if config.conditioning == "none" and len(classes) > 1 else classes


def _required(masks: Tensor | None) -> Tensor:
    if masks is None:
        raise ConfigError("lesion conditioning needs lesion masks, and none were given")
    return masks
