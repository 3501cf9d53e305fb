"""Two generators, there and back, each against a critic: what CycleGAN, DiscoGAN, CSGAN and DC2Anet have in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gansweep.experiment import validated
from trainables.adversary import Adversary, adversarial_phases, joined
from trainables.image_pool import ImagePool
from trainables.last_made import LastMade
from trainables.translation import Domains, Side, TranslationArchitecture, check_translation

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gansweep.contracts import Batch, Condition, ImageSet, ImageSpec, PairedTask, Phase, Scalars, Trainables
    from gansweep.experiment import TrialConfig

__all__ = ["CyclicGan", "Tour"]


@dataclass(frozen=True)
class Tour:
    """All images of a generator step: A is the source domain, B the target.

    Args:
        a, b: real.
        fake_a, fake_b: translated from the other.
        cycled_a, cycled_b: translated there and back.
    """

    a: Side
    b: Side
    fake_a: Tensor
    fake_b: Tensor
    cycled_a: Tensor
    cycled_b: Tensor


class CyclicGan:
    """The shared algorithm. A family names its networks and adds its terms.

    The critics judge the translations of the generators' last step, as in CycleGAN's own code: fresh ones would cost
    two more passes. They are made anew with several critic steps to one of the generators, and where a family learns
    better from them (`fresh`).

    Args:
        config: the trial.
        spec: the images.
        trainables: losses, penalties and the rest.
        generators: from A to B and from B to A.
        critics: of A and of B; a family may add more, and then extends `_reals` and `_fakes`.
        shape: the family's architecture.
        pool: earlier translations kept for each critic.
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
        self.config, self.domains = config, Domains.of(shape, spec)
        self.networks: dict[str, nn.Module] = {
            "generator_ab": generators[0],
            "generator_ba": generators[1],
            **critics,
        }
        scale = trainables.losses[config.loss.kind].cyclic_scale
        self.adversaries = {
            name: Adversary(config, trainables, critic, scale=scale) for name, critic in critics.items()
        }
        rows, channels = self.domains.rows(config.batch_size), dict(zip("ab", self.domains.channels, strict=True))
        self.pools = {
            f"critic_{domain}": ImagePool(pool, rows, (channels[domain], spec.size, spec.size)) for domain in "ab"
        }
        nothing = [torch.zeros(rows, channels[domain], spec.size, spec.size) for domain in "ab"]
        self._made = None if self.fresh or config.n_critic > 1 else LastMade(self._fakes(*nothing, *nothing))
        states = {name: adversary.state for name, adversary in self.adversaries.items()}
        history = self.pools if self._made is None else {**self.pools, "made": self._made}
        self.state = nn.ModuleDict({**states, "history": nn.ModuleDict(history)})
        # Only what sampling uses is averaged and exported: both ways between classes, one way otherwise.
        self.averaged = ("generator_ab", "generator_ba") if self.domains.stratified else ("generator_ab",)
        self.phases: tuple[Phase, ...] = adversarial_phases(
            config,
            critics=tuple(critics),
            generators=("generator_ab", "generator_ba"),
            penalised=next(iter(self.adversaries.values())).penalty.active,
            stratified=self.domains.stratified,
        )

    @classmethod
    def check(cls, config: TrialConfig, spec: ImageSpec | None, trainables: Trainables) -> None:
        """Refuses domains the cohort does not have, and critics that cannot serve their objective."""
        check_translation(config, spec, trainables, cls.shape(config))

    @classmethod
    def shape(cls, config: TrialConfig) -> TranslationArchitecture:
        """The family's architecture as `config` gives it."""
        return validated(cls.Architecture, config.architecture, where=f"architecture of {config.family}")

    @classmethod
    def paired_task(cls, config: TrialConfig, data: ImageSet) -> PairedTask | None:
        """Held-out pairs, where the domains are pairs or fusion."""
        return Domains.about(cls.shape(config), data).task(data)

    def loss(self, phase: str, batch: Batch, step: int) -> tuple[Tensor, Scalars]:
        """The critics', their penalties' or the generators' objective."""
        a, b = self.domains.split(batch)
        reals = self._reals(a, b)
        if phase == "generator":
            tour = self._tour(a, b)
            fakes = self._fakes(a.images, b.images, tour.fake_a, tour.fake_b)
            if self._made is not None:
                self._made.keep(fakes)
            return self._generator_loss(tour, reals, fakes, batch, step)
        if step and self._made is not None:
            fakes = self._made.mine()
        else:
            with torch.no_grad():
                fake_b, fake_a = self.networks["generator_ab"](a.images), self.networks["generator_ba"](b.images)
            fakes = self._fakes(a.images, b.images, fake_a, fake_b)
        losses, logs = [], []
        for name, real in reals.items():
            adversary, fake = self.adversaries[name], fakes[name]
            if phase == "penalty":
                loss, log = adversary.penalty_loss(real.images, fake, real.draws, step)
            else:
                shown = self.pools[name].exchange(fake, real.draws) if name in self.pools else fake
                loss, log = adversary.critic_loss(real.images, shown, batch, real.draws, step)
            losses.append(loss)
            logs.append(log)
        return torch.stack(losses).sum(), joined(logs)

    def sample(self, n: int, condition: Condition, generator: torch.Generator) -> Tensor:  # noqa: ARG002
        """The condition's sources, translated: `[n, C, H, W]`."""
        sources = self.domains.wanted(condition)
        images: Tensor = self.networks["generator_ab"](sources)
        if self.domains.kind == "classes":
            forth = (condition.labels == 1)[:, None, None, None]
            images = torch.where(forth, images, self.networks["generator_ba"](sources))
        return images

    def condition(self, labels: Tensor, data: ImageSet, generator: torch.Generator) -> Condition:
        """What the wanted images are translated from."""
        return self.domains.condition(labels, data, generator)

    def reconstruction(self, images: Tensor, cycled: Tensor) -> Tensor:
        """How far a round trip leads; the families' own."""
        return F.l1_loss(cycled, images)

    def cycle_weight(self, step: int) -> float:
        """Of the reconstruction, at generator iteration `step`; the families' own."""
        raise NotImplementedError

    def further(self, tour: Tour) -> dict[str, tuple[float, Tensor]]:  # noqa: ARG002
        """The family's further terms, by name: weight and value."""
        return {}

    def _reals(self, a: Side, b: Side) -> dict[str, Side]:
        """What is real to each critic."""
        return {"critic_a": a, "critic_b": b}

    def _fakes(self, a: Tensor, b: Tensor, fake_a: Tensor, fake_b: Tensor) -> dict[str, Tensor]:  # noqa: ARG002
        """What is fake to each critic: of the translations, and where it judges pairs of what they are translations."""
        return {"critic_a": fake_a, "critic_b": fake_b}

    def _tour(self, a: Side, b: Side) -> Tour:
        forth, back = self.networks["generator_ab"], self.networks["generator_ba"]
        fake_b, fake_a = forth(a.images), back(b.images)
        return Tour(a, b, fake_a, fake_b, back(fake_b), forth(fake_a))

    def _generator_loss(
        self, tour: Tour, reals: Mapping[str, Side], fakes: Mapping[str, Tensor], batch: Batch, step: int
    ) -> tuple[Tensor, Scalars]:
        adversarial = torch.stack(
            [
                self.adversaries[name].generator_loss(real.images, fakes[name], batch, real.draws)
                for name, real in reals.items()
            ]
        ).sum()
        cycle = self.reconstruction(tour.a.images, tour.cycled_a) + self.reconstruction(tour.b.images, tour.cycled_b)
        terms = {"cycle": (self.cycle_weight(step), cycle), **self.further(tour)}
        loss = adversarial + torch.stack([weight * value for weight, value in terms.values()]).sum()
        return loss, {
            "adversarial": adversarial.detach(),
            **{name: value.detach() for name, (_, value) in terms.items()},
        }
