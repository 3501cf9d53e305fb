"""Image distances against closed forms."""

from __future__ import annotations

import torch
from skimage.metrics import structural_similarity

from trainables.layers.critic_output import CriticOutput
from trainables.objectives.image_losses import (
    brightness_cross_entropy,
    gradient_difference,
    perceptual_distance,
    structural_distance,
)


def noise(seed: int) -> torch.Tensor:
    return torch.rand(3, 1, 24, 24, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 2 - 1


def test_gradient_difference_of_ramps():
    """A ramp of slope s has that gradient everywhere; the sign of a gradient does not count."""
    ramp = torch.arange(8.0).expand(2, 1, 8, 8)
    torch.testing.assert_close(gradient_difference(0.3 * ramp, 0.1 * ramp), torch.tensor(0.2**2))
    assert gradient_difference(0.3 * ramp, -0.3 * ramp) == 0
    assert gradient_difference(ramp, ramp + 5) == 0


def test_structural_distance_is_one_minus_ssim():
    x, y = noise(0), (noise(0) + 0.3 * noise(1)).clamp(-1, 1)
    settings = {"data_range": 1.0, "gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    # skimage's mean leaves out the border that the window does not fit into, as ours does.
    values = [
        structural_similarity(*((z[0].numpy() + 1) / 2 for z in (a, b)), **settings) for a, b in zip(x, y, strict=True)
    ]
    torch.testing.assert_close(1 - structural_distance(x, y), torch.tensor(values).mean())
    assert structural_distance(x, x).abs() < 1e-12


def test_structural_distance_is_exact_under_bfloat16():
    """Flat images with little structure, as scans are: squares cancel there."""
    flat = 0.6 + 0.02 * noise(0).float()
    gradients = []
    for enabled in (False, True):
        images = (flat + 0.01 * noise(1).float()).requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            distance = structural_distance(images, flat)
        gradients.append(torch.autograd.grad(distance, images)[0])
    assert torch.equal(*gradients)


def test_brightness_is_the_softmax_of_both_signs():
    logits = noise(2) * 3
    for temperature in (1.0, 4.0):
        bright = torch.stack([logits, -logits]).div(temperature).softmax(0)[0]
        wanted = (noise(3) + 1) / 2
        expected = -(wanted * bright.log() + (1 - wanted) * (1 - bright).log()).mean()
        torch.testing.assert_close(brightness_cross_entropy(logits, wanted, temperature), expected)
    image = logits.tanh().requires_grad_(False)
    logits.requires_grad_()
    (gradient,) = torch.autograd.grad(brightness_cross_entropy(logits, (image + 1) / 2), logits)
    assert gradient.abs().max() < 1e-12


def test_perceptual_distance_averages_layers_and_spares_the_target():
    ours = [torch.ones(2, 3, requires_grad=True), torch.zeros(2, 5, requires_grad=True)]
    theirs = [torch.zeros(2, 3, requires_grad=True), torch.full((2, 5), 3.0, requires_grad=True)]
    scores = torch.zeros(2)
    distance = perceptual_distance(CriticOutput(scores, None, ours), CriticOutput(scores, None, theirs))
    assert distance == 2.0
    gradients = torch.autograd.grad(distance, [*ours, *theirs], allow_unused=True)
    assert [gradient is None for gradient in gradients] == [False, False, True, True]
