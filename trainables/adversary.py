"""One critic's game against its generator, for families that have several critics or train them for a part of the run.

`AdversarialGan` is the whole algorithm of families from noise to image; this is its part that needs only two sets of
images, so that any number of critics can be put together.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from gansweep.contracts import Phase
from trainables.losses import Judgement, Loss, feature_matching
from trainables.penalties import Penalty, View

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gansweep.contracts import Batch, Draws, Scalars, Trainables
    from gansweep.experiment import TrialConfig
    from trainables.augmentation import Augmentation

__all__ = ["Adversary", "SomeRows", "adversarial_phases", "joined", "score_summary"]


class SomeRows:
    """The random numbers of some of this worker's images (one domain's half of a stratified batch).

    Args:
        draws: the whole share's.
        rows: which images.
    """

    def __init__(self, draws: Draws, rows: slice) -> None:
        self._draws, self._rows = draws, rows

    def normal(self, *shape: int) -> Tensor:
        """Standard normal numbers."""
        return self._draws.normal(*shape)[self._rows]

    def uniform(self, *shape: int) -> Tensor:
        """Uniform numbers in [0, 1)."""
        return self._draws.uniform(*shape)[self._rows]

    def integers(self, high: int, *shape: int) -> Tensor:
        """Integers in [0, high)."""
        return self._draws.integers(high, *shape)[self._rows]


class Adversary:
    """A critic with its loss, penalty and augmentation.

    Args:
        config: the trial.
        trainables: what the configuration's names refer to.
        critic: `[b, C, H, W]` images to a judgement; its scores may be `[b, patches]`.
        scale: of the loss in what the generator minimises.
    """

    def __init__(self, config: TrialConfig, trainables: Trainables, critic: nn.Module, *, scale: float = 1.0) -> None:
        self.config, self.critic, self._scale = config, critic, scale
        self.adversarial: Loss = trainables.losses[config.loss.kind](config.loss)
        self.penalty: Penalty = trainables.penalties[config.penalty.kind](config.penalty)
        budget = config.iterations * config.n_critic * config.batch_size
        self.augmentation: Augmentation = trainables.augmentations[config.augmentation.kind](
            config.augmentation, budget
        )
        self.state = nn.ModuleDict({"penalty": self.penalty, "augmentation": self.augmentation})
        self._folded = self.penalty.active and config.penalty.interval == 1

    def critic_loss(
        self, real: Tensor, fake: Tensor, batch: Batch, draws: Draws, step: int
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """What the critic minimises; a penalty in every step shares its backward.

        Args:
            real: `[b, C, H, W]`.
            fake: `[b, C, H, W]`; no gradient flows into it.
            batch: the step's.
            draws: random numbers for these b images.
            step: generator iterations done.
        """
        real, fake = self._seen(real, draws), self._seen(fake, draws)
        inputs = self.penalty.inputs if self._folded else ()
        for which in inputs:
            (real if which == "real" else fake).requires_grad_()
        # A penalty at the images themselves shares the loss's forward, and penalties are computed in float32.
        with torch.autocast(fake.device.type, enabled=torch.is_autocast_enabled(fake.device.type) and not inputs):
            judged_real, judged_fake = self._judge_both(real, fake)
        loss = self.adversarial.critic(judged_real, judged_fake, batch.labels).mean()
        self.augmentation.observe(self.adversarial.confidence(judged_real, judged_fake).detach(), batch.total)
        scalars = score_summary(judged_real.scores, judged_fake.scores)
        if self._folded:
            with torch.autocast(fake.device.type, enabled=False):
                view = View(
                    self._judge,
                    real,
                    fake,
                    draws,
                    self._progress(step),
                    _per_image(judged_real),
                    _per_image(judged_fake),
                )
                penalty, log = self.penalty(view)
            loss, scalars = loss + penalty, scalars | log
        return loss, scalars

    def penalty_loss(self, real: Tensor, fake: Tensor, draws: Draws, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """A lazy penalty's own step, scaled by its interval (Karras et al. 2020, StyleGAN2, section 3.1)."""
        real, fake = self._seen(real, draws), self._seen(fake, draws)
        for which in self.penalty.inputs:
            (real if which == "real" else fake).requires_grad_()
        with torch.autocast(fake.device.type, enabled=False):
            penalty, log = self.penalty(View(self._judge, real, fake, draws, self._progress(step)))
        return self.config.penalty.interval * penalty, log

    def generator_loss(self, real: Tensor, fake: Tensor, batch: Batch, draws: Draws) -> Tensor:
        """What the generator of `fake` minimises."""
        fake = self.augmentation(fake, draws)
        matching = self.config.loss.feature_matching
        judged_real = None
        if self.adversarial.paired or matching:
            judged_real, judged_fake = self._judge_both(self._seen(real, draws), fake)
        else:
            judged_fake = self.critic(fake)
        loss = self._scale * self.adversarial.generator(judged_real, judged_fake, batch.labels).mean()
        if matching:
            assert judged_real is not None
            loss = loss + matching * feature_matching(judged_real, judged_fake)
        return loss

    def _judge_both(self, real: Tensor, fake: Tensor) -> tuple[Judgement, Judgement]:
        judgement: Judgement = self.critic(torch.cat([real, fake.to(real.dtype)]))
        return judgement.split(len(real))

    def _judge(self, images: Tensor) -> Judgement:
        return _per_image(self.critic(images))

    def _seen(self, images: Tensor, draws: Draws) -> Tensor:
        augmented: Tensor = self.augmentation(images.detach(), draws)
        return augmented.detach()

    def _progress(self, step: int) -> float:
        return step / self.config.iterations


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
    """The critics' phase, a lazy penalty's where there is one, and the generators'.

    Args:
        config: the trial.
        critics: networks updated together in the critics' phase.
        generators: likewise.
        penalised: whether the penalty does anything.
        suffix: of the phases' names.
        start: fraction of the budget at which they begin.
        stop: and at which they end.
        stratified: whether batches hold every class equally often.
    """
    n_critic, interval = config.n_critic, config.penalty.interval
    common = Phase(f"critic{suffix}", tuple(critics), "critic", n_critic, 1, start, stop, stratified)
    generator = replace(common, name=f"generator{suffix}", updates=tuple(generators), role="generator", repeats=1)
    if not penalised or interval == 1:
        return common, generator
    return common, replace(common, name=f"penalty{suffix}", interval=interval), generator


def joined(logs: Sequence[Scalars]) -> dict[str, Tensor]:
    """One log of several critics': means, and of `critic_spread` the least, for one dead critic is enough."""
    together = {name: torch.stack([log[name] for log in logs]) for name in logs[0]}
    return {name: values.amin() if name == "critic_spread" else values.mean() for name, values in together.items()}


def score_summary(real: Tensor, fake: Tensor) -> dict[str, Tensor]:
    """Mean scores, and the scores' spread relative to their size."""
    real, fake = real.detach(), fake.detach()
    scores = torch.cat([real, fake])
    spread = scores.std() / (scores.abs().mean() + 1e-3)
    return {"critic_real": real.mean(), "critic_fake": fake.mean(), "critic_spread": spread}


def _per_image(judgement: Judgement) -> Judgement:
    """Penalties differentiate one score per image: the mean over its patches."""
    scores = judgement.scores
    return judgement if scores.ndim == 1 else replace(judgement, scores=scores.mean(dim=1))
