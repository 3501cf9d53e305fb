"""The training algorithm of all families from noise to image: a critic phase, a lazy penalty phase, a generator phase.

A family provides the two networks. Loss, penalty, conditioning and augmentation come from the registries.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gansweep.devices import exact_float32, set_number
from trainables.algorithms.adversarial_objective import adversarial_phases, score_summary
from trainables.conditioning.conditionings import sampled_classes
from trainables.conditioning.masks import masked_images, required_masks
from trainables.layers.precision import full_precision
from trainables.objectives.losses import Loss, feature_matching
from trainables.objectives.penalties import Penalty, PenaltyContext

if TYPE_CHECKING:
    from collections.abc import Hashable

    from gansweep.config import TrialConfig
    from gansweep.contracts import Batch, Condition, ImageSpec, Scalars, Trainables
    from trainables.conditioning.conditionings import Conditioning
    from trainables.layers.critic_output import CriticOutput
    from trainables.objectives.augmentation import Augmentation

__all__ = ["AdversarialGan"]


class AdversarialGan:
    """A generator `(noise, code, map) -> images` against a critic `(images and planes, labels) -> CriticOutput`.

    Args:
        config: the trial's configuration.
        spec: shape of the images.
        trainables: registries of the names in the configuration.
        generator: maps `[b, latent]`, `[b, code_size]` and `[b, map_channels, H, W]` (or None) to images in [-1, 1].
        critic: maps `[b, C + plane_channels, H, W]` and labels `[b]` to a `CriticOutput`.
        latent: size of the noise.
        mixes_images: whether the score of an image depends on the others in its batch (batch normalisation).
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
        self.config = config
        self.spec = spec
        self.latent = latent
        self.networks = {"generator": generator, "critic": critic}

        self.adversarial: Loss = trainables.losses[config.loss.kind](config.loss)
        self.conditioning: Conditioning = trainables.conditionings[config.conditioning](spec)
        self.penalty: Penalty = trainables.penalties[config.penalty.kind](config.penalty)
        # Number of images that the critic sees in the whole trial, on which ADA's speed depends.
        budget = config.iterations * config.n_critic * config.batch_size
        self.augmentation: Augmentation = trainables.augmentations[config.augmentation.kind](
            config.augmentation, budget
        )
        self.state = nn.ModuleDict({"penalty": self.penalty, "augmentation": self.augmentation})
        # Set in each step, so no part of a checkpoint.
        self.state.register_buffer("progress", torch.zeros((), dtype=torch.float64), persistent=False)

        # A penalty in every step shares the critic's backward pass. A lazy penalty has its own phase.
        self._folded = self.penalty.active and config.penalty.interval == 1
        self._mixes_images = mixes_images
        self.phases = adversarial_phases(
            config, critics=("critic",), generators=("generator",), penalised=self.penalty.active
        )

    @classmethod
    def makes(cls, config: TrialConfig, spec: ImageSpec) -> tuple[int, ...]:
        """Returns every class, or none if the generator is not conditioned on the class."""
        return sampled_classes(config, spec)

    def schedule(self, step: int) -> Hashable:
        """Sets the fraction of the budget that is used."""
        set_number(self.state.get_buffer("progress"), step / self.config.iterations)
        return None

    def loss(self, phase: str, batch: Batch, step: int) -> tuple[Tensor, Scalars]:
        """Returns the loss of the critic, of its penalty or of the generator, depending on `phase`."""
        self.schedule(step)
        if phase == "generator":
            return self._generator_loss(batch)
        # Fakes get the labels of the batch's real images. If the two label distributions differed, an unbounded critic
        # could distinguish real from fake by the label alone, and increase its score of one label without limit.
        with torch.no_grad():
            fake = self.generate(batch, batch.labels)
        if phase == "critic":
            return self._critic_loss(batch, fake)
        with exact_float32(fake.device):
            return self._penalty_loss(batch, fake)

    def sample(self, n: int, condition: Condition, generator: torch.Generator) -> Tensor:
        """`[n, C, H, W]` images of the requested classes, clipped to [-1, 1]: not every generator ends in a tanh."""
        noise = torch.randn(n, self.latent, generator=generator, device=generator.device)
        return self._synthesise(noise, condition.labels, condition.masks).clamp(-1.0, 1.0)

    def generate(self, batch: Batch, labels: Tensor) -> Tensor:
        """Returns fakes `[b, C, H, W]` of the classes `labels`: one for each real image of the batch."""
        return self._synthesise(batch.draws.normal(self.latent), labels, batch.masks)

    def judge(self, images: Tensor, labels: Tensor, masks: Tensor | None) -> CriticOutput:
        """Returns the critic's output for `images` `[b, C, H, W]` with `labels` `[b]`."""
        planes = self.conditioning.planes(labels, masks, images.shape[-1])
        inputs = images if planes is None else torch.cat([images, planes.to(images.dtype)], dim=1)
        return self._run_critic(inputs, labels)

    def _critic_loss(self, batch: Batch, fake: Tensor) -> tuple[Tensor, Scalars]:
        real = self._augmented(batch.images, batch)
        fake = self._augmented(fake, batch)
        if self._folded:
            self.penalty.require_gradients(real, fake)
        # A penalty at the real or fake images reuses the forward pass of the loss. Penalties are computed in float32,
        # so that forward pass must be too.
        reused = self.penalty.inputs if self._folded else ()
        with exact_float32(fake.device, enabled=bool(reused)):
            judged_real, judged_fake = self._judge_both(real, fake, batch, together=len(reused) != 1)
        loss = self.adversarial.critic(judged_real, judged_fake, batch.labels).mean()
        scalars = score_summary(judged_real.scores, judged_fake.scores)
        if self.conditioning.classifies:
            # Real images only: early fakes do not show their class and would mislead the classifier.
            assert judged_real.classes is not None
            class_loss = F.cross_entropy(judged_real.classes, batch.labels)
            loss = loss + self.config.loss.auxiliary * class_loss
            scalars["class_loss"] = class_loss.detach()
        self.augmentation.observe(self.adversarial.confidence(judged_real, judged_fake).detach(), batch.total)
        if self._folded:
            with exact_float32(fake.device):
                penalty, log = self.penalty(self._penalty_context(batch, real, fake, judged_real, judged_fake))
            loss = loss + penalty
            scalars = scalars | log
        return loss, scalars

    def _penalty_loss(self, batch: Batch, fake: Tensor) -> tuple[Tensor, Scalars]:
        """Returns the loss of a lazy penalty: every k steps with k times the weight.

        See Karras et al. 2020, StyleGAN2, section 3.1.
        """
        real = self._augmented(batch.images, batch)
        fake = self._augmented(fake, batch)
        self.penalty.require_gradients(real, fake)
        penalty, log = self.penalty(self._penalty_context(batch, real, fake))
        return self.config.penalty.interval * penalty, log

    def _generator_loss(self, batch: Batch) -> tuple[Tensor, Scalars]:
        matching = self.config.loss.feature_matching
        # These losses compare each fake with a real image, so both must have the same labels.
        compares = self.adversarial.paired or matching > 0
        labels = self._wanted_labels(batch, compares=compares)
        fake = self._augmented(self.generate(batch, labels), batch)
        judged_real = None
        if compares:
            real = self._augmented(batch.images, batch)
            judged_real, judged_fake = self._judge_both(real, fake, batch, together=not self._mixes_images)
        else:
            judged_fake = self._judge_augmented(fake, labels)
        loss = self.adversarial.generator(judged_real, judged_fake, labels).mean()
        if matching:
            assert judged_real is not None
            loss = loss + matching * feature_matching(judged_real, judged_fake)
        if self.conditioning.classifies:
            assert judged_fake.classes is not None
            loss = loss + self.config.loss.auxiliary * F.cross_entropy(judged_fake.classes, labels)
        return loss, {}

    def _wanted_labels(self, batch: Batch, *, compares: bool) -> Tensor:
        """Returns labels `[b]` of the fakes in the generator's phase.

        All classes are equally likely, so that rare classes are learned too. The batch's own labels are used where
        fakes are compared with its real images or follow its masks.
        """
        if compares or self.conditioning.uses_masks:
            return batch.labels
        return batch.draws.integers(len(self.spec.classes))

    def _synthesise(self, noise: Tensor, labels: Tensor, masks: Tensor | None) -> Tensor:
        code = self.conditioning.code(labels, masks)
        mask_map = self.conditioning.map(masks)
        return full_precision(self._run_generator(noise, code, mask_map))

    def _run_generator(self, noise: Tensor, code: Tensor, mask_map: Tensor | None) -> Tensor:
        images: Tensor = self.networks["generator"](noise, code, mask_map)
        return images

    def _run_critic(self, inputs: Tensor, labels: Tensor) -> CriticOutput:
        output: CriticOutput = self.networks["critic"](inputs, labels)
        return output

    def _augmented(self, images: Tensor, batch: Batch) -> Tensor:
        """Returns the augmented images, as the critic sees them.

        If the critic is conditioned on masks, the masks are appended as a channel first, so that both move together.
        """
        if self.conditioning.uses_masks:
            images = masked_images(images, required_masks(batch.masks))
        augmented: Tensor = self.augmentation(images, batch.draws, masks=int(self.conditioning.uses_masks))
        # A penalty may call requires_grad_() on the result, which must not be the data set's own tensor.
        return augmented.detach() if not augmented.requires_grad else augmented

    def _judge_augmented(self, augmented: Tensor, labels: Tensor) -> CriticOutput:
        """Returns the critic's output for a result of `_augmented`."""
        if not self.conditioning.uses_masks:
            return self.judge(augmented, labels, None)
        images = augmented[:, :-1]
        masks = augmented[:, -1:]
        # Detached: a penalty bounds the slope with respect to the image, and the mask is only a condition.
        masks = (masks.detach() + 1.0) / 2.0
        return self.judge(images, labels, masks.clamp(0.0, 1.0))

    def _judge_both(
        self, real: Tensor, fake: Tensor, batch: Batch, *, together: bool
    ) -> tuple[CriticOutput, CriticOutput]:
        """Judges reals and fakes in one forward pass, unless the critic mixes images or only one kind is penalised."""
        if not together or self._mixes_images:
            return self._judge_augmented(real, batch.labels), self._judge_augmented(fake, batch.labels)
        labels = torch.cat([batch.labels, batch.labels])
        return self._judge_augmented(torch.cat([real, fake]), labels).split(len(real))

    def _penalty_context(
        self,
        batch: Batch,
        real: Tensor,
        fake: Tensor,
        judged_real: CriticOutput | None = None,
        judged_fake: CriticOutput | None = None,
    ) -> PenaltyContext:
        critic = partial(self._judge_augmented, labels=batch.labels)
        progress = self.state.get_buffer("progress")
        return PenaltyContext(critic, real, fake, batch.draws, progress, judged_real, judged_fake)
