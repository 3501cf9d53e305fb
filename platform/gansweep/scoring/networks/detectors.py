"""Looks up the detector in the registry, and checks that it can be used on a cohort's images."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gansweep.devices import out_of_memory
from gansweep.errors import ConfigError, unknown_name
from gansweep.seeds import seeded

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

    from gansweep.config import ScoringSettings
    from gansweep.contracts import ImageSpec, Trainables

__all__ = ["check_detector", "detector_builder"]


def detector_builder(scoring: ScoringSettings, trainables: Trainables, spec: ImageSpec) -> Callable[[], nn.Module]:
    """Returns a function that makes an untrained detector, from images `[b, C, H, W]` to logits `[b, classes]`.

    Args:
        scoring: settings with the name of the detector and, for detectors on features, the file of their network.
        trainables: registry of the detectors.
        spec: shape of the images.

    Raises:
        ConfigError: the detector is unknown, a detector on features has no file, or another detector has one.
    """
    name = scoring.detector
    if name not in trainables.detectors:
        raise unknown_name("detector", name, trainables.detectors, where="scoring.detector")
    kind = trainables.detectors[name]
    if not getattr(kind, "on_features", False):
        if scoring.detector_features is not None:
            heads = [other for other, one in trainables.detectors.items() if getattr(one, "on_features", False)]
            raise ConfigError(
                f"detector {name} learns on images and reads no file",
                where="scoring.detector_features",
                fix=f"leave it out, or set scoring.detector to {' or '.join(heads)}" if heads else "leave it out",
            )
        return partial(kind, spec)
    if scoring.detector_features is None:
        raise ConfigError(
            f"detector {name} learns on features, and no file gives them",
            where="scoring.detector",
            fix="--set scoring.detector_features=FILE.pt, a TorchScript file",
        )
    return partial(kind, spec, scoring.detector_features)


def check_detector(scoring: ScoringSettings, trainables: Trainables, spec: ImageSpec) -> None:
    """Tries the untrained detector on two images.

    Raises:
        ConfigError: see `detector_builder`; or the feature file cannot be used; or the detector does not support this
            image shape, or does not return one finite logit per class and image.
    """
    build = detector_builder(scoring, trainables, spec)
    where = f"detector {scoring.detector}"
    images = torch.linspace(-1, 1, 2 * spec.channels * spec.size**2).view(2, spec.channels, spec.size, spec.size)
    try:
        with seeded(0, torch.device("cpu")), torch.no_grad():
            found = build().eval()(images)
    except RuntimeError as error:
        if out_of_memory(error):
            raise
        shape = "x".join(str(n) for n in images.shape)
        reason = str(error).strip().splitlines()[-1]
        raise ConfigError(f"cannot take images {shape}: {reason}", where=where, fix="choose another") from None
    if not isinstance(found, Tensor) or found.shape != (2, len(spec.classes)):
        got = f"shape {tuple(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
        raise ConfigError(
            f"gives {got} for 2 images", where=where, fix=f"it must return logits [b, {len(spec.classes)}]"
        )
    if not found.isfinite().all():
        raise ConfigError("gives logits that are not finite", where=where, fix="choose another")
