"""KGAN: a teacher GAN is trained and frozen, then a smaller student GAN learns from it and from real images.

The paper gives the distillation loss (soft labels at a temperature, hard labels, and a weighted sum of both
cross-entropies, equations 6 and 7) and the adversarial losses (equations 8 and 9). It does not define the soft label of
an image. Here each pixel is a distribution over bright and dark: the softmax of the generator's logits z and -z. The
teacher's logits, divided by the temperature, give the soft labels. The brightness of a real image is the hard label.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from gansweep.config import Frozen, validated
from gansweep.errors import ConfigError
from trainables.algorithms.adversarial_objective import AdversarialObjective, adversarial_phases
from trainables.algorithms.translation import Domains, TranslationArchitecture, check_translation
from trainables.layers.patch_critic import PatchCritic
from trainables.layers.translators import ResnetTranslator
from trainables.objectives.image_losses import brightness_cross_entropy

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

    from gansweep.config import TrialConfig
    from gansweep.contracts import Batch, Condition, ImageSet, ImageSpec, PairedTask, Phase, Scalars, Trainables

__all__ = ["Architecture", "KGan"]

ROLES = ("teacher", "student")


class Architecture(TranslationArchitecture):
    """The networks and weights of `kgan`; `domains` may be pairs or fusion.

    Args:
        teacher_width: channels of the teacher at full resolution.
        teacher_blocks: number of the teacher's residual blocks.
        student_width: channels of the student at full resolution; its critic is narrower in the same proportion.
        student_blocks: number of the student's residual blocks.
        teacher_until: fraction of the budget at which the teacher is frozen and the student starts; 0 for no teacher.
        temperature: T of equation 6.
        soft: weight of the teacher's soft labels, alpha of equation 7.
        hard: weight of the hard labels, beta of equation 7.
        adversarial: weight of the adversarial loss.
    """

    teacher_width: int = Field(64, ge=4, le=256)
    teacher_blocks: int = Field(9, ge=1, le=24)
    student_width: int = Field(16, ge=4, le=256)
    student_blocks: int = Field(3, ge=1, le=24)
    teacher_until: float = Field(0.5, ge=0.0, lt=1.0)
    temperature: float = Field(4.0, ge=1.0, le=100.0)
    soft: float = Field(0.5, ge=0.0)
    hard: float = Field(0.5, ge=0.0)
    adversarial: float = Field(0.01, ge=0.0)


class KGan:
    """Distillation of a generator that translates an image, or fuses two images into one.

    Fusion has no real target image. The hard label of a pixel is the brighter of the two images there, because bone is
    bright in CT and soft tissue in MR.

    Args:
        config: the trial's configuration.
        spec: shape of the images; the cohort has paired images.
        trainables: registries of the names in the configuration.
    """

    Architecture: ClassVar[type[Frozen]] = Architecture
    smallest: ClassVar[Mapping[str, bool | int | float | str]] = {
        "teacher_width": 8,
        "teacher_blocks": 1,
        "student_width": 4,
        "student_blocks": 1,
        "critic_width": 8,
        "critic_layers": 2,
    }

    def __init__(self, config: TrialConfig, spec: ImageSpec, trainables: Trainables) -> None:
        self.config = config
        self._shape = _architecture(config)
        self.domains = Domains.from_spec(self._shape, spec)
        self.networks: dict[str, nn.Module] = {}
        self.objectives: dict[str, AdversarialObjective] = {}
        # Both are averaged, because a trial may be stopped before its student starts.
        self.averaged = ROLES if self._shape.teacher_until else ROLES[1:]
        for role in self.averaged:
            self.networks[role] = self._generator(role, trainables)
            self.networks[f"{role}_critic"] = self._critic(role)
            self.objectives[role] = AdversarialObjective(config, trainables, self.networks[f"{role}_critic"])
        self.state = nn.ModuleDict({role: objective.state for role, objective in self.objectives.items()})
        # Whether samples come from the student: yes, unless training has not reached it yet.
        self.state.register_buffer("student_began", torch.tensor(True))
        self.phases = self._phases()

    @classmethod
    def check(cls, config: TrialConfig, spec: ImageSpec | None, trainables: Trainables) -> None:
        """Rejects a cohort without pairs, soft labels without a teacher, and whatever `check_translation` rejects."""
        shape = _architecture(config)
        check_translation(config, spec, trainables, shape, kinds=("pairs", "fusion"))
        if shape.soft and not shape.teacher_until:
            raise ConfigError(
                f"architecture.soft = {shape.soft} without a teacher (architecture.teacher_until = 0)",
                fix="give the teacher a part of the budget, or set soft = 0",
            )
        if not shape.soft + shape.hard:
            raise ConfigError("kgan with soft = hard = 0 has no loss that ties its images to their sources")

    @classmethod
    def paired_task(cls, config: TrialConfig, data: ImageSet) -> PairedTask | None:
        """Returns the translation or fusion of held-out pairs."""
        return Domains.from_data(_architecture(config), data).task(data)

    def schedule(self, step: int) -> Hashable:
        """Sets what the penalties depend on."""
        for objective in self.objectives.values():
            objective.schedule(step)
        return None

    def loss(self, phase: str, batch: Batch, step: int) -> tuple[Tensor, Scalars]:
        """Returns the loss of the critic, penalty or generator of teacher or student, depending on `phase`."""
        self.schedule(step)
        kind, role = phase.split("_")
        source, target = self.domains.split(batch)
        generator = self.networks[role]
        objective = self.objectives[role]
        if kind == "generator":
            self.state.get_buffer("student_began").fill_(role == "student")
            return self._generator_loss(role, source.images, target.images, batch)
        with torch.no_grad():
            fake = generator(source.images)
        if kind == "penalty":
            return objective.penalty_loss(target.images, fake, batch.draws)
        return objective.critic_loss(target.images, fake, batch, batch.draws)

    def sample(self, n: int, condition: Condition, generator: torch.Generator) -> Tensor:  # noqa: ARG002
        """Translates or fuses the condition's sources to `[n, C, H, W]`, by the student once it has started."""
        role = "student" if self.state.get_buffer("student_began") else "teacher"
        images: Tensor = self.networks[role](self.domains.required_sources(condition))
        return images

    def condition(self, labels: Tensor, data: ImageSet, generator: torch.Generator) -> Condition:
        """Returns paired images of the requested classes as sources."""
        return self.domains.condition(labels, data, generator)

    def _phases(self) -> tuple[Phase, ...]:
        handover = self._shape.teacher_until
        spans = {"teacher": (0.0, handover), "student": (handover, 1.0)}
        phases: list[Phase] = []
        for role, objective in self.objectives.items():
            start, stop = spans[role]
            role_phases = adversarial_phases(
                self.config,
                critics=(f"{role}_critic",),
                generators=(role,),
                penalised=objective.penalty.active,
                suffix=f"_{role}",
                start=start,
                stop=stop,
            )
            phases.extend(role_phases)
        return tuple(phases)

    def _generator_loss(self, role: str, source: Tensor, target: Tensor, batch: Batch) -> tuple[Tensor, Scalars]:
        shape = self._shape
        generator = self.networks[role]
        assert isinstance(generator, ResnetTranslator)
        logits = generator.logits(source)
        adversarial = self.objectives[role].generator_loss(target, logits.tanh(), batch, batch.draws)
        hard = brightness_cross_entropy(logits, self._brightness(source, target))
        if role == "teacher" or not shape.soft:
            # A teacher has only hard labels, which get the weight of both terms, because the weight matters relative to
            # the adversarial loss.
            weight = shape.hard if role == "student" else shape.soft + shape.hard
            loss = weight * hard
            scalars = {"hard": hard.detach()}
        else:
            soft = brightness_cross_entropy(logits, self._soft_labels(source), shape.temperature)
            # Gradients of soft labels scale with 1 / T²; the factor T² restores them (Hinton et al. 2015, section 2).
            loss = shape.soft * shape.temperature**2 * soft + shape.hard * hard
            scalars = {"soft": soft.detach(), "hard": hard.detach()}
        return loss + shape.adversarial * adversarial, {**scalars, "adversarial": adversarial.detach()}

    @torch.no_grad()
    def _soft_labels(self, source: Tensor) -> Tensor:
        teacher = self.networks["teacher"].eval()
        assert isinstance(teacher, ResnetTranslator)
        # The softmax of (z, -z) is the sigmoid of 2z.
        return (2 * teacher.logits(source) / self._shape.temperature).sigmoid()

    def _brightness(self, source: Tensor, target: Tensor) -> Tensor:
        """Returns the hard labels: the brightness of the target image, in [0, 1]."""
        wanted = torch.maximum(*source.chunk(2, dim=1)) if self.domains.kind == "fusion" else target
        return (wanted + 1) / 2

    def _generator(self, role: str, trainables: Trainables) -> ResnetTranslator:
        shape = self._shape
        if role == "teacher":
            width = shape.teacher_width
            blocks = shape.teacher_blocks
        else:
            width = shape.student_width
            blocks = shape.student_blocks
        source, target = self.domains.channels
        attention = trainables.attentions[self.config.attention]
        return ResnetTranslator(source, target, width=width, blocks=blocks, attention=attention)

    def _critic(self, role: str) -> PatchCritic:
        shape = self._shape
        width = shape.critic_width
        if role == "student":
            width = max(width * shape.student_width // shape.teacher_width, 4)
        return PatchCritic(self.domains.channels[1], width=width, layers=shape.critic_layers, norm=shape.critic_norm)


def _architecture(config: TrialConfig) -> Architecture:
    return validated(Architecture, config.architecture, where="architecture of kgan")
