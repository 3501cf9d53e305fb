"""Regularisers of the critic: the gradient penalty with its variants, R1, R2 and LeCam.

All are means of per-image terms, except for LeCam's anchors, which are statistics over all workers. To add a penalty,
write a subclass of `Penalty` and add a line in `trainables/__init__.py`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from torch import Tensor, nn

from gansweep.distributed import mean_over_workers, successors
from gansweep.errors import ConfigError
from trainables.layers.double_backward import without_weight_gradients

if TYPE_CHECKING:
    from collections.abc import Callable

    from gansweep.config import PenaltySettings, TrialConfig
    from gansweep.contracts import ImageSpec, StepRandom
    from trainables.layers.critic_output import CriticOutput

__all__ = ["R1", "R2", "GradientPenalty", "LeCam", "NoPenalty", "Penalty", "PenaltyContext", "R1AndR2"]


@dataclass(frozen=True)
class PenaltyContext:
    """The inputs of a penalty.

    Args:
        critic: maps images `[b, C, H, W]` to the critic's output with the batch's labels.
        real: `[b, C, H, W]` real images as the critic sees them.
        fake: `[b, C, H, W]` fakes as the critic sees them, detached from the generator.
        draws: the step's random numbers.
        progress: fraction of the budget that is used, 0 to 1: a number on the device, 0-dimensional float64.
        judged_real: the critic's output for `real` if the loss has computed it.
        judged_fake: the critic's output for `fake` if the loss has computed it.
    """

    critic: Callable[[Tensor], CriticOutput]
    real: Tensor
    fake: Tensor
    draws: StepRandom
    progress: Tensor
    judged_real: CriticOutput | None = None
    judged_fake: CriticOutput | None = None

    def scores(self, which: Literal["real", "fake"]) -> Tensor:
        """Returns scores `[b]` of the real or the fake images; reuses the forward pass of the loss if there was one."""
        if which == "real":
            judged = self.judged_real
            images = self.real
        else:
            judged = self.judged_fake
            images = self.fake
        if judged is None:
            judged = self.critic(images)
        return judged.scores


class Penalty(nn.Module):
    """A penalty with its weight lambda, which is fixed or adaptive.

    Args:
        settings: kind, weight and variants.
    """

    active: ClassVar[bool] = True
    per_image_gradient: ClassVar[bool] = True
    """Whether it needs the gradient of each image's own score; batch normalisation in the critic rules it out."""
    inputs: ClassVar[tuple[Literal["real", "fake"], ...]] = ()
    """The inputs of the loss at which it takes the gradient; the forward pass of the loss is then reused."""
    lipschitz: ClassVar[bool] = False
    """Whether it makes the critic Lipschitz, as the Wasserstein loss needs (at layer 0 and with a positive weight)."""
    layered: ClassVar[bool] = False
    """Whether it can use the gradient with respect to the output of one of the critic's blocks."""

    multiplier: Tensor

    def __init__(self, settings: PenaltySettings) -> None:
        super().__init__()
        self.settings = settings
        self.register_buffer("multiplier", torch.ones(()))

    @classmethod
    def check(cls, config: TrialConfig, spec: ImageSpec | None) -> None:  # noqa: ARG003
        """Rejects settings that have no effect on this penalty, and weight clipping together with a gradient penalty.

        Raises:
            ConfigError: the adaptation, the layer or clipping does not fit.
        """
        settings = config.penalty
        if settings.adaptive == "norm" and not cls.per_image_gradient:
            raise ConfigError(
                f"penalty.adaptive = 'norm': the {settings.kind!r} penalty has no gradient norm to adapt to",
                fix="use 'none' or 'progress'",
            )
        if settings.layer and not cls.layered:
            raise ConfigError(
                f"penalty.layer = {settings.layer}: the {settings.kind!r} penalty is not taken at a layer",
                fix="set it to 0, or use penalty.kind = 'gradient_penalty'",
            )
        if config.loss.clip is not None and cls.per_image_gradient:
            raise ConfigError(
                f"loss.clip = {config.loss.clip} beside penalty.kind = {settings.kind!r}: both bound the same slope",
                fix="keep one of them",
            )

    def require_gradients(self, real: Tensor, fake: Tensor) -> None:
        """Makes autograd record the images that are in `inputs`. Call it before the critic sees them.

        Args:
            real: `[b, C, H, W]` real images; a leaf of the graph.
            fake: `[b, C, H, W]` fakes; a leaf of the graph.
        """
        if "real" in self.inputs:
            real.requires_grad_()
        if "fake" in self.inputs:
            fake.requires_grad_()

    def penalties(self, context: PenaltyContext) -> tuple[Tensor, Tensor | None]:
        """Returns penalties per image before the factor lambda, `[b]`, and the gradient norms, `[b]` or None."""
        raise NotImplementedError

    def forward(self, context: PenaltyContext) -> tuple[Tensor, dict[str, Tensor]]:
        """Returns lambda times the mean penalty, and the scalars to log."""
        penalties, norms = self.penalties(context)
        weight = self.settings.lambda_ * self._factor(norms, context.progress)
        if isinstance(weight, Tensor):
            weight = weight.to(penalties.dtype)
        log = {"penalty": penalties.mean().detach()}
        if norms is not None:
            log["gradient_norm"] = norms.mean().detach()
        if self.settings.adaptive == "norm":
            log["lambda"] = self.settings.lambda_ * self.multiplier
        return weight * penalties.mean(), log

    def _factor(self, norms: Tensor | None, progress: Tensor) -> Tensor | float:
        """Returns the current factor of lambda.

        progress: falls from 1 to 1/10 along a cosine, as R3GAN anneals its gamma. norm: rises by up to 1 % per step
        while gradient norms are above the target, and falls while they are below, within 1/10 and 10.
        """
        if self.settings.adaptive == "progress":
            return 0.1 + 0.45 * (1.0 + (math.pi * progress.clamp(max=1.0)).cos())
        if self.settings.adaptive == "norm" and norms is not None:
            with torch.no_grad():
                excess = mean_over_workers(norms.mean()) - self.settings.target
                step = (0.01 * excess / max(self.settings.target, 1.0)).clamp(-0.01, 0.01)
                self.multiplier.mul_(step.exp()).clamp_(0.1, 10.0)
            # A copy, because later calls change the buffer in place.
            return self.multiplier.clone()
        return 1.0


class NoPenalty(Penalty):
    """No penalty."""

    active = False
    per_image_gradient = False

    def penalties(self, context: PenaltyContext) -> tuple[Tensor, Tensor | None]:
        """Returns zeros."""
        return context.real.new_zeros(len(context.real)), None


class GradientPenalty(Penalty):
    """WGAN-GP (Gulrajani et al. 2017, equation 3): the squared difference of each gradient norm from the target.

    The gradient is exact and differentiated again (double backward). It is taken at points chosen by `interpolation`:

    - uniform: between a real image and a fake, as in the paper;
    - convex: a random convex combination (Dirichlet) of two real images and two fakes;
    - real_real: between two real images;
    - local: around real images (DRAGAN, Kodali et al. 2017).

    It is the gradient with respect to the image (layer 0) or to the output of the critic's k-th block (layer k). With
    `one_sided`, only norms above the target count (WGAN-LP, Petzka et al. 2018).
    """

    lipschitz = True
    layered = True

    def penalties(self, context: PenaltyContext) -> tuple[Tensor, Tensor | None]:
        """(norm - target)² and the norms, `[b]` each."""
        points = self._points(context).detach().requires_grad_()
        judged = context.critic(points)
        layer = self.settings.layer
        at = points if layer == 0 else judged.features[layer - 1]
        (gradients,) = _gradients(judged.scores, [at])
        norms = _norms(gradients, self.settings.norm)
        excess = norms - self.settings.target
        if self.settings.one_sided:
            excess = excess.relu()
        return excess.square(), norms

    def _points(self, context: PenaltyContext) -> Tensor:
        """Returns the images `[b, C, H, W]` at which the gradient is taken."""
        real = context.real
        fake = context.fake
        draws = context.draws
        match self.settings.interpolation:
            case "uniform":
                return torch.lerp(fake, real, draws.uniform(1, 1, 1))
            case "real_real":
                return torch.lerp(successors(real), real, draws.uniform(1, 1, 1))
            case "convex":
                # Exponential variables divided by their sum are uniformly distributed on the simplex.
                weights = -torch.log1p(-draws.uniform(4, 1, 1, 1))
                weights = weights / weights.sum(dim=1, keepdim=True)
                corners = torch.stack([real, successors(real), fake, successors(fake)], dim=1)
                return (weights * corners).sum(dim=1)
            case "local":
                # DRAGAN: uniform noise of half the standard deviation of the real images, scaled per image.
                mean = mean_over_workers(real.mean())
                mean_square = mean_over_workers(real.square().mean())
                spread = (mean_square - mean.square()).clamp(min=0.0).sqrt()
                scale = draws.uniform(1, 1, 1) * 0.5 * spread
                return real + scale * draws.uniform(*real.shape[1:])


class R1(Penalty):
    """Half the squared gradient norm at real images (Mescheder et al. 2018, equation 9, where lambda is gamma)."""

    inputs: ClassVar[tuple[Literal["real", "fake"], ...]] = ("real",)
    lipschitz = True

    def penalties(self, context: PenaltyContext) -> tuple[Tensor, Tensor | None]:
        """Returns half the squared norm and the norm, `[b]` each."""
        images = []
        scores = []
        for which in self.inputs:
            images.append(context.real if which == "real" else context.fake)
            scores.append(context.scores(which))
        gradients = _gradients(torch.cat(scores), images)
        squares = [gradient.square().flatten(1).sum(dim=1) for gradient in gradients]
        total = torch.stack(squares).sum(dim=0)
        # The norm is only logged. It is detached, because a square root has no finite gradient at zero.
        norm = (total.detach() / len(squares)).sqrt()
        return 0.5 * total, norm


class R2(R1):
    """Half the squared gradient norm at fakes (Mescheder et al. 2018)."""

    inputs = ("fake",)


class R1AndR2(R1):
    """The sum of R1 and R2 (R3GAN, Huang et al. 2024, section 2.2)."""

    inputs = ("real", "fake")


class LeCam(Penalty):
    """LeCam regularisation for small data sets (Tseng et al. 2021, equation 5).

    It is the squared distance of real scores from the moving average of fake scores, and the other way round.
    """

    per_image_gradient = False

    anchors: Tensor
    started: Tensor

    def __init__(self, settings: PenaltySettings) -> None:
        super().__init__(settings)
        self.register_buffer("anchors", torch.zeros(2))  # mean scores of real and of fake images
        self.register_buffer("started", torch.zeros(()))

    def penalties(self, context: PenaltyContext) -> tuple[Tensor, Tensor | None]:
        """Returns squared distances from the anchors of the other kind, `[b]`; no gradient norms."""
        real = context.scores("real")
        fake = context.scores("fake")
        with torch.no_grad():
            seen = mean_over_workers(torch.stack([real.mean(), fake.mean()])).to(self.anchors.dtype)
            # The first step starts the averages; afterwards their decay is 0.99, as in the paper.
            self.anchors.copy_(torch.where(self.started > 0, self.anchors.lerp(seen, 0.01), seen))
            self.started.fill_(1.0)
            anchors = self.anchors.clone()
        return (real - anchors[1]).square() + (fake - anchors[0]).square(), None


def _gradients(scores: Tensor, at: list[Tensor]) -> tuple[Tensor, ...]:
    """Returns differentiable gradients of each image's score.

    They are computed from the sum, because no score depends on another image.
    """
    with without_weight_gradients():
        return torch.autograd.grad(scores.sum(), at, create_graph=True)


def _norms(gradients: Tensor, kind: Literal["l1", "l2", "linf"]) -> Tensor:
    """Returns the norm per image, `[b]`.

    torch's norms have gradient 0 at zero, where the square root of a sum would give NaN.
    """
    order = {"l1": 1.0, "l2": 2.0, "linf": math.inf}[kind]
    norms: Tensor = torch.linalg.vector_norm(gradients.flatten(1), ord=order, dim=1)
    return norms
