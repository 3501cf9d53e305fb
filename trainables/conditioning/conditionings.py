"""Conditioning of generator and critic on a class or a lesion.

A conditioning is independent of the architecture: a family only asks how many channels it needs. To add one, write a
subclass of `Conditioning` and add a line in `trainables/__init__.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from gansweep.errors import ConfigError
from trainables.conditioning.labels import one_hot

if TYPE_CHECKING:
    from gansweep.config import TrialConfig
    from gansweep.contracts import ImageSpec

__all__ = ["Auxiliary", "Concat", "Conditioning", "LesionBurden", "LesionMask", "Projection", "sampled_classes"]


class Conditioning:
    """No conditioning, and the base class of the others.

    Args:
        spec: shape of the images, with the cohort's classes and masks.
    """

    projects: ClassVar[bool] = False
    """Whether the critic adds the inner product of its features with a class embedding."""
    classifies: ClassVar[bool] = False
    """Whether the critic has a classifier head."""
    uses_masks: ClassVar[bool] = False
    """Whether lesion masks are needed."""
    needs_classes: ClassVar[bool] = False
    """Whether at least two classes are needed."""

    def __init__(self, spec: ImageSpec) -> None:
        self.classes = len(spec.classes)

    @classmethod
    def check(cls, config: TrialConfig, spec: ImageSpec | None) -> None:
        """Rejects a cohort without the classes or the masks that are needed.

        Raises:
            ConfigError: the cohort has too few classes, or no masks.
        """
        if spec is None:
            return
        if cls.needs_classes and len(spec.classes) < 2:
            raise ConfigError(
                f"conditioning = {config.conditioning!r} needs at least two classes, but the cohort has one",
                fix="set conditioning = 'none'",
            )
        if cls.uses_masks and not spec.mask_channels:
            raise ConfigError(
                f"conditioning = {config.conditioning!r} needs lesion masks, but the cohort has none",
                fix="ingest with masks, or condition on the class",
            )

    @property
    def code_size(self) -> int:
        """Size of the vector appended to the generator's noise."""
        return 0

    @property
    def map_channels(self) -> int:
        """Channels appended to the generator's feature maps at each resolution."""
        return 0

    @property
    def plane_channels(self) -> int:
        """Channels appended to the critic's input image."""
        return 0

    def code(self, labels: Tensor, masks: Tensor | None) -> Tensor:  # noqa: ARG002
        """Returns the vector `[b, code_size]` for the generator, from labels `[b]` and masks `[b, 1, H, W]`."""
        return torch.empty(len(labels), 0, device=labels.device)

    def map(self, masks: Tensor | None) -> Tensor | None:  # noqa: ARG002
        """Returns the channels `[b, map_channels, H, W]` for the generator, or None if there are none."""
        return None

    def planes(self, labels: Tensor, masks: Tensor | None, size: int) -> Tensor | None:  # noqa: ARG002
        """Returns the channels `[b, plane_channels, size, size]` for the critic, or None if there are none."""
        return None


class _ClassCode(Conditioning):
    """The generator gets the class as a one-hot vector."""

    @property
    def code_size(self) -> int:
        return self.classes

    def code(self, labels: Tensor, masks: Tensor | None) -> Tensor:  # noqa: ARG002
        return one_hot(labels, self.classes)


class Concat(_ClassCode):
    """Conditional GAN (Mirza & Osindero 2014): the one-hot class is appended to noise and image, there as planes."""

    @property
    def plane_channels(self) -> int:
        """One per class."""
        return self.classes

    def planes(self, labels: Tensor, masks: Tensor | None, size: int) -> Tensor | None:
        """Returns one-hot planes."""
        return self.code(labels, masks)[:, :, None, None].expand(-1, -1, size, size)


class Auxiliary(_ClassCode):
    """AC-GAN (Odena et al. 2017): the critic is not told the class; it has a head that predicts it."""

    classifies = True
    needs_classes = True


class Projection(_ClassCode):
    """Projection critic (Miyato & Koyama 2018): the score gets the inner product of features and class embedding."""

    projects = True
    needs_classes = True


class LesionBurden(Concat):
    """The class and the lesion's burden: the square root of the masked fraction of the image, which is a length."""

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
        """Returns one-hot class and burden."""
        burden = _required(masks).mean(dim=(1, 2, 3)).sqrt()
        return torch.cat([one_hot(labels, self.classes), burden[:, None]], dim=1)


class LesionMask(Concat):
    """The class, and the lesion's mask: a channel of the critic's input and of each resolution of the generator."""

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
        """Returns the mask."""
        return _required(masks)

    def planes(self, labels: Tensor, masks: Tensor | None, size: int) -> Tensor | None:
        """Returns one-hot planes and the mask."""
        classes = super().planes(labels, masks, size)
        assert classes is not None
        return torch.cat([classes, _required(masks)], dim=1)


def sampled_classes(config: TrialConfig, spec: ImageSpec) -> tuple[int, ...]:
    """Returns labels of the classes that a generator from noise can sample.

    Without conditioning in a cohort of several classes the class of a sample is unknown, so there are none.
    """
    classes = tuple(range(len(spec.classes)))
    return () if config.conditioning == "none" and len(classes) > 1 else classes


def _required(masks: Tensor | None) -> Tensor:
    if masks is None:
        raise ConfigError("lesion conditioning needs lesion masks, but none were given")
    return masks
