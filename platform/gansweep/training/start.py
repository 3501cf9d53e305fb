"""A training that starts from the weights of another one, of another cohort or of phantoms.

Where patients are few, most of a generator can be learned elsewhere (Wang et al. 2018, "Transferring GANs"). The first
blocks of the critic can be frozen (Mo et al. 2020, "Freeze the Discriminator").
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from gansweep.config import TrialConfig
from gansweep.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import nn

    from gansweep.contracts import Gan

__all__ = ["Start"]

_NETWORK_KEYS = ("family", "architecture", "conditioning", "attention")
"""Settings that decide which weights there are."""


@dataclass(frozen=True)
class Start:
    """Weights that trainings begin with.

    Args:
        origin: where they are from, for messages.
        config: of the training that they are from.
        networks: state dict of each network, critics included.
        frozen: blocks of each critic that keep them, the first ones.
    """

    origin: str
    config: TrialConfig
    networks: Mapping[str, Mapping[str, Tensor]]
    frozen: int = 0

    def settings(self) -> dict[str, Any]:
        """Settings of a trial that the weights fit, by key."""
        values = self.config.as_dict()
        return {key: values[key] for key in _NETWORK_KEYS}

    def into(self, gan: Gan) -> None:
        """Puts the weights into freshly built networks, and freezes the critic's first blocks.

        Raises:
            ConfigError: networks of another shape, or a critic without so many blocks.
        """
        for name, network in gan.networks.items():
            self._fill(name, network)
        if self.frozen:
            critics = {name: network for name, network in gan.networks.items() if name not in gan.averaged}
            for name, critic in critics.items():
                self._freeze(name, critic)

    def to_bytes(self) -> bytes:
        """The content of a file that `from_bytes` reads."""
        buffer = io.BytesIO()
        networks = {name: dict(weights) for name, weights in self.networks.items()}
        values = {"origin": self.origin, "config": self.config.as_dict(), "networks": networks, "frozen": self.frozen}
        torch.save(values, buffer)
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes) -> Start:
        """Reads what `to_bytes` wrote."""
        found = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        config = TrialConfig.model_validate(found["config"])
        return cls(found["origin"], config, found["networks"], found["frozen"])

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

    def _freeze(self, name: str, critic: nn.Module) -> None:
        blocks = list(getattr(critic, "blocks", ()))
        count = len(blocks)
        if count <= self.frozen:
            raise ConfigError(
                f"the {name} has {count} blocks" if count else f"the {name} has no blocks that could be frozen",
                where="--freeze-critic",
                fix=f"freeze at most {count - 1}" if count > 1 else "leave it out",
            )
        for block in blocks[: self.frozen]:
            for parameter in block.parameters():
                # The loop asks for the gradients of all of a network's parameters; Adam does not move by a zero.
                parameter.register_hook(torch.zeros_like)
