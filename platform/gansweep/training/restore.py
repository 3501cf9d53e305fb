"""Rebuilds a trained generator from its weights, for sampling."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from gansweep.errors import ConfigError
from gansweep.training.build import build_gan

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor, nn

    from gansweep.config import TrialConfig
    from gansweep.contracts import Gan, ImageSpec, Trainables

__all__ = ["HISTORY", "restore_gan"]

HISTORY = "history."
"""Prefix of the part of `Gan.state` that is only for training.

It may contain images derived from patients, so it is never exported.
"""


def restore_gan(
    config: TrialConfig,
    spec: ImageSpec,
    trainables: Trainables,
    networks: Mapping[str, Mapping[str, Tensor]],
    state: Mapping[str, Tensor],
    device: torch.device,
) -> Gan:
    """Builds the networks of `config` with trained weights, in evaluation mode and without gradients.

    Args:
        config: the trained configuration.
        spec: shape of the training images.
        trainables: registries of the names in the configuration.
        networks: averaged weights of the networks used for sampling (`ema` of a checkpoint).
        state: state dict of `Gan.state` (`gan_state` of a checkpoint), on which samples also depend. Its history may be
            missing.
        device: device of the networks.

    Raises:
        ConfigError: see `build_gan`; or the weights do not fit the networks.
    """
    gan = build_gan(config, spec, trainables)
    for name, weights in networks.items():
        _fill(gan.networks.get(name), weights, name)
    blank = {key: value for key, value in gan.state.state_dict().items() if key.startswith(HISTORY)}
    _fill(gan.state, {**blank, **state}, "state")
    for network in gan.networks.values():
        network.to(device).eval().requires_grad_(requires_grad=False)
        # The layout of the training loop. Another layout rounds differently, and samples must be equal bit for bit.
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    gan.state.to(device)
    return gan


def _fill(target: nn.Module | None, weights: Mapping[str, Tensor], name: str) -> None:
    same_version = "use the version of gansweep that wrote it"
    if target is None:
        raise ConfigError("the family no longer has this network", where=name, fix=same_version)
    try:
        target.load_state_dict(weights)
    except RuntimeError as error:
        raise ConfigError(str(error).splitlines()[-1].strip(), where=name, fix=same_version) from None
