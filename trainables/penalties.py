"""Regularisers of the critic: the gradient penalty in every variation, R1, R2, LeCam.

All are means of per-image terms (LeCam's anchors excepted, which are statistics over all workers). Add one: a subclass
of `Penalty` and a line in `trainables/__init__.py`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from torch import Tensor, nn

from gansweep.errors import ConfigError
from gansweep.training.world import mean_over_workers, successors
from trainables.double_backward import without_weight_gradients

if TYPE_CHECKING:
    from collections.abc import Callable

    from gansweep.contracts import Draws, ImageSpec
    from gansweep.experiment import PenaltySettings, TrialConfig
    from trainables.losses import Judgement

__all__ = ["R1", "R2", "GradientPenalty", "LeCam", "NoPenalty", "Penalty", "R1AndR2", "View"]


@dataclass(frozen=True)
class View:
    """What a penalty may look at.

    Args:
        critic: judges `[b, C, H, W]` images under the batch's labels.
        real: `[b, C, H, W]` real images as the critic sees them.
        fake: `[b, C, H, W]` fakes, outside the generator's graph.
        draws: the step's random numbers.
        progress: the fraction of the budget used, 0 to 1.
        judged_real: the critic's judgement of `real`, where it was computed already.
        judged_fake: likewise of `fake`.
    """

    critic: Callable[[Tensor], Judgement]
    real: Tensor
    fake: Tensor
    draws: Draws
    progress: float
    judged_real: Judgement | None = None
    judged_fake: Judgement | None = None

    def scores(self, which: Literal["real", "fake"]) -> Tensor:
        """Scores of the real or the fake images, from the loss's own forward where there was one."""
        judged, images = (self.judged_real, self.real) if which == "real" else (self.judged_fake, self.fake)
        return (self.critic(images) if judged is None else judged).scores


class Penalty(nn.Module):
    """A penalty with its weight lambda, fixed or adaptive.

    Args:
        settings: kind, weight and variations.
    """

    active: ClassVar[bool] = True
    per_image_gradient: ClassVar[bool] = True
    """Whether it differentiates each image's own score, which a critic with batch norm does not have."""
    inputs: ClassVar[tuple[Literal["real", "fake"], ...]] = ()
    """Which images it differentiates at, if it is the images themselves: then the loss's forward serves for both."""
    lipschitz: ClassVar[bool] = False
    """Whether it bounds the critic's slope, as the Wasserstein loss needs; at the image, that is, and with a weight."""
    layered: ClassVar[bool] = False
    """Whether it can be taken at the output of one of the critic's blocks."""

    multiplier: Tensor

    def __init__(self, settings: PenaltySettings) -> None:
        super().__init__()
        self.settings = settings
        self.register_buffer("multiplier", torch.ones(()))

    @classmethod
    def check(cls, config: TrialConfig, spec: ImageSpec | None) -> None:  # noqa: ARG003
        """Refuses settings the penalty has no use for, and clipping beside a penalty."""
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

    def penalties(self, view: View) -> tuple[Tensor, Tensor | None]:
        """Per-image penalties before lambda, `[b]`, and the gradient norms they come from, `[b]`."""
        raise NotImplementedError

    def forward(self, view: View) -> tuple[Tensor, dict[str, Tensor]]:
        """Lambda times the mean penalty, and what to log."""
        penalties, norms = self.penalties(view)
        weight = self.settings.lambda_ * self._factor(norms, view.progress)
        log = {"penalty": penalties.mean().detach()}
        if norms is not None:
            log["gradient_norm"] = norms.mean().detach()
        if self.settings.adaptive == "norm":
            log["lambda"] = self.settings.lambda_ * self.multiplier
        return weight * penalties.mean(), log

    def _factor(self, norms: Tensor | None, progress: float) -> Tensor | float:
        """How much of lambda counts now.

        progress: falls from 1 to 1/10 by a cosine (as R3GAN anneals its gamma). norm: rises by up to 1 % per step while
        gradient norms are above the target and falls while they are below, between 1/10 and 10.
        """
        if self.settings.adaptive == "progress":
            return 0.1 + 0.45 * (1.0 + math.cos(math.pi * min(progress, 1.0)))
        if self.settings.adaptive == "norm" and norms is not None:
            with torch.no_grad():
                excess = mean_over_workers(norms.mean()) - self.settings.target
                step = (0.01 * excess / max(self.settings.target, 1.0)).clamp(-0.01, 0.01)
                self.multiplier.mul_(step.exp()).clamp_(0.1, 10.0)
            return self.multiplier.clone()
        return 1.0


class NoPenalty(Penalty):
    """Nothing."""

    active = False
    per_image_gradient = False

    def penalties(self, view: View) -> tuple[Tensor, Tensor | None]:
        """Zeros."""
        return view.real.new_zeros(len(view.real)), None


class GradientPenalty(Penalty):
    """WGAN-GP (Gulrajani et al. 2017, equation 3): the gradient's norm, per image, is drawn to the target.

    The gradient is exact and differentiated again (double backward). Where it is taken:

    - uniform: on the line between a real image and a fake one, the paper's choice;
    - convex: at a random convex combination (Dirichlet) of two real images and two fakes;
    - real_real: on the line between two real images;
    - local: around real images (DRAGAN, Kodali et al. 2017);

    and with respect to the image (layer 0) or to the output of the critic's k-th block (layer k). One-sided: only norms
    above the target count (Petzka et al. 2018, WGAN-LP).
    """

    lipschitz = True
    layered = True

    def penalties(self, view: View) -> tuple[Tensor, Tensor | None]:
        """(norm - target) squared, `[b]`."""
        points = self._points(view).detach().requires_grad_()
        judged = view.critic(points)
        at = points if self.settings.layer == 0 else judged.features[self.settings.layer - 1]
        norms = _norms(_gradients(judged.scores, [at])[0], self.settings.norm)
        excess = norms - self.settings.target
        return (excess.relu() if self.settings.one_sided else excess).square(), norms

    def _points(self, view: View) -> Tensor:
        real, fake, draws = view.real, view.fake, view.draws
        match self.settings.interpolation:
            case "uniform":
                return torch.lerp(fake, real, draws.uniform(1, 1, 1))
            case "real_real":
                return torch.lerp(successors(real), real, draws.uniform(1, 1, 1))
            case "convex":
                # Exponential variables divided by their sum are uniform on the simplex.
                weights = -torch.log1p(-draws.uniform(4, 1, 1, 1))
                weights = weights / weights.sum(dim=1, keepdim=True)
                corners = torch.stack([real, successors(real), fake, successors(fake)], dim=1)
                return (weights * corners).sum(dim=1)
            case "local":
                mean = mean_over_workers(real.mean())
                spread = (mean_over_workers(real.square().mean()) - mean.square()).clamp(min=0.0).sqrt()
                return real + draws.uniform(1, 1, 1) * 0.5 * spread * draws.uniform(*real.shape[1:])


class R1(Penalty):
    """Half the squared gradient norm at real images (Mescheder et al. 2018, equation 9); lambda is their gamma."""

    inputs: ClassVar[tuple[Literal["real", "fake"], ...]] = ("real",)
    lipschitz = True

    def penalties(self, view: View) -> tuple[Tensor, Tensor | None]:
        """Half the squared norm, `[b]`."""
        images = [view.real if which == "real" else view.fake for which in self.inputs]
        scores = torch.cat([view.scores(which) for which in self.inputs])
        squares = [gradient.square().flatten(1).sum(dim=1) for gradient in _gradients(scores, images)]
        total = torch.stack(squares).sum(dim=0)
        # The norm is only looked at. Its root has no gradient at zero, so none is asked for.
        return 0.5 * total, (total.detach() / len(squares)).sqrt()


class R2(R1):
    """The same at fakes."""

    inputs = ("fake",)


class R1AndR2(R1):
    """Both (R3GAN, Huang et al. 2024, section 2.2)."""

    inputs = ("real", "fake")


class LeCam(Penalty):
    """Scores are drawn to the moving average of the other kind's (Tseng et al. 2021, equation 5), for scarce data."""

    per_image_gradient = False

    anchors: Tensor
    started: Tensor

    def __init__(self, settings: PenaltySettings) -> None:
        super().__init__(settings)
        self.register_buffer("anchors", torch.zeros(2))  # mean scores of real and of fake images
        self.register_buffer("started", torch.zeros(()))

    def penalties(self, view: View) -> tuple[Tensor, Tensor | None]:
        """Squared distances to the other's anchor, `[b]`."""
        real, fake = view.scores("real"), view.scores("fake")
        with torch.no_grad():
            seen = mean_over_workers(torch.stack([real.mean(), fake.mean()])).to(self.anchors.dtype)
            self.anchors.copy_(torch.where(self.started > 0, self.anchors.lerp(seen, 0.01), seen))
            self.started.fill_(1.0)
            anchors = self.anchors.clone()
        return (real - anchors[1]).square() + (fake - anchors[0]).square(), None


def _gradients(scores: Tensor, at: list[Tensor]) -> tuple[Tensor, ...]:
    """Gradients of each image's own score, which can be differentiated again; images do not see each other."""
    with without_weight_gradients():
        return torch.autograd.grad(scores.sum(), at, create_graph=True)


def _norms(gradients: Tensor, kind: Literal["l1", "l2", "linf"]) -> Tensor:
    """Per image, `[b]`. torch's own norms have gradient 0, not NaN, at zero, which a square root of a sum has not."""
    order = {"l1": 1.0, "l2": 2.0, "linf": math.inf}[kind]
    norms: Tensor = torch.linalg.vector_norm(gradients.flatten(1), ord=order, dim=1)
    return norms
