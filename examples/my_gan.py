"""A GAN of your own: two small networks and a hinge loss. It need not be registered.

A family is a class with `networks`, `phases`, `loss` and `sample` (see `gansweep.contracts.Gan`). The training loop,
checkpoints, scoring, search and export then work with it. `my_space.py` searches over this family.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from gansweep.config import Frozen, TrialConfig, validated
from gansweep.contracts import Batch, Condition, ImageSpec, Phase, Scalars, Trainables
from gansweep.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["MyGan"]


class Architecture(Frozen):
    """Parameters of the networks, which a search can choose: `architecture.width` and so on."""

    width: int = Field(32, ge=4, le=512, description="channels of the first layer")
    latent: int = Field(32, ge=1, le=512, description="length of the noise vector")


class MyGan:
    """A class-conditional GAN with a hinge loss (Lim & Ye 2017)."""

    Architecture: ClassVar[type[Frozen]] = Architecture
    smallest: ClassVar[Mapping[str, bool | int | float | str]] = {"width": 4, "latent": 4}

    def __init__(self, config: TrialConfig, spec: ImageSpec, trainables: Trainables) -> None:
        shape = validated(Architecture, config.architecture, where="architecture of my_gan")
        self.latent = shape.latent
        # Not `self.classes`: cloudpickle, which sends this file to the workers, would confuse it with `torch.classes`.
        self.n_classes = len(spec.classes)
        self.networks: Mapping[str, nn.Module] = {
            "generator": _generator(shape, spec, self.n_classes),
            "critic": _critic(shape, spec, self.n_classes),
        }
        self.phases: Sequence[Phase] = (
            Phase("critic", ("critic",), "critic", repeats=config.n_critic),
            Phase("generator", ("generator",), "generator"),
        )
        self.averaged = ("generator",)
        self.state = nn.Module()  # no state in addition to the weights

    @classmethod
    def check(cls, config: TrialConfig, spec: ImageSpec | None, trainables: Trainables) -> None:
        """Refuses settings that this family ignores, so that a search does not vary them."""
        if config.loss.kind != "hinge" or config.penalty.kind != "none":
            raise ConfigError("my_gan has a hinge loss and no penalty", fix="set loss.kind=hinge penalty.kind=none")
        if spec is not None and spec.size % 4:
            raise ConfigError(f"my_gan cannot make images of {spec.size} pixels", fix="choose a multiple of 4")

    def loss(self, phase: str, batch: Batch, step: int) -> tuple[Tensor, Scalars]:
        """Returns the hinge loss of `phase`. Its noise is the batch's, so that W workers compute the same as one."""
        noise = batch.draws.normal(self.latent)
        fake = self._generate(noise, batch.labels)
        if phase == "generator":
            return -self._scores(fake, batch.labels).mean(), {}
        real_scores = self._scores(batch.images, batch.labels)
        fake_scores = self._scores(fake.detach(), batch.labels)
        loss = F.relu(1 - real_scores).mean() + F.relu(1 + fake_scores).mean()
        return loss, {"margin": (real_scores.mean() - fake_scores.mean()).detach()}

    def sample(self, n: int, condition: Condition, generator: torch.Generator) -> Tensor:
        """Returns images `[n, C, H, W]` in [-1, 1] of the requested classes."""
        noise = torch.randn(n, self.latent, generator=generator, device=generator.device)
        return self._generate(noise, condition.labels)

    def _generate(self, noise: Tensor, labels: Tensor) -> Tensor:
        images: Tensor = self.networks["generator"](torch.cat([noise, self._one_hot(labels)], dim=1))
        return images

    def _scores(self, images: Tensor, labels: Tensor) -> Tensor:
        planes = self._one_hot(labels)[:, :, None, None].expand(-1, -1, *images.shape[2:])
        scores: Tensor = self.networks["critic"](torch.cat([images, planes], dim=1))
        return scores.flatten()

    def _one_hot(self, labels: Tensor) -> Tensor:
        return F.one_hot(labels, self.n_classes).to(torch.get_default_dtype())


def _generator(shape: Architecture, spec: ImageSpec, classes: int) -> nn.Module:
    size = spec.size // 4
    return nn.Sequential(
        nn.Linear(shape.latent + classes, 2 * shape.width * size * size),
        nn.Unflatten(1, (2 * shape.width, size, size)),
        nn.ReLU(),
        nn.ConvTranspose2d(2 * shape.width, shape.width, 4, stride=2, padding=1),
        nn.ReLU(),
        nn.ConvTranspose2d(shape.width, spec.channels, 4, stride=2, padding=1),
        nn.Tanh(),
    )


def _critic(shape: Architecture, spec: ImageSpec, classes: int) -> nn.Module:
    size = spec.size // 4
    return nn.Sequential(
        nn.Conv2d(spec.channels + classes, shape.width, 4, stride=2, padding=1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(shape.width, 2 * shape.width, 4, stride=2, padding=1),
        nn.LeakyReLU(0.2),
        nn.Flatten(),
        nn.Linear(2 * shape.width * size * size, 1),
    )
