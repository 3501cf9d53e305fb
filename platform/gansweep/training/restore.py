"""A trained generator from its weights, as it samples."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from gansweep.errors import ConfigError
from gansweep.training.build import build_gan

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor, nn

    from gansweep.contracts import Gan, ImageSpec, Trainables
    from gansweep.experiment import TrialConfig

__all__ = ["HISTORY", "restore_gan"]

HISTORY = "history."
"""What of `Gan.state` serves training alone. It may hold images made from patients', and is never exported."""


def restore_gan(
    config: TrialConfig,
    spec: ImageSpec,
    trainables: Trainables,
    networks: Mapping[str, Mapping[str, Tensor]],
    state: Mapping[str, Tensor],
    device: torch.device,
) -> Gan:
    """The family of `config` with its networks in evaluation mode and without gradients.

    Args:
        config: what was trained.
        spec: the images it was trained on.
        trainables: what the configuration names.
        networks: averaged weights of the networks that sampling uses (`ema` of a checkpoint).
        state: of `Gan.state` (`gan_state` of a checkpoint): samples depend on it too. Without its history, a blank one.
        device: where to put it.

    Raises:
        ConfigError: as `build_gan`, or weights that do not fit.
    """
    gan = build_gan(config, spec, trainables)
    for name, weights in networks.items():
        _fill(gan.networks.get(name), weights, name)
    blank = {key: value for key, value in gan.state.state_dict().items() if key.startswith(HISTORY)}
    _fill(gan.state, {**blank, **state}, "state")
    for network in gan.networks.values():
        network.to(device).eval().requires_grad_(requires_grad=False)
        # The training loop's layout: another one rounds otherwise, and its samples are to be repeated bit for bit.
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    gan.state.to(device)
    return gan


def _fill(target: nn.Module | None, weights: Mapping[str, Tensor], name: str) -> None:
    same = "use the gansweep that wrote it"
    if target is None:
        raise ConfigError("the family has no such network any more", where=name, fix=same)
    try:
        target.load_state_dict(weights)
    except RuntimeError as error:
        raise ConfigError(str(error).splitlines()[-1].strip(), where=name, fix=same) from None
