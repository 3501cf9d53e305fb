"""Adversarial losses: what the critic and the generator minimise, given the critic's judgement of images.

Each works on one image (or one pair) at a time, so that a mean over a worker's share, averaged over workers, is the
mean over the global batch. Add one: a subclass of `Loss` and a line in `trainables/__init__.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from gansweep.errors import ConfigError
from gansweep.training.world import mean_over_workers
from trainables.precision import full_precision

if TYPE_CHECKING:
    from gansweep.contracts import ImageSpec
    from gansweep.experiment import LossSettings, TrialConfig

__all__ = [
    "Hinge",
    "Judgement",
    "LeastSquares",
    "Loss",
    "Minimax",
    "MultiClassHinge",
    "NonSaturating",
    "Relativistic",
    "Wasserstein",
    "feature_matching",
]


@dataclass(frozen=True)
class Judgement:
    """What a critic says about images.

    Args:
        scores: `[b]`, higher for real.
        classes: `[b, K]` class logits of critics with a classifier head, else None.
        features: the outputs of the critic's blocks, from the image on.
    """

    scores: Tensor
    classes: Tensor | None = None
    features: list[Tensor] = field(default_factory=list)

    def split(self, rows: int) -> tuple[Judgement, Judgement]:
        """The first `rows` images, and the others."""
        first = Judgement(
            self.scores[:rows],
            None if self.classes is None else self.classes[:rows],
            [feature[:rows] for feature in self.features],
        )
        rest = Judgement(
            self.scores[rows:],
            None if self.classes is None else self.classes[rows:],
            [feature[rows:] for feature in self.features],
        )
        return first, rest


class Loss:
    """A pair of objectives.

    Args:
        settings: label smoothing and weights.
    """

    paired: ClassVar[bool] = False
    """Whether the generator's objective compares each fake with a real image of the same class."""
    has_targets: ClassVar[bool] = False
    """Whether there is a target for real images that label smoothing can lower."""
    needs_classes: ClassVar[bool] = False
    """Whether the critic must have a classifier head."""
    bounded_critic: ClassVar[bool] = False
    """Whether a critic that ends in a sigmoid can minimise it."""
    unbounded: ClassVar[bool] = False
    """Whether it has no finite optimum unless the critic is held Lipschitz."""
    boundary: ClassVar[float | None] = None
    """The score between real and fake; None where scores have no zero."""
    cyclic_scale: ClassVar[float] = 1.0
    """Times the generator's objective is the one that weights of cycles were published beside."""

    def __init__(self, settings: LossSettings) -> None:
        self.settings = settings

    @classmethod
    def check(cls, config: TrialConfig, spec: ImageSpec | None) -> None:
        """Refuses settings the loss has no use for."""
        kind, settings = config.loss.kind, config.loss
        if settings.label_smoothing and not cls.has_targets:
            raise ConfigError(
                f"loss.label_smoothing = {settings.label_smoothing}: the {kind} loss has no target to smooth",
                fix="set it to 0, or use minimax, non_saturating or least_squares",
            )
        if settings.clip is not None and not cls.unbounded:
            raise ConfigError(f"loss.clip belongs to the Wasserstein critic, not to {kind}", fix="leave it out")
        if cls.needs_classes and spec is not None and len(spec.classes) < 2:
            raise ConfigError(f"loss.kind = {kind!r} needs at least two classes, and the cohort has one")

    def critic(self, real: Judgement, fake: Judgement, labels: Tensor) -> Tensor:
        """What the critic minimises, `[b]`; `labels` are those of both."""
        raise NotImplementedError

    def generator(self, real: Judgement | None, fake: Judgement, labels: Tensor) -> Tensor:
        """What the generator minimises, `[b]`; `real` is given to paired losses only."""
        raise NotImplementedError

    def confidence(self, real: Judgement, fake: Judgement) -> Tensor:
        """The sign of the critic's verdict on real images, `[b]`: on average 0 when it guesses, 1 when it knows them.

        ADA's overfitting heuristic r_t (Karras et al. 2020, equation 1). A score without a zero is compared with a
        fake's instead.
        """
        return (real.scores - (fake.scores if self.boundary is None else self.boundary)).sign()


class Minimax(Loss):
    """Goodfellow et al. 2014, equation 1: the generator's log(1 - D(G(z))) fades when the critic wins."""

    has_targets = True
    boundary = 0.0

    def critic(self, real: Judgement, fake: Judgement, labels: Tensor) -> Tensor:  # noqa: ARG002
        """Cross-entropy of real against fake, with the real target one-sidedly smoothed (Salimans et al. 2016)."""
        target = torch.full_like(real.scores, 1.0 - self.settings.label_smoothing)
        wrong_about_real = F.binary_cross_entropy_with_logits(real.scores, target, reduction="none")
        return wrong_about_real + F.softplus(fake.scores)

    def generator(self, real: Judgement | None, fake: Judgement, labels: Tensor) -> Tensor:  # noqa: ARG002
        """log(1 - D(G(z)))."""
        return -F.softplus(fake.scores)


class NonSaturating(Minimax):
    """Goodfellow et al. 2014, section 3: the generator minimises -log D(G(z)) instead."""

    def generator(self, real: Judgement | None, fake: Judgement, labels: Tensor) -> Tensor:  # noqa: ARG002
        """-log D(G(z))."""
        return F.softplus(-fake.scores)


class LeastSquares(Loss):
    """LSGAN (Mao et al. 2017, equation 9): real to 1, fake to 0, and the generator's fakes to 1."""

    has_targets = True
    bounded_critic = True
    boundary = 0.5
    # CycleGAN's generators minimise (D(G(x)) - 1)^2; only its critics have the half (Zhu et al. 2017, section 4).
    cyclic_scale = 2.0

    def critic(self, real: Judgement, fake: Judgement, labels: Tensor) -> Tensor:  # noqa: ARG002
        """Half the squared distances to the targets."""
        target = 1.0 - self.settings.label_smoothing
        return 0.5 * ((real.scores - target).square() + fake.scores.square())

    def generator(self, real: Judgement | None, fake: Judgement, labels: Tensor) -> Tensor:  # noqa: ARG002
        """Half the squared distance to the target of real images."""
        return 0.5 * (fake.scores - (1.0 - self.settings.label_smoothing)).square()


class Hinge(Loss):
    """Lim & Ye 2017, Miyato et al. 2018 (equations 16 and 17)."""

    boundary = 0.0

    def critic(self, real: Judgement, fake: Judgement, labels: Tensor) -> Tensor:  # noqa: ARG002
        """Distance to the margins."""
        return F.relu(1.0 - real.scores) + F.relu(1.0 + fake.scores)

    def generator(self, real: Judgement | None, fake: Judgement, labels: Tensor) -> Tensor:  # noqa: ARG002
        """The negated score."""
        return -fake.scores


class MultiClassHinge(Hinge):
    """cGANs with multi-hinge loss (Kavalerov et al. 2021): a projection critic with an auxiliary hinge classifier.

    The class hinge is Crammer and Singer's: the wanted class beats every other by a margin of one.
    """

    needs_classes = True

    @classmethod
    def check(cls, config: TrialConfig, spec: ImageSpec | None) -> None:
        """Needs the projection critic."""
        super().check(config, spec)
        if config.conditioning != "projection":
            raise ConfigError(
                f"loss.kind = 'multi_class_hinge' with conditioning = {config.conditioning!r}",
                fix="it is defined on the projection critic: set conditioning = 'projection'",
            )

    def critic(self, real: Judgement, fake: Judgement, labels: Tensor) -> Tensor:
        """Hinge, and class hinge on the real images."""
        return super().critic(real, fake, labels) + self.settings.auxiliary * _class_hinge(real, labels)

    def generator(self, real: Judgement | None, fake: Judgement, labels: Tensor) -> Tensor:
        """Hinge, and class hinge on the fakes."""
        return super().generator(real, fake, labels) + self.settings.auxiliary * _class_hinge(fake, labels)


class Wasserstein(Loss):
    """Arjovsky et al. 2017, equation 3; its Lipschitz constraint comes from a penalty, clipping or spectral norm.

    Departure: with clipping the networks are trained by Adam as everywhere here, where the paper uses RMSProp.
    """

    unbounded = True

    def critic(self, real: Judgement, fake: Judgement, labels: Tensor) -> Tensor:  # noqa: ARG002
        """The negated estimate of the distance."""
        return fake.scores - real.scores

    def generator(self, real: Judgement | None, fake: Judgement, labels: Tensor) -> Tensor:  # noqa: ARG002
        """The negated score."""
        return -fake.scores


class Relativistic(Loss):
    """Relativistic pairing (Jolicoeur-Martineau 2019; R3GAN, Huang et al. 2024, equation 2)."""

    paired = True

    def critic(self, real: Judgement, fake: Judgement, labels: Tensor) -> Tensor:  # noqa: ARG002
        """Each real image should score above its partner."""
        return F.softplus(fake.scores - real.scores)

    def generator(self, real: Judgement | None, fake: Judgement, labels: Tensor) -> Tensor:  # noqa: ARG002
        """Each fake should score above its partner."""
        assert real is not None
        return F.softplus(real.scores - fake.scores)


def _class_hinge(judged: Judgement, labels: Tensor) -> Tensor:
    assert judged.classes is not None
    wanted = judged.classes.gather(1, labels[:, None])
    others = judged.classes.scatter(1, labels[:, None], -torch.inf).amax(dim=1)
    return F.relu(1.0 - wanted.squeeze(1) + others)


def feature_matching(real: Judgement, fake: Judgement) -> Tensor:
    """Squared distance of the mean features of real and fake images, averaged over layers (Salimans et al. 2016).

    The means are over the global batch, not over this worker's share.
    """
    distances = [
        (_global_mean(theirs) - _global_mean(ours)).square().mean()
        for ours, theirs in zip(real.features, fake.features, strict=True)
    ]
    return torch.stack(distances).mean()


def _global_mean(features: Tensor) -> Tensor:
    return mean_over_workers(full_precision(features).mean(dim=0))
