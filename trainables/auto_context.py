"""Context-aware GANs (Nie et al. 2017): a cascade in which each stage sees what the last one made."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from gansweep.experiment import Frozen, validated
from trainables.adversary import Adversary, adversarial_phases
from trainables.image_losses import gradient_difference
from trainables.translation import Domains, TranslationArchitecture, check_translation
from trainables.translators import FullyConvolutional, PatchCritic

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gansweep.contracts import Batch, Condition, ImageSet, ImageSpec, PairedTask, Phase, Scalars, Trainables
    from gansweep.experiment import TrialConfig

__all__ = ["Architecture", "AutoContext"]


class Architecture(TranslationArchitecture):
    """The networks and weights of `auto_context`.

    Args:
        stages: generators in the cascade, each with a critic; the budget is shared equally.
        width: channels of a generator's outer layers; twice as many inside.
        generator_norm: normalisation in the generators.
        adversarial: weight of the adversarial loss (lambda 1 of the paper's equation 6).
        distance: weight of the squared distance (lambda 2).
        gradient: weight of the gradient difference (lambda 3).
    """

    stages: int = Field(2, ge=1, le=4)
    width: int = Field(32, ge=4, le=128)
    generator_norm: Literal["batch", "instance", "group", "none"] = "batch"
    adversarial: float = Field(0.5, ge=0.0)
    distance: float = Field(1.0, ge=0.0)
    gradient: float = Field(1.0, ge=0.0)


class AutoContext:
    """Stage k is trained in its own part of the budget, with the stages before it frozen.

    Departures: two dimensions and whole images, where the paper trains on patches of 32x32x32 voxels; and the critics
    judge patches, where the paper's give each input one score.

    Args:
        config: the trial.
        spec: paired images.
        trainables: losses, penalties and the rest.
    """

    Architecture: ClassVar[type[Frozen]] = Architecture
    smallest: ClassVar[Mapping[str, bool | int | float | str]] = {
        "width": 4,
        "critic_width": 8,
        "critic_layers": 2,
    }

    def __init__(self, config: TrialConfig, spec: ImageSpec, trainables: Trainables) -> None:
        self.config, self._shape = config, _architecture(config)
        shape, self.domains = self._shape, Domains.of(_architecture(config), spec)
        source, target = self.domains.channels
        stages = range(shape.stages)
        self.networks: dict[str, nn.Module] = {}
        for stage in stages:
            self.networks[f"generator_{stage}"] = FullyConvolutional(
                source + (target if stage else 0),
                target,
                width=shape.width,
                norm=shape.generator_norm,
                attention=trainables.attentions[config.attention],
            )
            self.networks[f"critic_{stage}"] = PatchCritic(
                target, width=shape.critic_width, layers=shape.critic_layers, norm=shape.critic_norm
            )
        self.adversaries = [Adversary(config, trainables, self.networks[f"critic_{stage}"]) for stage in stages]
        self.averaged = tuple(f"generator_{stage}" for stage in stages)
        self.state = nn.ModuleDict({f"critic_{stage}": self.adversaries[stage].state for stage in stages})
        # Stages that take part in sampling: all, unless training says that it has not come so far.
        self.state.register_buffer("stages", torch.tensor(shape.stages))
        self.phases = self._phases()

    @classmethod
    def check(cls, config: TrialConfig, spec: ImageSpec | None, trainables: Trainables) -> None:
        """Needs pairs."""
        check_translation(config, spec, trainables, _architecture(config), kinds=("pairs",), factor=1)

    @classmethod
    def paired_task(cls, config: TrialConfig, data: ImageSet) -> PairedTask | None:
        """Held-out pairs."""
        return Domains.about(_architecture(config), data).task(data)

    def loss(self, phase: str, batch: Batch, step: int) -> tuple[Tensor, Scalars]:
        """One stage's critic's, penalty's or generator's objective."""
        name, stage = phase.rsplit("_", 1)[0], int(phase.rsplit("_", 1)[1])
        source, target = self.domains.split(batch)
        with torch.no_grad():
            context = self._cascade(source.images, stage)
        generator, adversary = self.networks[f"generator_{stage}"], self.adversaries[stage]
        if name == "generator":
            self.state.get_buffer("stages").fill_(stage + 1)
            fake = generator(_with_context(source.images, context))
            return self._generator_loss(fake, adversary, batch, target.images)
        with torch.no_grad():
            fake = generator(_with_context(source.images, context))
        if name == "penalty":
            return adversary.penalty_loss(target.images, fake, batch.draws, step)
        return adversary.critic_loss(target.images, fake, batch, batch.draws, step)

    def sample(self, n: int, condition: Condition, generator: torch.Generator) -> Tensor:  # noqa: ARG002
        """The condition's sources `[n, C, H, W]` through the cascade, as far as it has been trained."""
        images = self._cascade(self.domains.wanted(condition), int(self.state.get_buffer("stages")))
        assert images is not None  # there is at least one stage
        return images

    def condition(self, labels: Tensor, data: ImageSet, generator: torch.Generator) -> Condition:
        """Paired images of the wanted classes."""
        return self.domains.condition(labels, data, generator)

    def _phases(self) -> tuple[Phase, ...]:
        count = self._shape.stages
        phases: list[Phase] = []
        for stage in range(count):
            game = adversarial_phases(
                self.config,
                critics=(f"critic_{stage}",),
                generators=(f"generator_{stage}",),
                penalised=self.adversaries[stage].penalty.active,
                suffix=f"_{stage}",
                start=stage / count,
                stop=(stage + 1) / count,
            )
            phases.extend(game)
        return tuple(phases)

    def _cascade(self, source: Tensor, stages: int) -> Tensor | None:
        """What the first `stages` stages make of the source; None for none. Frozen stages keep their statistics."""
        context = None
        for stage in range(stages):
            context = self.networks[f"generator_{stage}"].eval()(_with_context(source, context))
        return context

    def _generator_loss(
        self, fake: Tensor, adversary: Adversary, batch: Batch, target: Tensor
    ) -> tuple[Tensor, Scalars]:
        shape = self._shape
        game = adversary.generator_loss(target, fake, batch, batch.draws)
        distance, gradient = F.mse_loss(fake, target), gradient_difference(fake, target)
        loss = shape.adversarial * game + shape.distance * distance + shape.gradient * gradient
        return loss, {"adversarial": game.detach(), "distance": distance.detach(), "gradient": gradient.detach()}


def _with_context(source: Tensor, context: Tensor | None) -> Tensor:
    return source if context is None else torch.cat([source, context], dim=1)


def _architecture(config: TrialConfig) -> Architecture:
    return validated(Architecture, config.architecture, where="architecture of auto_context")
