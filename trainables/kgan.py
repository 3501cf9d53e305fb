"""KGAN: a teacher GAN is trained, then frozen, and a light student GAN learns from it and from real images.

The paper says what is distilled (soft labels at a temperature, hard labels, a weighted sum of both cross-entropies,
equations 6 and 7), and with which adversarial losses (equations 8 and 9). It does not say what a soft label of an image
is. Here each pixel is a distribution over bright and dark: the softmax of the generator's logit z and of -z. Divided by
the temperature, the teacher's give the soft labels; a real image's brightness is the hard one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from gansweep.errors import ConfigError
from gansweep.experiment import Frozen, validated
from trainables.adversary import Adversary, adversarial_phases
from trainables.image_losses import brightness_cross_entropy
from trainables.translation import Domains, TranslationArchitecture, check_translation
from trainables.translators import PatchCritic, ResnetTranslator

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gansweep.contracts import Batch, Condition, ImageSet, ImageSpec, PairedTask, Phase, Scalars, Trainables
    from gansweep.experiment import TrialConfig

__all__ = ["Architecture", "KGan"]

ROLES = ("teacher", "student")


class Architecture(TranslationArchitecture):
    """The networks and weights of `kgan`; `domains` may be pairs or fusion.

    Args:
        teacher_width: channels of the teacher at full resolution.
        teacher_blocks: its residual blocks.
        student_width: channels of the student; its critic has as many times fewer than the teacher's.
        student_blocks: its residual blocks.
        teacher_until: fraction of the budget after which the teacher is frozen and the student begins; 0: no teacher.
        temperature: T of equation 6.
        soft: weight of the teacher's labels, alpha of equation 7.
        hard: weight of the real images' labels, beta.
        adversarial: weight of the adversarial loss beside them.
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
    """Distillation of a translator, or of a fusion of two images into one.

    For fusion there is no real image of what is wanted; the brighter of the two pixels stands for it, since bone shines
    in CT and soft tissue in MR.

    Args:
        config: the trial.
        spec: paired images.
        trainables: losses, penalties and the rest.
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
        self.config, self._shape = config, _architecture(config)
        self.domains = Domains.of(self._shape, spec)
        self.networks: dict[str, nn.Module] = {}
        self.adversaries: dict[str, Adversary] = {}
        # Samples come from either: a trial may end before its student begins.
        self.averaged = ROLES if self._shape.teacher_until else ROLES[1:]
        for role in self.averaged:
            self.networks[role] = self._generator(role, trainables)
            self.networks[f"{role}_critic"] = self._critic(role)
            self.adversaries[role] = Adversary(config, trainables, self.networks[f"{role}_critic"])
        self.state = nn.ModuleDict({role: adversary.state for role, adversary in self.adversaries.items()})
        # Samples come from the student, unless training says that it has not begun.
        self.state.register_buffer("student_began", torch.tensor(True))
        self.phases = self._phases()

    @classmethod
    def check(cls, config: TrialConfig, spec: ImageSpec | None, trainables: Trainables) -> None:
        """Needs pairs, and a teacher for soft labels."""
        shape = _architecture(config)
        check_translation(config, spec, trainables, shape, kinds=("pairs", "fusion"))
        if shape.soft and not shape.teacher_until:
            raise ConfigError(
                f"architecture.soft = {shape.soft} without a teacher (architecture.teacher_until = 0)",
                fix="give the teacher a part of the budget, or set soft = 0",
            )
        if not shape.soft + shape.hard:
            raise ConfigError("kgan with soft = hard = 0 has nothing that ties its images to their sources")

    @classmethod
    def paired_task(cls, config: TrialConfig, data: ImageSet) -> PairedTask | None:
        """Held-out pairs, to translate or to fuse."""
        return Domains.about(_architecture(config), data).task(data)

    def loss(self, phase: str, batch: Batch, step: int) -> tuple[Tensor, Scalars]:
        """The teacher's or the student's critic's, penalty's or generator's objective."""
        kind, role = phase.split("_")
        source, target = self.domains.split(batch)
        generator, adversary = self.networks[role], self.adversaries[role]
        if kind == "generator":
            self.state.get_buffer("student_began").fill_(role == "student")
            return self._generator_loss(role, source.images, target.images, batch)
        with torch.no_grad():
            fake = generator(source.images)
        if kind == "penalty":
            return adversary.penalty_loss(target.images, fake, batch.draws, step)
        return adversary.critic_loss(target.images, fake, batch, batch.draws, step)

    def sample(self, n: int, condition: Condition, generator: torch.Generator) -> Tensor:  # noqa: ARG002
        """The condition's sources `[n, C, H, W]`, translated or fused by the student, or by its teacher before."""
        role = "student" if self.state.get_buffer("student_began") else "teacher"
        images: Tensor = self.networks[role](self.domains.wanted(condition))
        return images

    def condition(self, labels: Tensor, data: ImageSet, generator: torch.Generator) -> Condition:
        """Paired images of the wanted classes."""
        return self.domains.condition(labels, data, generator)

    def _phases(self) -> tuple[Phase, ...]:
        between = self._shape.teacher_until
        spans = {"teacher": (0.0, between), "student": (between, 1.0)}
        phases: list[Phase] = []
        for role, adversary in self.adversaries.items():
            start, stop = spans[role]
            game = adversarial_phases(
                self.config,
                critics=(f"{role}_critic",),
                generators=(role,),
                penalised=adversary.penalty.active,
                suffix=f"_{role}",
                start=start,
                stop=stop,
            )
            phases.extend(game)
        return tuple(phases)

    def _generator_loss(self, role: str, source: Tensor, target: Tensor, batch: Batch) -> tuple[Tensor, Scalars]:
        shape = self._shape
        generator = self.networks[role]
        assert isinstance(generator, ResnetTranslator)
        logits = generator.logits(source)
        game = self.adversaries[role].generator_loss(target, logits.tanh(), batch, batch.draws)
        hard = brightness_cross_entropy(logits, self._brightness(source, target))
        if role == "teacher" or not shape.soft:
            # A teacher has hard labels alone; their weight counts against the adversarial term only.
            weight = shape.hard if role == "student" else shape.soft + shape.hard
            loss, scalars = weight * hard, {"hard": hard.detach()}
        else:
            soft = brightness_cross_entropy(logits, self._soft_labels(source), shape.temperature)
            # Gradients of soft labels shrink with the square of the temperature (Hinton et al. 2015, section 2).
            loss = shape.soft * shape.temperature**2 * soft + shape.hard * hard
            scalars = {"soft": soft.detach(), "hard": hard.detach()}
        return loss + shape.adversarial * game, {**scalars, "adversarial": game.detach()}

    @torch.no_grad()
    def _soft_labels(self, source: Tensor) -> Tensor:
        teacher = self.networks["teacher"].eval()
        assert isinstance(teacher, ResnetTranslator)
        return (2 * teacher.logits(source) / self._shape.temperature).sigmoid()

    def _brightness(self, source: Tensor, target: Tensor) -> Tensor:
        """The real image that is wanted, in [0, 1]."""
        wanted = torch.maximum(*source.chunk(2, dim=1)) if self.domains.kind == "fusion" else target
        return (wanted + 1) / 2

    def _generator(self, role: str, trainables: Trainables) -> ResnetTranslator:
        shape = self._shape
        width, blocks = {
            "teacher": (shape.teacher_width, shape.teacher_blocks),
            "student": (shape.student_width, shape.student_blocks),
        }[role]
        attention = trainables.attentions[self.config.attention]
        return ResnetTranslator(*self.domains.channels, width=width, blocks=blocks, attention=attention)

    def _critic(self, role: str) -> PatchCritic:
        shape = self._shape
        width = shape.critic_width
        if role == "student":
            width = max(width * shape.student_width // shape.teacher_width, 4)
        return PatchCritic(self.domains.channels[1], width=width, layers=shape.critic_layers, norm=shape.critic_norm)


def _architecture(config: TrialConfig) -> Architecture:
    return validated(Architecture, config.architecture, where="architecture of kgan")
