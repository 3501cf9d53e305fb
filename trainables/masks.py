"""Images that carry their lesion's mask as a further channel in [-1, 1]: positive where the lesion is."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gansweep.errors import ConfigError

if TYPE_CHECKING:
    from gansweep.contracts import Batch, ImageSpec, Trainables
    from gansweep.experiment import TrialConfig

__all__ = ["check_masks", "masked_batch", "masked_images", "masked_spec", "needed_masks"]


def masked_spec(spec: ImageSpec) -> ImageSpec:
    """The spec of images that carry their mask."""
    return replace(spec, channels=spec.channels + spec.mask_channels)


def masked_images(images: Tensor, masks: Tensor) -> Tensor:
    """`[b, C, H, W]` and masks `[b, 1, H, W]` in [0, 1] as `[b, C + 1, H, W]` in [-1, 1]."""
    return torch.cat([images, 2.0 * masks.to(images.dtype) - 1.0], dim=1)


def masked_batch(batch: Batch) -> Batch:
    """The batch with images that carry their mask."""
    return replace(batch, images=masked_images(batch.images, needed_masks(batch.masks)))


def needed_masks(masks: Tensor | None) -> Tensor:
    """`masks`.

    Raises:
        ConfigError: there are none.
    """
    if masks is None:
        raise ConfigError("this family needs lesion masks, and none were given", fix="ingest with masks")
    return masks


def check_masks(config: TrialConfig, spec: ImageSpec | None, trainables: Trainables, *, given: bool) -> None:
    """Refuses a cohort without masks, a conditioning on what the family knows or draws by itself, and brighter masks.

    Args:
        config: the trial.
        spec: the images; None while unknown.
        trainables: what names refer to.
        given: whether the family is given masks; else it draws them.

    Raises:
        ConfigError: with the reason.
    """
    if spec is not None and not spec.mask_channels:
        raise ConfigError(
            f"family = {config.family!r} needs lesion masks, and the cohort has none",
            fix="ingest with masks, or choose another family",
        )
    if trainables.conditionings[config.conditioning].uses_masks:
        why = "is given every mask anyway" if given else "draws the masks itself"
        raise ConfigError(
            f"conditioning = {config.conditioning!r}: {config.family} {why}", fix="condition on the class"
        )
    if config.augmentation.kind != "none" and "intensity" in config.augmentation.policy:
        raise ConfigError(
            f"augmentation.policy with 'intensity': {config.family}'s critic sees the mask as a channel of the image, "
            "and it would be brightened too",
            fix="leave 'intensity' out",
        )
