"""Adversarial losses of critic and generator.

Each loss is computed per image (or per pair). The mean over a worker's images, averaged over workers, is therefore the
mean over the global batch. To add a loss, write a subclass of `Loss` and add a line in `trainables/__init__.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from gansweep.distributed import mean_over_workers
from gansweep.errors import ConfigError
from trainables.layers.precision import full_precision

if TYPE_CHECKING:
    from gansweep.config import LossSettings, TrialConfig
    from gansweep.contracts import ImageSpec
    from trainables.layers.critic_output import CriticOutput

__all__ = [
    "Hinge",
    "LeastSquares",
    "Loss",
    "Minimax",
    "MultiClassHinge",
    "NonSaturating",
    "Relativistic",
    "Wasserstein",
    "feature_matching",
]


class Loss:
    """The losses of critic and generator.

    Args:
        settings: label smoothing and weights.
    """

    paired: ClassVar[bool] = False
    """Whether the generator's loss compares each fake with a real image of the same class."""
    has_targets: ClassVar[bool] = False
    """Whether real images have a target value, which label smoothing can lower."""
    needs_classes: ClassVar[bool] = False
    """Whether the critic must have a classifier head."""
    bounded_critic: ClassVar[bool] = False
    """Whether a critic that ends in a sigmoid can minimise the loss."""
    unbounded: ClassVar[bool] = False
    """Whether the loss has no finite optimum unless the critic is Lipschitz."""
    boundary: ClassVar[float | None] = None
    """The score that separates real from fake; None if only differences of scores have a meaning."""
    cyclic_scale: ClassVar[float] = 1.0
    """Factor of the generator's loss in cycle-consistent families, whose published cycle weights assume it."""

    def __init__(self, settings: LossSettings) -> None:
        self.settings = settings

    @classmethod
    def check(cls, config: TrialConfig, spec: ImageSpec | None) -> None:
        """Rejects settings that have no effect on this loss, and a cohort without the classes it needs.

        Raises:
            ConfigError: label smoothing, clipping or the number of classes does not fit.
        """
        kind = config.loss.kind
        settings = config.loss
        if settings.label_smoothing and not cls.has_targets:
            raise ConfigError(
                f"loss.label_smoothing = {settings.label_smoothing}: the {kind} loss has no target to smooth",
                fix="set it to 0, or use minimax, non_saturating or least_squares",
            )
        if settings.clip is not None and not cls.unbounded:
            raise ConfigError(f"loss.clip belongs to the Wasserstein critic, not to {kind}", fix="leave it out")
        if cls.needs_classes and spec is not None and len(spec.classes) < 2:
            raise ConfigError(f"loss.kind = {kind!r} needs at least two classes, but the cohort has one")

    def critic(self, real: CriticOutput, fake: CriticOutput, labels: Tensor) -> Tensor:
        """Returns the critic's loss per image, `[b]`; real and fake images have the same `labels` `[b]`."""
        raise NotImplementedError

    def generator(self, real: CriticOutput | None, fake: CriticOutput, labels: Tensor) -> Tensor:
        """Returns the generator's loss per image, `[b]`; `real` is None unless the loss is paired."""
        raise NotImplementedError

    def confidence(self, real: CriticOutput, fake: CriticOutput) -> Tensor:
        """Returns per-image terms `[b]` of ADA's overfitting heuristic r_t (Karras et al. 2020, equation 1).

        Their mean is 0 if the critic guesses and 1 if it recognises all real images. If scores have no boundary, the
        scores of fakes take its place.
        """
        boundary = fake.scores if self.boundary is None else self.boundary
        return (real.scores - boundary).sign()


class Minimax(Loss):
    """Goodfellow et al. 2014, equation 1; the generator's log(1 - D(G(z))) saturates when the critic wins."""

    has_targets = True
    boundary = 0.0

    def critic(self, real: CriticOutput, fake: CriticOutput, labels: Tensor) -> Tensor:  # noqa: ARG002
        """Returns the binary cross-entropy with one-sided label smoothing (Salimans et al. 2016, section 3.4)."""
        target = torch.full_like(real.scores, 1.0 - self.settings.label_smoothing)
        real_loss = F.binary_cross_entropy_with_logits(real.scores, target, reduction="none")
        return real_loss + F.softplus(fake.scores)

    def generator(self, real: CriticOutput | None, fake: CriticOutput, labels: Tensor) -> Tensor:  # noqa: ARG002
        """Returns log(1 - D(G(z)))."""
        return -F.softplus(fake.scores)


class NonSaturating(Minimax):
    """Goodfellow et al. 2014, section 3: the generator minimises -log D(G(z)) instead."""

    def generator(self, real: CriticOutput | None, fake: CriticOutput, labels: Tensor) -> Tensor:  # noqa: ARG002
        """Returns -log D(G(z))."""
        return F.softplus(-fake.scores)


class LeastSquares(Loss):
    """LSGAN (Mao et al. 2017, equation 9): the targets are 1 for reals, 0 for fakes, and 1 for the generator."""

    has_targets = True
    bounded_critic = True
    boundary = 0.5
    # CycleGAN's generators minimise (D(G(x)) - 1)², without the factor 1/2 of its critics (Zhu et al. 2017, section 4).
    cyclic_scale = 2.0

    def critic(self, real: CriticOutput, fake: CriticOutput, labels: Tensor) -> Tensor:  # noqa: ARG002
        """Returns half the squared distances to the targets."""
        target = 1.0 - self.settings.label_smoothing
        return 0.5 * ((real.scores - target).square() + fake.scores.square())

    def generator(self, real: CriticOutput | None, fake: CriticOutput, labels: Tensor) -> Tensor:  # noqa: ARG002
        """Returns half the squared distance to the target of real images."""
        return 0.5 * (fake.scores - (1.0 - self.settings.label_smoothing)).square()


class Hinge(Loss):
    """The hinge loss (Lim & Ye 2017; Miyato et al. 2018, equations 16 and 17)."""

    boundary = 0.0

    def critic(self, real: CriticOutput, fake: CriticOutput, labels: Tensor) -> Tensor:  # noqa: ARG002
        """Returns distances to the margins at 1 and -1."""
        return F.relu(1.0 - real.scores) + F.relu(1.0 + fake.scores)

    def generator(self, real: CriticOutput | None, fake: CriticOutput, labels: Tensor) -> Tensor:  # noqa: ARG002
        """Returns the negative score."""
        return -fake.scores


class MultiClassHinge(Hinge):
    """Multi-hinge loss (Kavalerov et al. 2021): a projection critic with an auxiliary hinge classifier.

    The class hinge is Crammer and Singer's: the logit of the right class exceeds all others by a margin of 1.
    """

    needs_classes = True

    @classmethod
    def check(cls, config: TrialConfig, spec: ImageSpec | None) -> None:
        """Rejects any conditioning but projection.

        Raises:
            ConfigError: the conditioning is another one, or as `Loss.check`.
        """
        super().check(config, spec)
        if config.conditioning != "projection":
            raise ConfigError(
                f"loss.kind = 'multi_class_hinge' with conditioning = {config.conditioning!r}",
                fix="it is defined on the projection critic: set conditioning = 'projection'",
            )

    def critic(self, real: CriticOutput, fake: CriticOutput, labels: Tensor) -> Tensor:
        """Returns the hinge loss plus the class hinge of the real images."""
        return super().critic(real, fake, labels) + self.settings.auxiliary * _class_hinge(real, labels)

    def generator(self, real: CriticOutput | None, fake: CriticOutput, labels: Tensor) -> Tensor:
        """Returns the hinge loss plus the class hinge of the fakes."""
        return super().generator(real, fake, labels) + self.settings.auxiliary * _class_hinge(fake, labels)


class Wasserstein(Loss):
    """Arjovsky et al. 2017, equation 3. A penalty, clipping or spectral normalisation keeps the critic Lipschitz.

    Difference from the paper: with clipping, too, the optimiser is Adam; the paper uses RMSProp.
    """

    unbounded = True

    def critic(self, real: CriticOutput, fake: CriticOutput, labels: Tensor) -> Tensor:  # noqa: ARG002
        """Returns the negative of the estimated distance."""
        return fake.scores - real.scores

    def generator(self, real: CriticOutput | None, fake: CriticOutput, labels: Tensor) -> Tensor:  # noqa: ARG002
        """Returns the negative score."""
        return -fake.scores


class Relativistic(Loss):
    """The relativistic pairing loss (Jolicoeur-Martineau 2019; R3GAN, Huang et al. 2024, equation 2)."""

    paired = True

    def critic(self, real: CriticOutput, fake: CriticOutput, labels: Tensor) -> Tensor:  # noqa: ARG002
        """Returns a loss that is small if each real image scores above the fake with which it is paired."""
        return F.softplus(fake.scores - real.scores)

    def generator(self, real: CriticOutput | None, fake: CriticOutput, labels: Tensor) -> Tensor:  # noqa: ARG002
        """Returns a loss that is small if each fake scores above the real image with which it is paired."""
        assert real is not None
        return F.softplus(real.scores - fake.scores)


def _class_hinge(output: CriticOutput, labels: Tensor) -> Tensor:
    """Crammer and Singer's multi-class hinge, `[b]`."""
    assert output.classes is not None
    right = output.classes.gather(1, labels[:, None])
    others = output.classes.scatter(1, labels[:, None], -torch.inf).amax(dim=1)
    return F.relu(1.0 - right.squeeze(1) + others)


def feature_matching(real: CriticOutput, fake: CriticOutput) -> Tensor:
    """Returns the squared distance between mean features of real and fake images (Salimans et al. 2016, section 3.1).

    It is averaged over the critic's layers. The means are over the global batch, not only over this worker's images.
    """
    distances = [
        (_global_mean(theirs) - _global_mean(ours)).square().mean()
        for ours, theirs in zip(real.features, fake.features, strict=True)
    ]
    return torch.stack(distances).mean()


def _global_mean(features: Tensor) -> Tensor:
    return mean_over_workers(full_precision(features).mean(dim=0))
