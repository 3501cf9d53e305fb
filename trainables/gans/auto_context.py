"""Auto-context GANs (Nie et al. 2017): a cascade in which each stage refines the output of the stage before."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from gansweep.config import Frozen, validated
from trainables.algorithms.adversarial_objective import AdversarialObjective, adversarial_phases
from trainables.algorithms.translation import Domains, TranslationArchitecture, check_translation
from trainables.layers.patch_critic import PatchCritic
from trainables.layers.translators import FullyConvolutional
from trainables.objectives.image_losses import gradient_difference

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

    from gansweep.config import TrialConfig
    from gansweep.contracts import Batch, Condition, ImageSet, ImageSpec, PairedTask, Phase, Scalars, Trainables

__all__ = ["Architecture", "AutoContext"]


class Architecture(TranslationArchitecture):
    """The networks and weights of `auto_context`.

    Args:
        stages: number of generators in the cascade, each with a critic; all get equal parts of the budget.
        width: channels of a generator's outer layers; twice as many in the middle layers.
        generator_norm: normalisation of the generators.
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
    """Each stage is trained in its own part of the budget, while the stages before it are frozen.

    Differences from the paper: training uses whole 2D images, where the paper uses patches of 32x32x32 voxels, and
    critics score patches, where the paper's critics give one score per input.

    Args:
        config: the trial's configuration.
        spec: shape of the images; the cohort has paired images.
        trainables: registries of the names in the configuration.
    """

    Architecture: ClassVar[type[Frozen]] = Architecture
    smallest: ClassVar[Mapping[str, bool | int | float | str]] = {
        "width": 4,
        "critic_width": 8,
        "critic_layers": 2,
    }

    def __init__(self, config: TrialConfig, spec: ImageSpec, trainables: Trainables) -> None:
        self.config = config
        self._shape = _architecture(config)
        shape = self._shape
        self.domains = Domains.from_spec(_architecture(config), spec)
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
        self.objectives = [
            AdversarialObjective(config, trainables, self.networks[f"critic_{stage}"]) for stage in stages
        ]
        self.averaged = tuple(f"generator_{stage}" for stage in stages)
        self.state = nn.ModuleDict({f"critic_{stage}": self.objectives[stage].state for stage in stages})
        # Number of stages used for sampling: all, unless training has not reached the last one yet.
        self.state.register_buffer("stages", torch.tensor(shape.stages))
        self.phases = self._phases()

    @classmethod
    def check(cls, config: TrialConfig, spec: ImageSpec | None, trainables: Trainables) -> None:
        """Rejects a cohort without pairs, and whatever `check_translation` rejects."""
        check_translation(config, spec, trainables, _architecture(config), kinds=("pairs",), factor=1)

    @classmethod
    def paired_task(cls, config: TrialConfig, data: ImageSet) -> PairedTask | None:
        """Returns the translation of held-out pairs."""
        return Domains.from_data(_architecture(config), data).task(data)

    def schedule(self, step: int) -> Hashable:
        """Sets what the penalties depend on."""
        for objective in self.objectives:
            objective.schedule(step)
        return None

    def loss(self, phase: str, batch: Batch, step: int) -> tuple[Tensor, Scalars]:
        """Returns the loss of one stage's critic, penalty or generator, depending on `phase`."""
        self.schedule(step)
        name = phase.rsplit("_", 1)[0]
        stage = int(phase.rsplit("_", 1)[1])
        source, target = self.domains.split(batch)
        with torch.no_grad():
            context = self._cascade(source.images, stage)
        generator = self.networks[f"generator_{stage}"]
        objective = self.objectives[stage]
        if name == "generator":
            self.state.get_buffer("stages").fill_(stage + 1)
            fake = generator(_with_context(source.images, context))
            return self._generator_loss(fake, objective, batch, target.images)
        with torch.no_grad():
            fake = generator(_with_context(source.images, context))
        if name == "penalty":
            return objective.penalty_loss(target.images, fake, batch.draws)
        return objective.critic_loss(target.images, fake, batch, batch.draws)

    def sample(self, n: int, condition: Condition, generator: torch.Generator) -> Tensor:  # noqa: ARG002
        """Returns translations `[n, C, H, W]` of the condition's sources by all stages whose training has begun."""
        images = self._cascade(self.domains.required_sources(condition), int(self.state.get_buffer("stages")))
        assert images is not None  # there is at least one stage
        return images

    def condition(self, labels: Tensor, data: ImageSet, generator: torch.Generator) -> Condition:
        """Returns paired images of the requested classes as sources."""
        return self.domains.condition(labels, data, generator)

    def _phases(self) -> tuple[Phase, ...]:
        count = self._shape.stages
        phases: list[Phase] = []
        for stage in range(count):
            stage_phases = adversarial_phases(
                self.config,
                critics=(f"critic_{stage}",),
                generators=(f"generator_{stage}",),
                penalised=self.objectives[stage].penalty.active,
                suffix=f"_{stage}",
                start=stage / count,
                stop=(stage + 1) / count,
            )
            phases.extend(stage_phases)
        return tuple(phases)

    def _cascade(self, source: Tensor, stages: int) -> Tensor | None:
        """Returns the output of the first `stages` stages; None for no stage.

        They are in evaluation mode, so that batch statistics do not change.
        """
        context = None
        for stage in range(stages):
            context = self.networks[f"generator_{stage}"].eval()(_with_context(source, context))
        return context

    def _generator_loss(
        self, fake: Tensor, objective: AdversarialObjective, batch: Batch, target: Tensor
    ) -> tuple[Tensor, Scalars]:
        shape = self._shape
        adversarial = objective.generator_loss(target, fake, batch, batch.draws)
        distance = F.mse_loss(fake, target)
        gradient = gradient_difference(fake, target)
        # Equation 6.
        loss = shape.adversarial * adversarial + shape.distance * distance + shape.gradient * gradient
        scalars = {"adversarial": adversarial, "distance": distance, "gradient": gradient}
        return loss, {name: value.detach() for name, value in scalars.items()}


def _with_context(source: Tensor, context: Tensor | None) -> Tensor:
    return source if context is None else torch.cat([source, context], dim=1)


def _architecture(config: TrialConfig) -> Architecture:
    return validated(Architecture, config.architecture, where="architecture of auto_context")
