"""Penalties against closed forms, in float64: critics whose gradients are known."""

from __future__ import annotations

import math

import pytest
import torch

from gansweep.config import PenaltySettings
from gansweep.distributed import World
from gansweep.training.random import SeededStepRandom
from trainables.layers.critic_output import CriticOutput
from trainables.objectives.penalties import R1, R2, GradientPenalty, LeCam, PenaltyContext, R1AndR2

B, SHAPE = 6, (2, 4, 4)


@pytest.fixture(autouse=True)
def _float64():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def view(critic, progress=0.0, real=None, fake=None):
    generator = torch.Generator().manual_seed(3)
    real = torch.randn(B, *SHAPE, generator=generator) if real is None else real
    fake = torch.randn(B, *SHAPE, generator=generator) if fake is None else fake
    draws = SeededStepRandom((0, "test"), B, World(), torch.device("cpu"))
    return PenaltyContext(critic, real.requires_grad_(), fake.requires_grad_(), draws, torch.as_tensor(progress))


def linear(weight):
    return lambda images: CriticOutput((images * weight).flatten(1).sum(1))


def quadratic(images):
    """Gradient: the image itself."""
    return CriticOutput(0.5 * images.square().flatten(1).sum(1))


WEIGHT = torch.randn(SHAPE, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.mark.parametrize("interpolation", ["uniform", "convex", "real_real", "local"])
@pytest.mark.parametrize(("norm", "order"), [("l1", 1), ("l2", 2), ("linf", math.inf)])
def test_linear_critic_has_its_weights_norm_everywhere(interpolation, norm, order):
    settings = PenaltySettings(interpolation=interpolation, norm=norm, target=0.7)
    penalties, norms = GradientPenalty(settings).penalties(view(linear(WEIGHT)))
    expected = torch.linalg.vector_norm(WEIGHT.flatten(), ord=order)
    torch.testing.assert_close(norms, expected.expand(B), rtol=1e-12, atol=0)
    torch.testing.assert_close(penalties, (expected - 0.7).square().expand(B), rtol=1e-12, atol=0)


def test_gradient_with_respect_to_the_critic_is_exact():
    # d/dw of lambda (|w| - 1)^2 is 2 lambda (|w| - 1) w / |w|.
    weight = WEIGHT.clone().requires_grad_()
    loss, _ = GradientPenalty(PenaltySettings(lambda_=10.0))(view(linear(weight)))
    (gradient,) = torch.autograd.grad(loss, weight)
    length = WEIGHT.norm()
    torch.testing.assert_close(gradient, 20.0 * (length - 1.0) * WEIGHT / length, rtol=1e-10, atol=0)


def test_penalties_are_per_image():
    # A quadratic critic's gradient at an image is the image: R1 is half its squared norm, another for each image.
    seen = view(quadratic)
    for kind, expected in (
        (R1, 0.5 * seen.real.square().flatten(1).sum(1)),
        (R2, 0.5 * seen.fake.square().flatten(1).sum(1)),
        (R1AndR2, 0.5 * (seen.real.square() + seen.fake.square()).flatten(1).sum(1)),
    ):
        penalties, _ = kind(PenaltySettings(kind="r1"))(seen), None
        penalties, norms = kind(PenaltySettings(kind="r1")).penalties(seen)
        torch.testing.assert_close(penalties, expected, rtol=1e-12, atol=0)
        assert norms.shape == (B,)
        assert penalties.unique().numel() == B


def test_r1_shares_the_forward_of_the_loss():
    seen = view(None)
    judged = PenaltyContext(
        None, seen.real, seen.fake, seen.draws, torch.zeros(()), quadratic(seen.real), quadratic(seen.fake)
    )
    penalties, _ = R1AndR2(PenaltySettings(kind="r1_r2")).penalties(judged)
    torch.testing.assert_close(penalties, 0.5 * (seen.real.square() + seen.fake.square()).flatten(1).sum(1))


@pytest.mark.parametrize("interpolation", ["uniform", "convex", "real_real", "local"])
def test_points_lie_where_they_should(interpolation):
    real = torch.arange(B, dtype=torch.float64)[:, None, None, None].expand(B, *SHAPE).clone()
    fake = real + 100.0
    points = []

    def critic(images):
        points.append(images.detach())
        return quadratic(images)

    GradientPenalty(PenaltySettings(interpolation=interpolation)).penalties(view(critic, real=real, fake=fake))
    (at,) = points
    first = at[:, 0, 0, 0]
    match interpolation:
        case "uniform":
            share = (first - real[:, 0, 0, 0]) / 100.0
            assert ((share > 0) & (share < 1)).all()
            assert share.unique().numel() == B
        case "real_real":
            following = real.roll(-1, 0)[:, 0, 0, 0]
            low, high = torch.minimum(real[:, 0, 0, 0], following), torch.maximum(real[:, 0, 0, 0], following)
            assert ((first >= low) & (first <= high)).all()
            assert (first != real[:, 0, 0, 0]).all()
        case "convex":
            assert ((first > 0) & (first < 100 + B - 1)).all()
            assert torch.equal(at, first[:, None, None, None].expand_as(at))
        case "local":
            spread = real.std(unbiased=False)
            away = at - real
            assert ((away >= 0) & (away <= 0.5 * spread)).all()
            assert away.unique().numel() > B


def test_one_sided_forgives_small_norms():
    small = WEIGHT * 0.5 / WEIGHT.norm()
    one_sided, both = (GradientPenalty(PenaltySettings(one_sided=flag)) for flag in (True, False))
    assert one_sided.penalties(view(linear(small)))[0].eq(0).all()
    torch.testing.assert_close(both.penalties(view(linear(small)))[0], torch.full((B,), 0.25))
    large = small * 4
    assert torch.equal(one_sided.penalties(view(linear(large)))[0], both.penalties(view(linear(large)))[0])


@pytest.mark.parametrize("norm", ["l1", "l2", "linf"])
@pytest.mark.parametrize("kind", [GradientPenalty, R1])
def test_zero_gradient_is_not_nan(norm, kind):
    weight = torch.zeros(SHAPE, requires_grad=True)
    loss, log = kind(PenaltySettings(norm=norm))(view(linear(weight)))
    (gradient,) = torch.autograd.grad(loss, weight)
    assert gradient.isfinite().all()
    assert all(value.isfinite() for value in log.values())


def test_layer_takes_the_gradient_at_a_blocks_output():
    # score = sum(3 * (2 x)): with respect to the block's output 2x the gradient is 3 everywhere.
    def critic(images):
        hidden = 2.0 * images
        return CriticOutput((3.0 * hidden).flatten(1).sum(1), features=[hidden])

    _, norms = GradientPenalty(PenaltySettings(layer=1)).penalties(view(critic))
    torch.testing.assert_close(norms, torch.full((B,), 3.0 * math.sqrt(math.prod(SHAPE))))


def test_progress_lowers_lambda_to_a_tenth():
    penalty = GradientPenalty(PenaltySettings(lambda_=10.0, adaptive="progress"))
    start, half, end = (penalty(view(linear(WEIGHT), progress))[0] for progress in (0.0, 0.5, 1.0))
    expected = 10.0 * (WEIGHT.norm() - 1).square()
    torch.testing.assert_close(torch.stack([start, half, end]), expected * torch.tensor([1.0, 0.55, 0.1]))


@pytest.mark.parametrize(("length", "direction"), [(3.0, 1), (0.2, -1)])
def test_norms_move_lambda(length, direction):
    weight = WEIGHT * length / WEIGHT.norm()
    penalty = GradientPenalty(PenaltySettings(adaptive="norm"))
    lambdas = [penalty(view(linear(weight)))[1]["lambda"].item() for _ in range(400)]
    assert direction * (lambdas[1] - lambdas[0]) > 0
    assert lambdas[-1] == pytest.approx(100.0 if direction > 0 else 1.0)


def test_lecam_draws_to_the_others_average():
    penalty = LeCam(PenaltySettings(kind="lecam"))
    mean = lambda images: CriticOutput(images.flatten(1).mean(1))  # noqa: E731
    real, fake = torch.full((B, *SHAPE), 2.0), torch.full((B, *SHAPE), -1.0)
    penalties, _ = penalty.penalties(view(mean, real=real, fake=fake))
    torch.testing.assert_close(penalties, torch.full((B,), 18.0))  # (2 - -1)^2 twice
    penalty.penalties(view(mean, real=real + 1.0, fake=fake))
    torch.testing.assert_close(penalty.anchors, torch.tensor([2.01, -1.0]))
