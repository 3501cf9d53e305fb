"""Cycle-consistent training of two generators and their critics, shared by CycleGAN, DiscoGAN, CSGAN and DC2Anet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gansweep.config import validated
from gansweep.devices import set_number
from trainables.algorithms.adversarial_objective import AdversarialObjective, adversarial_phases, merged_scalars
from trainables.algorithms.fake_buffer import FakeBuffer
from trainables.algorithms.image_pool import ImagePool
from trainables.algorithms.translation import DomainBatch, Domains, TranslationArchitecture, check_translation

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

    from gansweep.config import TrialConfig
    from gansweep.contracts import Batch, Condition, ImageSet, ImageSpec, PairedTask, Phase, Scalars, Trainables

__all__ = ["CyclePass", "CyclicGan"]


@dataclass(frozen=True)
class CyclePass:
    """All images of one generator step. A is the source domain, B the target domain.

    Args:
        a, b: real images of each domain.
        fake_a, fake_b: translations into each domain from the other, `[b, C, H, W]`.
        cycled_a, cycled_b: real images translated to the other domain and back, `[b, C, H, W]`.
    """

    a: DomainBatch
    b: DomainBatch
    fake_a: Tensor
    fake_b: Tensor
    cycled_a: Tensor
    cycled_b: Tensor


class CyclicGan:
    """Shared algorithm of cycle-consistent families. A family provides its networks and adds its own loss terms.

    The critics see the translations of the generators' last step, as in CycleGAN's own code, because new ones would
    cost two more forward passes. New translations are made if there are several critic steps per generator step, and
    for families that learn better from them (`fresh`).

    Args:
        config: the trial's configuration.
        spec: shape of the images.
        trainables: registries of the names in the configuration.
        generators: generators from A to B and from B to A.
        critics: critics by name: `critic_a` and `critic_b`, and any that a family adds by extending `_reals` and
            `_fakes`.
        shape: the family's architecture.
        pool: number of earlier translations kept for each critic.
    """

    Architecture: ClassVar[type[TranslationArchitecture]]
    smallest: ClassVar[Mapping[str, bool | int | float | str]] = {}
    fresh: ClassVar[bool] = False

    def __init__(
        self,
        config: TrialConfig,
        spec: ImageSpec,
        trainables: Trainables,
        *,
        generators: tuple[nn.Module, nn.Module],
        critics: Mapping[str, nn.Module],
        shape: TranslationArchitecture,
        pool: int = 0,
    ) -> None:
        self.config = config
        self.domains = Domains.from_spec(shape, spec)
        self.networks: dict[str, nn.Module] = {
            "generator_ab": generators[0],
            "generator_ba": generators[1],
            **critics,
        }

        scale = trainables.losses[config.loss.kind].cyclic_scale
        self.objectives = {
            name: AdversarialObjective(config, trainables, critic, scale=scale) for name, critic in critics.items()
        }

        rows = self.domains.rows(config.batch_size)
        channels_a, channels_b = self.domains.channels
        shape_a = (channels_a, spec.size, spec.size)
        shape_b = (channels_b, spec.size, spec.size)
        self.pools = {"critic_a": ImagePool(pool, rows, shape_a), "critic_b": ImagePool(pool, rows, shape_b)}
        self._fake_buffer: FakeBuffer | None = None
        if not self.fresh and config.n_critic == 1:
            blank_a = torch.zeros(rows, *shape_a)
            blank_b = torch.zeros(rows, *shape_b)
            self._fake_buffer = FakeBuffer(self._fakes(blank_a, blank_b, blank_a, blank_b))
        # "history" is never exported (see training.restore), because it contains images derived from patients' images.
        history: dict[str, nn.Module] = dict(self.pools)
        if self._fake_buffer is not None:
            history["made"] = self._fake_buffer
        states = {name: objective.state for name, objective in self.objectives.items()}
        self.state = nn.ModuleDict({**states, "history": nn.ModuleDict(history)})
        # Set in each step, so no part of a checkpoint.
        self.state.register_buffer("cycle_weight", torch.zeros(()), persistent=False)

        # Only generators that sampling uses are averaged and exported: both between classes, otherwise the one to B.
        self.averaged = ("generator_ab", "generator_ba") if self.domains.stratified else ("generator_ab",)
        self.phases: tuple[Phase, ...] = adversarial_phases(
            config,
            critics=tuple(critics),
            generators=("generator_ab", "generator_ba"),
            penalised=trainables.penalties[config.penalty.kind].active,
            stratified=self.domains.stratified,
        )

    @classmethod
    def check(cls, config: TrialConfig, spec: ImageSpec | None, trainables: Trainables) -> None:
        """Rejects domains that the cohort does not have, and critics that do not fit the loss or the penalty."""
        check_translation(config, spec, trainables, cls.shape(config))

    @classmethod
    def shape(cls, config: TrialConfig) -> TranslationArchitecture:
        """Returns the validated architecture of `config`."""
        return validated(cls.Architecture, config.architecture, where=f"architecture of {config.family}")

    @classmethod
    def paired_task(cls, config: TrialConfig, data: ImageSet) -> PairedTask | None:
        """Returns the translation or fusion of held-out pairs; None for translation between classes."""
        return Domains.from_data(cls.shape(config), data).task(data)

    def schedule(self, step: int) -> Hashable:
        """Sets the weight of the cycle. The first step differs from the others: the buffer has no fakes yet."""
        set_number(self.state.get_buffer("cycle_weight"), self.cycle_weight(step))
        for objective in self.objectives.values():
            objective.schedule(step)
        return step > 0

    def loss(self, phase: str, batch: Batch, step: int) -> tuple[Tensor, Scalars]:
        """Returns the loss of the critics, of their penalties or of the generators, depending on `phase`."""
        self.schedule(step)
        a, b = self.domains.split(batch)
        reals = self._reals(a, b)
        if phase == "generator":
            passed = self._cycle_pass(a, b)
            fakes = self._fakes(a.images, b.images, passed.fake_a, passed.fake_b)
            if self._fake_buffer is not None:
                self._fake_buffer.keep(fakes)
            return self._generator_loss(passed, reals, fakes, batch)
        fakes = self._critics_fakes(a, b, step)
        losses = []
        logs = []
        for name, real in reals.items():
            objective = self.objectives[name]
            fake = fakes[name]
            if phase == "penalty":
                loss, log = objective.penalty_loss(real.images, fake, real.draws)
            else:
                shown = self.pools[name].exchange(fake, real.draws) if name in self.pools else fake
                loss, log = objective.critic_loss(real.images, shown, batch, real.draws)
            losses.append(loss)
            logs.append(log)
        return torch.stack(losses).sum(), merged_scalars(logs)

    def sample(self, n: int, condition: Condition, generator: torch.Generator) -> Tensor:  # noqa: ARG002
        """Returns the translations `[n, C, H, W]` of the condition's sources."""
        sources = self.domains.required_sources(condition)
        images: Tensor = self.networks["generator_ab"](sources)
        if self.domains.kind == "classes":
            # Class 1 is domain B: images of class 0 come from the generator of the opposite direction.
            to_b = (condition.labels == 1)[:, None, None, None]
            images = torch.where(to_b, images, self.networks["generator_ba"](sources))
        return images

    def condition(self, labels: Tensor, data: ImageSet, generator: torch.Generator) -> Condition:
        """Returns random training images from which images of class `labels` are translated."""
        return self.domains.condition(labels, data, generator)

    def reconstruction(self, images: Tensor, cycled: Tensor) -> Tensor:
        """Returns the distance between images and their round trip. Families may override it."""
        return F.l1_loss(cycled, images)

    def cycle_weight(self, step: int) -> float:
        """Weight of `reconstruction` at generator iteration `step`. Families define it."""
        raise NotImplementedError

    def extra_losses(self, passed: CyclePass) -> dict[str, tuple[float, Tensor]]:  # noqa: ARG002
        """Returns the family's own loss terms: (weight, value) by name."""
        return {}

    def _reals(self, a: DomainBatch, b: DomainBatch) -> dict[str, DomainBatch]:
        """Returns the real images of each critic."""
        return {"critic_a": a, "critic_b": b}

    def _fakes(self, a: Tensor, b: Tensor, fake_a: Tensor, fake_b: Tensor) -> dict[str, Tensor]:  # noqa: ARG002
        """Returns the fake images of each critic; critics of pairs also need the real images `a` and `b`."""
        return {"critic_a": fake_a, "critic_b": fake_b}

    def _critics_fakes(self, a: DomainBatch, b: DomainBatch, step: int) -> dict[str, Tensor]:
        """Returns the fakes for the critics' phases: those of the generators' last step, or new ones."""
        # The buffer is blank in the first step: the critics come before the generators.
        if step and self._fake_buffer is not None:
            return self._fake_buffer.local_rows()
        with torch.no_grad():
            fake_b = self.networks["generator_ab"](a.images)
            fake_a = self.networks["generator_ba"](b.images)
        return self._fakes(a.images, b.images, fake_a, fake_b)

    def _cycle_pass(self, a: DomainBatch, b: DomainBatch) -> CyclePass:
        to_b = self.networks["generator_ab"]
        to_a = self.networks["generator_ba"]
        fake_b = to_b(a.images)
        fake_a = to_a(b.images)
        return CyclePass(a, b, fake_a, fake_b, to_a(fake_b), to_b(fake_a))

    def _generator_loss(
        self, passed: CyclePass, reals: Mapping[str, DomainBatch], fakes: Mapping[str, Tensor], batch: Batch
    ) -> tuple[Tensor, Scalars]:
        losses = []
        for name, real in reals.items():
            losses.append(self.objectives[name].generator_loss(real.images, fakes[name], batch, real.draws))
        adversarial = torch.stack(losses).sum()
        cycle_a = self.reconstruction(passed.a.images, passed.cycled_a)
        cycle_b = self.reconstruction(passed.b.images, passed.cycled_b)
        cycle_weight = self.state.get_buffer("cycle_weight").to(cycle_a.dtype)
        terms: dict[str, tuple[float | Tensor, Tensor]] = {
            "cycle": (cycle_weight, cycle_a + cycle_b),
            **self.extra_losses(passed),
        }
        scalars = {"adversarial": adversarial.detach()}
        weighted = []
        for name, (weight, value) in terms.items():
            weighted.append(weight * value)
            scalars[name] = value.detach()
        return adversarial + torch.stack(weighted).sum(), scalars
