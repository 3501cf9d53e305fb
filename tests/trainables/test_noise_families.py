"""What the other noise-to-image families compute: LAPGAN's pyramid, VAE-GAN's bound, R3GAN's start, SNGAN's norm."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from gansweep.config import TrialConfig
from gansweep.contracts import Condition, ImageSpec, Phase
from gansweep.distributed import World
from gansweep.errors import ConfigError
from gansweep.testing.images import shapes
from gansweep.training.batches import Batches
from gansweep.training.build import build_gan, check_config
from trainables import GANS, TRAINABLES
from trainables.gans.lapgan import at_level, enlarged, pyramid
from trainables.gans.r3gan import ResidualBlock
from trainables.gans.vaegan import divergence
from trainables.layers.double_backward import leaky_relu
from trainables.layers.equalised import SLOPE

CPU = torch.device("cpu")
DATA, SPEC = shapes(count=16, size=32)
FAMILIES = ("fcgan", "dcgan", "sngan", "lapgan", "progan", "stylegan2", "vaegan", "r3gan")


def built(family, spec=SPEC, **changes):
    config = TrialConfig(family=family, architecture=dict(GANS[family].smallest), batch_size=4).derive(changes)
    return build_gan(config, spec, TRAINABLES)


def draw(name):
    return Batches(DATA, 4, 0, World(), CPU).draw(Phase(name, ("generator",), "generator"), 0, 0)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("size", "channels"), [(64, 1), (128, 3), (256, 1)])
def test_sizes_and_channels(family, size, channels):
    spec = ImageSpec(size, channels, ("control", "case"))
    gan = built(family, spec)
    images = gan.sample(2, Condition(torch.tensor([0, 1])), torch.Generator().manual_seed(0))
    assert images.shape == (2, channels, size, size)
    assert images.abs().max() <= 1.0


@pytest.mark.parametrize("family", sorted(set(FAMILIES) - {"fcgan"}))
def test_a_size_that_cannot_be_halved_is_refused(family):
    spec = ImageSpec(50, 1, ("control", "case"))
    with pytest.raises(ConfigError, match="50 pixels cannot be halved"):
        check_config(TrialConfig(family=family), spec, TRAINABLES)


def test_fully_connected_layers_have_nothing_to_attend_to():
    with pytest.raises(ConfigError, match="no feature maps"):
        check_config(TrialConfig(family="fcgan", attention="self_attention"), None, TRAINABLES)


def test_lapgan_levels_are_the_images_pyramid():
    images = DATA.images[:4]
    levels = pyramid(images, 3)
    assert [level.shape[-1] for level in levels] == [8, 16, 32]
    assert torch.equal(levels[-1], images)
    torch.testing.assert_close(levels[0], F.avg_pool2d(images, 4))
    ramp = torch.linspace(-1, 1, 16).expand(1, 1, 16, 16)
    torch.testing.assert_close(pyramid(enlarged(ramp), 2)[0], ramp, atol=0.02, rtol=0)


@pytest.mark.parametrize(
    ("size", "levels"),
    [(8, [8]), (32, [8, 16, 32]), (48, [12, 24, 48]), (96, [12, 24, 48, 96]), (80, [10, 20, 40, 80])],
)
def test_lapgan_halves_as_far_as_the_size_allows(size, levels):
    gan = built("lapgan", ImageSpec(size, 1, ("control", "case")))
    assert [level.spec.size for level in gan.levels] == levels
    images = gan.sample(2, Condition(torch.tensor([0, 1])), torch.Generator().manual_seed(0))
    assert images.shape == (2, 1, size, size)


def test_lapgan_adds_detail_to_the_level_below():
    gan = built("lapgan")
    finest = gan.levels[-1]
    for parameter in finest.networks["generator"].last.parameters():
        parameter.data.zero_()
    below = enlarged(pyramid(DATA.images[:4], 2)[0])
    condition = Condition(DATA.labels[:4])
    assert torch.equal(finest.sample_on(below, 4, condition, torch.Generator().manual_seed(0)), below)


def test_lapgan_levels_share_no_gradient():
    """Each level learns from real images below it, so its loss reaches its own weights only."""
    gan = built("lapgan", **{"penalty.kind": "r1"})
    loss, _ = gan.levels[0].loss("generator", draw_level(gan, 0), 0)
    other = list(gan.levels[1].networks["generator"].parameters())
    assert torch.autograd.grad(loss, other, allow_unused=True) == (None,) * len(other)


def draw_level(gan, index):
    batch = draw("generator")
    images = pyramid(batch.images, len(gan.levels))
    return at_level(batch, images[index], enlarged(images[index - 1]) if index else None)


def test_divergence_of_gaussians():
    torch.manual_seed(0)
    mean, log_variance = torch.randn(4, 3), torch.randn(4, 3)
    code = torch.distributions.Normal(mean, (0.5 * log_variance).exp())
    wanted = torch.distributions.kl_divergence(code, torch.distributions.Normal(0.0, 1.0)).sum(dim=1)
    torch.testing.assert_close(divergence(mean, log_variance), wanted)


def test_the_encoder_is_taught_by_likeness_and_prior_alone():
    gan = built("vaegan", **{"architecture.prior": 0.0})
    loss, log = gan.loss("encoder", draw("encoder"), 0)
    torch.testing.assert_close(loss.detach(), log["unlikeness"])
    again = built("vaegan", **{"architecture.prior": 2.0})
    heavier, log = again.loss("encoder", draw("encoder"), 0)
    features = 8 * 8 * 8  # the second block's output: twice the width of 4, at a quarter of 32 pixels
    torch.testing.assert_close(heavier.detach(), log["unlikeness"] + 2.0 * log["divergence"] / features)


def test_residual_blocks_begin_as_the_identity_and_keep_the_variance():
    x = torch.randn(2, 16, 8, 8)
    assert torch.equal(ResidualBlock(16, 32, 8, depth=4)(x), x)
    # With one block in all nothing has to be made up for: each layer keeps the mean square.
    block, y = ResidualBlock(64, 128, 16, depth=1), torch.randn(8, 64, 16, 16)
    inner = leaky_relu(block.first(y), SLOPE).detach()
    assert 0.9 < float(inner.square().mean()) < 1.1
    inner = leaky_relu(block.grouped(inner), SLOPE)[..., 1:-1, 1:-1].detach()
    assert 0.8 < float(inner.square().mean()) < 1.2
    gan = built("r3gan", **{"architecture.width": 32, "architecture.latent": 64})
    images = gan.networks["generator"](torch.randn(64, 64), torch.zeros(64, 2), None)
    assert 0.1 < float(images.detach().std()) < 3.0


def test_sngan_critic_is_lipschitz():
    """Every layer's largest singular value is one, once the power iteration has settled."""
    gan = built("sngan", **{"loss.kind": "hinge", "penalty.kind": "none"})
    critic = gan.networks["critic"]
    for _ in range(50):
        critic(torch.randn(2, 3, 32, 32), torch.zeros(2, dtype=torch.int64))
    values = [
        torch.linalg.matrix_norm(layer.weight.flatten(1), 2)
        for layer in critic.modules()
        if isinstance(layer, torch.nn.Conv2d | torch.nn.Linear)
    ]
    torch.testing.assert_close(torch.stack(values), torch.ones(len(values)), atol=0.02, rtol=0)


def test_medgan_critic_has_both_norms_and_refuses_a_penalty():
    paper = {"architecture.critic_norm": "spectral_batch", "loss.kind": "minimax", "penalty.kind": "none"}
    kinds = {type(module).__name__ for module in built("sngan", **paper).networks["critic"].modules()}
    assert {"SynchronisedBatchNorm", "_SpectralNorm"} <= kinds
    with pytest.raises(ConfigError, match="mixes images"):
        built("sngan", **paper | {"penalty.kind": "r1"})


UNTOLD = TrialConfig(conditioning="none")


@pytest.mark.parametrize("family", [*FAMILIES, "joint", "diffusion"])
def test_samples_from_noise_have_the_class_that_the_generator_is_told(family):
    config = UNTOLD.derive({"family": family})
    assert TRAINABLES.classes_labelled(config, SPEC) == ()
    assert TRAINABLES.classes_made(config, SPEC) == (0, 1)
    assert TRAINABLES.classes_labelled(config.derive({"conditioning": "concat"}), SPEC) == (0, 1)
    assert TRAINABLES.classes_labelled(config, ImageSpec(32, 1, ("fahr",))) == (0,)


@pytest.mark.parametrize("family", sorted(set(GANS) - {*FAMILIES, "joint", "diffusion"}))
def test_elsewhere_the_class_is_that_of_the_source_or_the_mask(family):
    found = TRAINABLES.classes_labelled(UNTOLD.derive({"family": family}), SPEC)
    assert found == ((1,) if family == "lesion_painter" else (0, 1))
