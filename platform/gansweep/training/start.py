"""Transfer learning: a training that starts from the weights of a training on another cohort or on phantoms.

With few patients, most of a generator can be learned on other data (Wang et al. 2018, "Transferring GANs"). The first
blocks of the critic, next to the image, can be frozen (Mo et al. 2020, "Freeze the Discriminator").
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from gansweep.config import TrialConfig
from gansweep.contracts import FreezableCritic
from gansweep.errors import ConfigError
from gansweep.files import read_tensors

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import nn

    from gansweep.contracts import Gan

__all__ = ["Start"]

_NETWORK_KEYS = ("family", "architecture", "conditioning", "attention")
"""Settings that determine the names and shapes of the weights."""


@dataclass(frozen=True)
class Start:
    """Initial weights of trainings.

    Args:
        origin: name of the training that they come from, for messages.
        config: configuration of that training.
        networks: state dict of each network, including critics.
        frozen: number of blocks of each critic, from the one next to the image, whose weights are not trained.
        generator_only: whether `networks` has those used for sampling alone, as in an export. Others start anew.
    """

    origin: str
    config: TrialConfig
    networks: Mapping[str, Mapping[str, Tensor]]
    frozen: int = 0
    generator_only: bool = False

    def told(self) -> str:
        """Returns what trainings began with, for their records."""
        parts = [self.origin]
        if self.generator_only:
            parts.append("generator alone, critic with random weights")
        if self.frozen:
            parts.append(f"first {self.frozen} blocks of the critic not trained")
        return "; ".join(parts)

    def settings(self) -> dict[str, Any]:
        """Returns the settings that a trial must have for the weights to fit, by key."""
        values = self.config.as_dict()
        return {**{key: values[key] for key in _NETWORK_KEYS}, "data.size": self.config.data.size}

    def into(self, gan: Gan) -> None:
        """Loads the weights into freshly built networks, and freezes the first blocks of each critic.

        Raises:
            ConfigError: the networks have other layers or shapes, or a critic has too few blocks to freeze, or none
                that can be frozen.
        """
        for name, network in gan.networks.items():
            starts_anew = self.generator_only and name not in gan.averaged
            if not starts_anew:
                self._fill(name, network)
        if not self.frozen:
            return
        critics = {name: network for name, network in gan.networks.items() if isinstance(network, FreezableCritic)}
        if not critics:
            raise ConfigError(
                f"{self.config.family} has no critic whose blocks can be frozen",
                where="--freeze-critic",
                fix="leave it out",
            )
        for name, critic in critics.items():
            self._freeze(name, critic)

    def to_bytes(self) -> bytes:
        """Returns the content of a file that `from_bytes` can read."""
        buffer = io.BytesIO()
        networks = {name: dict(weights) for name, weights in self.networks.items()}
        values = {
            "origin": self.origin,
            "config": self.config.as_dict(),
            "networks": networks,
            "frozen": self.frozen,
            "generator_only": self.generator_only,
        }
        torch.save(values, buffer)
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes) -> Start:
        """Reads the content of a file from `to_bytes`. Raises ValueError, KeyError or TypeError if it is damaged."""
        found = read_tensors(io.BytesIO(content))
        config = TrialConfig.model_validate(found["config"])
        # Files of earlier versions have all networks.
        return cls(found["origin"], config, found["networks"], found["frozen"], found.get("generator_only", False))

    def _fill(self, name: str, network: nn.Module) -> None:
        weights = self.networks.get(name)
        here = {key: tuple(tensor.shape) for key, tensor in network.state_dict().items()}
        there = {key: tuple(tensor.shape) for key, tensor in (weights or {}).items()}
        if weights is None or here.keys() != there.keys():
            raise ConfigError(
                f"the {name} of {self.origin} has other layers",
                where="--start-from",
                fix="start from a training of the same family and architecture, on images of the same size",
            )
        unlike = next((key for key in here if here[key] != there[key]), None)
        if unlike is not None:
            raise ConfigError(
                f"the {name} of {self.origin} does not fit: {unlike} is {there[unlike]} there and {here[unlike]} here",
                where="--start-from",
                fix="start from a training on images of the same size, channels and classes",
            )
        network.load_state_dict(weights)

    def _freeze(self, name: str, critic: FreezableCritic) -> None:
        blocks = critic.blocks_from_image()
        count = len(blocks)
        if count <= self.frozen:
            raise ConfigError(
                f"the {name} has {count} {'block' if count == 1 else 'blocks'}",
                where="--freeze-critic",
                fix=f"freeze at most {count - 1}" if count > 1 else "leave it out",
            )
        for module in chain.from_iterable(blocks[: self.frozen]):
            for parameter in module.parameters():
                # The loop computes gradients of all parameters of a network. Adam does not change a weight whose
                # gradient is always zero.
                parameter.register_hook(torch.zeros_like)
