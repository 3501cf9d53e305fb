"""Images with their lesion mask as an additional channel in [-1, 1], which is positive inside the lesion."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gansweep.errors import ConfigError

if TYPE_CHECKING:
    from gansweep.config import TrialConfig
    from gansweep.contracts import Batch, ImageSpec, Trainables

__all__ = ["check_masks", "masked_batch", "masked_images", "masked_spec", "required_masks"]


def masked_spec(spec: ImageSpec) -> ImageSpec:
    """Returns the spec of images with their mask as a channel."""
    return replace(spec, channels=spec.channels + spec.mask_channels)


def masked_images(images: Tensor, masks: Tensor) -> Tensor:
    """Appends masks `[b, 1, H, W]` in [0, 1] to images `[b, C, H, W]`: `[b, C + 1, H, W]` in [-1, 1]."""
    return torch.cat([images, 2.0 * masks.to(images.dtype) - 1.0], dim=1)


def masked_batch(batch: Batch) -> Batch:
    """Returns the batch with masks appended to its images."""
    return replace(batch, images=masked_images(batch.images, required_masks(batch.masks)))


def required_masks(masks: Tensor | None) -> Tensor:
    """Returns `masks`.

    Raises:
        ConfigError: they are None.
    """
    if masks is None:
        raise ConfigError("this family needs lesion masks, but none were given", fix="ingest with masks")
    return masks


def check_masks(config: TrialConfig, spec: ImageSpec | None, trainables: Trainables, *, given: bool) -> None:
    """Checks a family whose images carry their mask as a channel.

    Args:
        config: the trial's configuration.
        spec: shape of the images; None while no cohort is known.
        trainables: registries of the names in the configuration.
        given: whether the family takes masks as input; otherwise it generates them.

    Raises:
        ConfigError: the cohort has no masks, the conditioning would add the mask a second time, or the augmentation
            would change the mask's values.
    """
    if spec is not None and not spec.mask_channels:
        raise ConfigError(
            f"family = {config.family!r} needs lesion masks, but the cohort has none",
            fix="ingest with masks, or choose another family",
        )
    if trainables.conditionings[config.conditioning].uses_masks:
        why = "already takes the mask as input" if given else "generates the masks itself"
        raise ConfigError(
            f"conditioning = {config.conditioning!r}: {config.family} {why}", fix="condition on the class"
        )
    if config.augmentation.kind != "none" and "intensity" in config.augmentation.policy:
        raise ConfigError(
            f"augmentation.policy with 'intensity': the critic of {config.family} sees the mask as a channel of the "
            "image, and its values would change too",
            fix="leave 'intensity' out",
        )
