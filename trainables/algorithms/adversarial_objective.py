"""The adversarial objective of one critic, for families with several critics or with critics trained in stages.

`AdversarialGan` is the complete algorithm of families from noise to image. `AdversarialObjective` is the part of it
that needs only real and fake images, so a family can combine any number of critics.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from gansweep.contracts import Phase
from gansweep.devices import exact_float32, set_number
from trainables.objectives.losses import Loss, feature_matching
from trainables.objectives.penalties import Penalty, PenaltyContext

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gansweep.config import TrialConfig
    from gansweep.contracts import Batch, Scalars, StepRandom, Trainables
    from trainables.layers.critic_output import CriticOutput
    from trainables.objectives.augmentation import Augmentation

__all__ = ["AdversarialObjective", "SlicedStepRandom", "adversarial_phases", "merged_scalars", "score_summary"]


class SlicedStepRandom:
    """A `StepRandom` for some of this worker's images, such as one domain's half of a stratified batch.

    Args:
        draws: random numbers for all of this worker's images.
        rows: the images to keep.
    """

    def __init__(self, draws: StepRandom, rows: slice) -> None:
        self._draws = draws
        self._rows = rows

    def normal(self, *shape: int) -> Tensor:
        """Returns standard normal numbers."""
        return self._draws.normal(*shape)[self._rows]

    def uniform(self, *shape: int) -> Tensor:
        """Returns uniform numbers in [0, 1)."""
        return self._draws.uniform(*shape)[self._rows]

    def integers(self, high: int, *shape: int) -> Tensor:
        """Returns integers in [0, high)."""
        return self._draws.integers(high, *shape)[self._rows]


class AdversarialObjective:
    """A critic with its loss, penalty and augmentation.

    Args:
        config: the trial's configuration.
        trainables: registries of the names in the configuration.
        critic: maps images `[b, C, H, W]` to a `CriticOutput`, whose scores may be `[b, patches]`.
        scale: factor of the adversarial loss in `generator_loss`.
    """

    def __init__(self, config: TrialConfig, trainables: Trainables, critic: nn.Module, *, scale: float = 1.0) -> None:
        self.config = config
        self.critic = critic
        self._scale = scale

        self.adversarial: Loss = trainables.losses[config.loss.kind](config.loss)
        self.penalty: Penalty = trainables.penalties[config.penalty.kind](config.penalty)
        # Number of images that the critic sees in the whole trial, on which ADA's speed depends.
        budget = config.iterations * config.n_critic * config.batch_size
        self.augmentation: Augmentation = trainables.augmentations[config.augmentation.kind](
            config.augmentation, budget
        )
        self.state = nn.ModuleDict({"penalty": self.penalty, "augmentation": self.augmentation})
        # Set in each step, so no part of a checkpoint.
        self.state.register_buffer("progress", torch.zeros((), dtype=torch.float64), persistent=False)
        # A penalty of every step shares the critic's backward pass. A lazy penalty has a phase of its own.
        self._folded = self.penalty.active and config.penalty.interval == 1

    def schedule(self, step: int) -> None:
        """Sets the fraction of the budget that is used; the family's `loss` begins with it."""
        set_number(self.state.get_buffer("progress"), step / self.config.iterations)

    def critic_loss(
        self, real: Tensor, fake: Tensor, batch: Batch, draws: StepRandom
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Returns the critic's loss, including the penalty unless it is lazy.

        Args:
            real: `[b, C, H, W]`.
            fake: `[b, C, H, W]`; no gradient flows into it.
            batch: the step's batch.
            draws: random numbers for these b images.

        Returns:
            The loss and the scalars to log.
        """
        real = self._augmented(real, draws)
        fake = self._augmented(fake, draws)
        if self._folded:
            self.penalty.require_gradients(real, fake)
        # A penalty at the real or fake images reuses the forward pass of the loss. Penalties are computed in float32,
        # so that forward pass must be too.
        reused = self.penalty.inputs if self._folded else ()
        with exact_float32(fake.device, enabled=bool(reused)):
            judged_real, judged_fake = self._judge_both(real, fake)
        loss = self.adversarial.critic(judged_real, judged_fake, batch.labels).mean()
        self.augmentation.observe(self.adversarial.confidence(judged_real, judged_fake).detach(), batch.total)
        scalars = score_summary(judged_real.scores, judged_fake.scores)
        if self._folded:
            with exact_float32(fake.device):
                context = PenaltyContext(
                    self._judge,
                    real,
                    fake,
                    draws,
                    self.state.get_buffer("progress"),
                    _per_image(judged_real),
                    _per_image(judged_fake),
                )
                penalty, log = self.penalty(context)
            loss = loss + penalty
            scalars = scalars | log
        return loss, scalars

    def penalty_loss(self, real: Tensor, fake: Tensor, draws: StepRandom) -> tuple[Tensor, dict[str, Tensor]]:
        """Returns the loss of a lazy penalty, scaled by its interval (Karras et al. 2020, StyleGAN2, section 3.1)."""
        real = self._augmented(real, draws)
        fake = self._augmented(fake, draws)
        self.penalty.require_gradients(real, fake)
        with exact_float32(fake.device):
            progress = self.state.get_buffer("progress")
            penalty, log = self.penalty(PenaltyContext(self._judge, real, fake, draws, progress))
        return self.config.penalty.interval * penalty, log

    def generator_loss(self, real: Tensor, fake: Tensor, batch: Batch, draws: StepRandom) -> Tensor:
        """Returns the adversarial loss of the generator that made `fake`; arguments as in `critic_loss`."""
        fake = self.augmentation(fake, draws)
        matching = self.config.loss.feature_matching
        judged_real = None
        if self.adversarial.paired or matching:
            judged_real, judged_fake = self._judge_both(self._augmented(real, draws), fake)
        else:
            judged_fake = self.critic(fake)
        loss = self._scale * self.adversarial.generator(judged_real, judged_fake, batch.labels).mean()
        if matching:
            assert judged_real is not None
            loss = loss + matching * feature_matching(judged_real, judged_fake)
        return loss

    def _judge_both(self, real: Tensor, fake: Tensor) -> tuple[CriticOutput, CriticOutput]:
        output: CriticOutput = self.critic(torch.cat([real, fake.to(real.dtype)]))
        return output.split(len(real))

    def _judge(self, images: Tensor) -> CriticOutput:
        return _per_image(self.critic(images))

    def _augmented(self, images: Tensor, draws: StepRandom) -> Tensor:
        augmented: Tensor = self.augmentation(images.detach(), draws)
        return augmented.detach()


def adversarial_phases(
    config: TrialConfig,
    *,
    critics: Sequence[str],
    generators: Sequence[str],
    penalised: bool,
    suffix: str = "",
    start: float = 0.0,
    stop: float = 1.0,
    stratified: bool = False,
) -> tuple[Phase, ...]:
    """Returns the phases of adversarial training: the critics', a lazy penalty's if there is one, and the generators'.

    Args:
        config: the trial's configuration.
        critics: names of the networks updated together in the critics' phase.
        generators: names of the networks updated together in the generators' phase.
        penalised: whether there is a penalty.
        suffix: appended to the names of the phases.
        start: fraction of the budget at which the phases begin.
        stop: fraction of the budget at which they end.
        stratified: whether batches hold every class equally often.
    """
    n_critic = config.n_critic
    interval = config.penalty.interval
    # Phases run in this order within an iteration.
    critic = Phase(f"critic{suffix}", tuple(critics), "critic", n_critic, 1, start, stop, stratified)
    generator = replace(critic, name=f"generator{suffix}", updates=tuple(generators), role="generator", repeats=1)
    if not penalised or interval == 1:
        return critic, generator
    return critic, replace(critic, name=f"penalty{suffix}", interval=interval), generator


def merged_scalars(logs: Sequence[Scalars]) -> dict[str, Tensor]:
    """Averages the logs of several critics.

    `critic_spread` is the minimum instead, because a single dead critic makes the trial useless.
    """
    merged = {}
    for name in logs[0]:
        values = torch.stack([log[name] for log in logs])
        merged[name] = values.amin() if name == "critic_spread" else values.mean()
    return merged


def score_summary(real: Tensor, fake: Tensor) -> dict[str, Tensor]:
    """Returns mean scores of reals and fakes, and the standard deviation of all scores relative to their mean size."""
    real = real.detach()
    fake = fake.detach()
    scores = torch.cat([real, fake])
    # 1e-3 keeps the ratio finite where all scores are near zero.
    spread = scores.std() / (scores.abs().mean() + 1e-3)
    return {"critic_real": real.mean(), "critic_fake": fake.mean(), "critic_spread": spread}


def _per_image(output: CriticOutput) -> CriticOutput:
    """Averages each image's scores over its patches: penalties differentiate one score per image."""
    scores = output.scores
    return output if scores.ndim == 1 else replace(output, scores=scores.mean(dim=1))
