"""The algorithm that families from noise to image share: a critic's phase, a lazy penalty's, a generator's.

A family brings the two networks; loss, penalty, conditioning and augmentation come from the registries.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainables.adversary import adversarial_phases, score_summary
from trainables.conditioning import classes_told
from trainables.losses import Judgement, Loss, feature_matching
from trainables.masks import masked_images, needed_masks
from trainables.penalties import Penalty, View
from trainables.precision import full_precision

if TYPE_CHECKING:
    from gansweep.contracts import Batch, Condition, ImageSpec, Scalars, Trainables
    from gansweep.experiment import TrialConfig
    from trainables.augmentation import Augmentation
    from trainables.conditioning import Conditioning

__all__ = ["AdversarialGan"]


class AdversarialGan:
    """A generator `(noise, code, map) -> images` against a critic `(images and planes, labels) -> Judgement`.

    Args:
        config: the trial.
        spec: the images.
        trainables: what the configuration's names refer to.
        generator: from `[b, latent]`, `[b, code_size]`, `[b, map_channels, H, W]` or None, to images in [-1, 1].
        critic: from `[b, C + plane_channels, H, W]` and labels `[b]`.
        latent: size of the noise.
        mixes_images: whether the critic's judgement of an image depends on the others in the batch (batch norm).
    """

    averaged = ("generator",)

    def __init__(
        self,
        config: TrialConfig,
        spec: ImageSpec,
        trainables: Trainables,
        generator: nn.Module,
        critic: nn.Module,
        *,
        latent: int,
        mixes_images: bool,
    ) -> None:
        self.config, self.spec, self.latent = config, spec, latent
        self.networks = {"generator": generator, "critic": critic}
        self.adversarial: Loss = trainables.losses[config.loss.kind](config.loss)
        self.conditioning: Conditioning = trainables.conditionings[config.conditioning](spec)
        self.penalty: Penalty = trainables.penalties[config.penalty.kind](config.penalty)
        budget = config.iterations * config.n_critic * config.batch_size
        self.augmentation: Augmentation = trainables.augmentations[config.augmentation.kind](
            config.augmentation, budget
        )
        self.state = nn.ModuleDict({"penalty": self.penalty, "augmentation": self.augmentation})
        # A penalty in every step shares the critic's backward; a lazy one has a phase of its own.
        self._folded = self.penalty.active and config.penalty.interval == 1
        self._mixes_images = mixes_images
        self.phases = adversarial_phases(
            config, critics=("critic",), generators=("generator",), penalised=self.penalty.active
        )

    @classmethod
    def makes(cls, config: TrialConfig, spec: ImageSpec) -> tuple[int, ...]:
        """Every class; none where it is told none."""
        return classes_told(config, spec)

    def loss(self, phase: str, batch: Batch, step: int) -> tuple[Tensor, Scalars]:
        """The critic's, the penalty's or the generator's objective."""
        if phase == "generator":
            return self._generator_loss(batch)
        # The fakes are judged under the labels of the batch's real images. Were the two label distributions different,
        # an unbounded critic could tell real from fake by the label alone, and raise its score of a label for ever.
        with torch.no_grad():
            fake = self.generate(batch, batch.labels)
        if phase == "critic":
            return self._critic_loss(batch, fake, step)
        with torch.autocast(fake.device.type, enabled=False):
            return self._penalty_loss(batch, fake, step)

    def sample(self, n: int, condition: Condition, generator: torch.Generator) -> Tensor:
        """`[n, C, H, W]` images of the wanted classes; cut to [-1, 1], for not every generator ends in a tanh."""
        noise = torch.randn(n, self.latent, generator=generator, device=generator.device)
        return self._synthesise(noise, condition.labels, condition.masks).clamp(-1.0, 1.0)

    def generate(self, batch: Batch, labels: Tensor) -> Tensor:
        """Fakes `[b, C, H, W]` of the classes `labels` for training, one beside each image of the batch."""
        return self._synthesise(batch.draws.normal(self.latent), labels, batch.masks)

    def judge(self, images: Tensor, labels: Tensor, masks: Tensor | None) -> Judgement:
        """The critic's judgement of `images` under `labels`."""
        planes = self.conditioning.planes(labels, masks, images.shape[-1])
        seen = images if planes is None else torch.cat([images, planes.to(images.dtype)], dim=1)
        return self._run_critic(seen, labels)

    def _critic_loss(self, batch: Batch, fake: Tensor, step: int) -> tuple[Tensor, Scalars]:
        real, fake = self._seen(batch.images, batch), self._seen(fake, batch)
        inputs = self.penalty.inputs if self._folded else ()
        for which in inputs:
            (real if which == "real" else fake).requires_grad_()
        # A penalty at the images themselves shares the loss's forward, and penalties are computed in float32.
        with torch.autocast(fake.device.type, enabled=torch.is_autocast_enabled(fake.device.type) and not inputs):
            judged_real, judged_fake = self._judge_both(real, fake, batch, together=len(inputs) != 1)
        loss = self.adversarial.critic(judged_real, judged_fake, batch.labels).mean()
        scalars = score_summary(judged_real.scores, judged_fake.scores)
        if self.conditioning.classifies:
            # On real images only: while fakes are poor, they would teach the classifier nonsense.
            assert judged_real.classes is not None
            wrong = F.cross_entropy(judged_real.classes, batch.labels)
            loss = loss + self.config.loss.auxiliary * wrong
            scalars["class_loss"] = wrong.detach()
        self.augmentation.observe(self.adversarial.confidence(judged_real, judged_fake).detach(), batch.total)
        if self._folded:
            with torch.autocast(fake.device.type, enabled=False):
                penalty, log = self.penalty(self._view(batch, real, fake, step, judged_real, judged_fake))
            loss, scalars = loss + penalty, scalars | log
        return loss, scalars

    def _penalty_loss(self, batch: Batch, fake: Tensor, step: int) -> tuple[Tensor, Scalars]:
        """A lazy penalty: applied rarely, and so much the stronger (Karras et al. 2020, StyleGAN2, section 3.1)."""
        real, fake = self._seen(batch.images, batch), self._seen(fake, batch)
        for which in self.penalty.inputs:
            (real if which == "real" else fake).requires_grad_()
        penalty, log = self.penalty(self._view(batch, real, fake, step))
        return self.config.penalty.interval * penalty, log

    def _generator_loss(self, batch: Batch) -> tuple[Tensor, Scalars]:
        matching = self.config.loss.feature_matching
        compares = self.adversarial.paired or matching > 0
        labels = self._wanted_labels(batch, compares=compares)
        fake = self._seen(self.generate(batch, labels), batch)
        judged_real = None
        if compares:
            real = self._seen(batch.images, batch)
            judged_real, judged_fake = self._judge_both(real, fake, batch, together=not self._mixes_images)
        else:
            judged_fake = self._judge_seen(fake, labels)
        loss = self.adversarial.generator(judged_real, judged_fake, labels).mean()
        if matching:
            assert judged_real is not None
            loss = loss + matching * feature_matching(judged_real, judged_fake)
        if self.conditioning.classifies:
            assert judged_fake.classes is not None
            loss = loss + self.config.loss.auxiliary * F.cross_entropy(judged_fake.classes, labels)
        return loss, {}

    def _wanted_labels(self, batch: Batch, *, compares: bool) -> Tensor:
        """What the generator is asked for in its own phase.

        Every class as often as the others, so that a rare one is learned too; unless fakes are compared with the
        batch's real images or follow its masks.
        """
        if compares or self.conditioning.uses_masks:
            return batch.labels
        return batch.draws.integers(len(self.spec.classes))

    def _synthesise(self, noise: Tensor, labels: Tensor, masks: Tensor | None) -> Tensor:
        code, mask_map = self.conditioning.code(labels, masks), self.conditioning.map(masks)
        return full_precision(self._run_generator(noise, code, mask_map))

    def _run_generator(self, noise: Tensor, code: Tensor, mask_map: Tensor | None) -> Tensor:
        images: Tensor = self.networks["generator"](noise, code, mask_map)
        return images

    def _run_critic(self, seen: Tensor, labels: Tensor) -> Judgement:
        judgement: Judgement = self.networks["critic"](seen, labels)
        return judgement

    def _seen(self, images: Tensor, batch: Batch) -> Tensor:
        """Images as the critic sees them: augmented.

        They carry their masks where it is told these: a mask that did not move along would be another image's.
        """
        if self.conditioning.uses_masks:
            images = masked_images(images, needed_masks(batch.masks))
        augmented: Tensor = self.augmentation(images, batch.draws, masks=int(self.conditioning.uses_masks))
        # A penalty may ask for the gradient at these images: never at the data set's own tensor.
        return augmented.detach() if not augmented.requires_grad else augmented

    def _judge_seen(self, seen: Tensor, labels: Tensor) -> Judgement:
        """The critic's judgement of what `_seen` gives."""
        if not self.conditioning.uses_masks:
            return self.judge(seen, labels, None)
        images, carried = seen[:, :-1], seen[:, -1:]
        # A penalty bounds the slope in the image; the mask is a condition.
        return self.judge(images, labels, ((carried.detach() + 1.0) / 2.0).clamp(0.0, 1.0))

    def _judge_both(self, real: Tensor, fake: Tensor, batch: Batch, *, together: bool) -> tuple[Judgement, Judgement]:
        """One forward for real images and fakes, unless the critic mixes images or one kind alone is penalised."""
        if not together or self._mixes_images:
            return self._judge_seen(real, batch.labels), self._judge_seen(fake, batch.labels)
        labels = torch.cat([batch.labels, batch.labels])
        return self._judge_seen(torch.cat([real, fake]), labels).split(len(real))

    def _view(
        self,
        batch: Batch,
        real: Tensor,
        fake: Tensor,
        step: int,
        judged_real: Judgement | None = None,
        judged_fake: Judgement | None = None,
    ) -> View:
        critic = partial(self._judge_seen, labels=batch.labels)
        progress = step / self.config.iterations
        return View(critic, real, fake, batch.draws, progress, judged_real, judged_fake)
