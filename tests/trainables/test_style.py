"""StyleGAN2: modulation, mixing, path lengths, resampling, and the minibatch deviation over workers."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from gansweep.config import TrialConfig
from gansweep.contracts import Phase
from gansweep.distributed import World
from gansweep.testing.images import shapes
from gansweep.training.batches import Batches
from gansweep.training.build import build_gan
from trainables import TRAINABLES
from trainables.gans.stylegan2 import path_lengths
from trainables.layers.equalised import EqualConv2d, EqualLinear, MinibatchDeviation, activated
from trainables.layers.stylegan2_networks import ModulatedConv, halved

DATA, SPEC = shapes(count=16, size=16)


def stylegan2(**architecture):
    config = TrialConfig(family="stylegan2", architecture={"width": 4, "latent": 8, **architecture}, batch_size=8)
    return build_gan(config, SPEC, TRAINABLES)


def batch():
    return Batches(DATA, 8, 0, World(), torch.device("cpu")).draw(Phase("generator", ("generator",), "generator"), 0, 0)


def test_modulated_convolution_is_a_convolution_with_weights_of_each_images_own():
    """Equations 1 to 3 of the paper, by a grouped convolution."""
    torch.manual_seed(0)
    conv = ModulatedConv(6, 5, 3, latent=8).double()
    x, style = torch.randn(4, 6, 7, 7, dtype=torch.float64), torch.randn(4, 8, dtype=torch.float64)
    weights = conv.weight[None] * conv.scale * conv.style(style)[:, None, :, None, None]
    weights = weights * torch.rsqrt(weights.square().sum(dim=(2, 3, 4), keepdim=True) + 1e-8)
    grouped = F.conv2d(x.reshape(1, 24, 7, 7), weights.reshape(20, 6, 3, 3), padding=1, groups=4).view(4, 5, 7, 7)
    torch.testing.assert_close(conv(x, style), grouped)


def test_path_lengths_of_a_linear_generator():
    """Images J w have the gradient J^T y / sqrt(pixels), whatever w."""
    torch.manual_seed(0)
    jacobian = torch.randn(2 * 4 * 4, 3, dtype=torch.float64)
    styles = torch.randn(5, 1, 3, dtype=torch.float64, requires_grad=True)
    noise = torch.randn(5, 2, 4, 4, dtype=torch.float64)
    images = (styles.squeeze(1) @ jacobian.T).view(5, 2, 4, 4)
    wanted = (noise.flatten(1) @ jacobian / 4.0).norm(dim=1)
    torch.testing.assert_close(path_lengths(images, styles, noise), wanted)


def test_styles_are_mixed_from_a_layer_on():
    gan = stylegan2(mixing=1.0)
    styles = gan._mixed_styles(batch(), DATA.labels[:8])
    changes = (styles[:, 1:] != styles[:, :-1]).any(dim=2).sum(dim=1)
    assert (changes == 1).all()
    assert len({int((row[1:] != row[:-1]).any(dim=1).nonzero()) for row in styles}) > 1  # not all at one layer
    alone = stylegan2(mixing=0.0)._mixed_styles(batch(), DATA.labels[:8])
    assert torch.equal(alone, alone[:, :1].expand_as(alone))


def test_noise_reaches_the_image_once_it_has_strength():
    gan = stylegan2()
    styles = gan._mixed_styles(batch(), DATA.labels[:8])
    assert torch.equal(painted(gan, styles, 0.0), painted(gan, styles, 1.0))
    for name, parameter in gan.networks["generator"].named_parameters():
        if name.endswith("strength"):
            parameter.data.fill_(0.5)
    difference = painted(gan, styles, 0.0) - painted(gan, styles, 1.0)
    assert difference.abs().amax(dim=(1, 2, 3)).min() > 1e-3


def painted(gan, styles, noise):
    return gan._images_from_styles(styles, None, lambda size: torch.full((8, 1, size, size), noise))


def test_path_length_phase_is_lazy_and_optional():
    names = [phase.name for phase in stylegan2().phases]
    assert "path_length" not in names
    (phase,) = (phase for phase in stylegan2(path_length=2.0, path_interval=4).phases if phase.name == "path_length")
    assert phase.interval == 4
    assert phase.updates == ("generator",)


def test_halving_is_the_binomial_filter():
    impulse = torch.zeros(1, 1, 8, 8)
    impulse[0, 0, 4, 4] = 1.0
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8.0
    wanted = F.conv2d(impulse, torch.outer(taps, taps)[None, None], stride=2, padding=1)
    torch.testing.assert_close(halved(impulse), wanted)


@torch.no_grad()
def test_equalised_layers_keep_the_mean_square():
    torch.manual_seed(0)
    x = torch.randn(64, 128, 8, 8)
    assert 0.8 < float(EqualConv2d(128, 128, 3)(x)[..., 1:-1, 1:-1].square().mean()) < 1.2
    assert 0.8 < float(EqualLinear(128, 256, speed=0.01)(x[:, :, 0, 0]).square().mean()) < 1.2
    assert 0.95 < float(activated(x).square().mean()) < 1.05


def test_minibatch_deviation_sees_a_collapse():
    layer = MinibatchDeviation()
    same = torch.randn(1, 3, 4, 4).expand(6, -1, -1, -1)
    assert float(layer(same)[:, -1].max()) < 1e-3
    varied = torch.randn(6, 3, 4, 4)
    assert torch.allclose(layer(varied)[:, -1], varied.std(dim=0, correction=0).mean())
