"""The policy of precision: where TF32 and bfloat16 are used, whatever torch's default is."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

import pytest
import torch
from torch import nn

from gansweep.config import TrialConfig
from gansweep.devices import exact_float32
from gansweep.errors import ConfigError
from gansweep.scoring.networks.detection import Recipe, predict, train_detectors
from gansweep.scoring.networks.encoder import Encoder, train_encoder
from gansweep.scoring.networks.extractors import Extractor
from gansweep.scoring.networks.segmentation import predicted_masks, train_segmenters
from gansweep.testing.images import shapes
from gansweep.testing.pretended_gpu.device import CPU, GPU, PretendedGpu
from gansweep.training.build import build_gan
from gansweep.training.loop import train
from gansweep.training.reporters import MemoryReporter
from trainables import PENALTIES, TRAINABLES
from trainables.objectives.penalties import R1, GradientPenalty

DATA, SPEC = shapes(count=20, size=16)
CONFIG = TrialConfig(
    architecture={"latent": 4, "width": 4}, batch_size=6, n_critic=1, iterations=2, augmentation={"kind": "none"}
)
SEEN: dict[str, set[tuple[bool, bool, bool]]] = defaultdict(set)


def flags() -> tuple[bool, bool, bool]:
    """Whether convolutions and products may use TF32, and whether autocast is on."""
    backends = torch.backends
    return backends.cudnn.allow_tf32, backends.cuda.matmul.allow_tf32, torch.is_autocast_enabled("cuda")


class Seen(torch.autograd.Function):
    """The identity, which notes the arithmetic of its forward and of its backward pass."""

    @staticmethod
    def forward(ctx, x, place):
        ctx.place = place
        SEEN[f"{place} forward"].add(flags())
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        SEEN[f"{ctx.place} backward"].add(flags())
        return gradient, None


class SeenPenalty(GradientPenalty):
    def penalties(self, context):
        penalties, norms = super().penalties(context)
        return Seen.apply(penalties, "penalty"), norms


class SeenR1(R1):
    def penalties(self, context):
        penalties, norms = super().penalties(context)
        return Seen.apply(penalties, "penalty"), norms


TRAINABLES_SEEN = replace(TRAINABLES, penalties={**PENALTIES, "gradient_penalty": SeenPenalty, "r1": SeenR1})


@pytest.fixture(params=[True, False], ids=["tf32-by-default", "tf32-off-by-default"])
def default(request):
    """Torch's default for TF32, which must come out as it went in."""
    before = flags()
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = request.param
    SEEN.clear()
    yield request.param
    assert flags()[:2] == (request.param, request.param)
    torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before[:2]


@pytest.mark.parametrize(
    "penalty", [{}, {"kind": "r1"}, {"interval": 2}], ids=["folded", "on the loss's inputs", "lazy"]
)
@pytest.mark.parametrize(
    ("precision", "elsewhere", "backward"),
    [
        ("float32", (False, False, False), (False, False, False)),
        ("tf32", (True, True, False), (True, True, False)),
        ("bfloat16", (False, False, True), (False, False, False)),
    ],
)
def test_penalties_are_exact_and_the_rest_is_as_asked(default, precision, elsewhere, backward, penalty):
    del default
    exact = (False, False, False)
    config = CONFIG.derive({"precision": precision, "penalty": penalty})
    with PretendedGpu():
        gan = build_gan(config, SPEC, TRAINABLES_SEEN)
        generated = gan.networks["generator"].register_forward_hook(lambda _m, _i, out: Seen.apply(out, "generator"))
        judged = gan.networks["critic"].register_forward_hook(
            lambda _m, _i, out: replace(out, scores=Seen.apply(out.scores, "critic"))
        )

        def score(_sampler, _iteration):
            SEEN["score"].add(flags())
            return {}

        train(config, gan, DATA, MemoryReporter(), score, reports=1, device=GPU)
        generated.remove()
        judged.remove()
    assert SEEN["penalty forward"] == SEEN["penalty backward"] == SEEN["score"] == {exact}
    # Samples for the check of the report are exact as well.
    assert SEEN["generator forward"] == {elsewhere, exact}
    assert SEEN["generator backward"] == {backward}
    assert SEEN["critic forward"] == {elsewhere, exact}


def test_features_are_exact(default):
    del default

    def network(images):
        SEEN["features"].add(flags())
        return images.flatten(1)

    Extractor("network", network, None, CPU).features(torch.zeros(3, 1, 4, 4))
    assert SEEN["features"] == {(False, False, False)}


def test_encoders_are_exact_whoever_trains_them(default, monkeypatch):
    del default
    forward = Encoder.forward
    monkeypatch.setattr(Encoder, "forward", lambda self, images: Seen.apply(forward(self, images), "encoder"))
    train_encoder(DATA, 2, 2, CPU)
    assert SEEN["encoder forward"] == SEEN["encoder backward"] == {(False, False, False)}


class SeenDetector(nn.Module):
    """Scores of each class, or with one class a mask."""

    def __init__(self, classes):
        super().__init__()
        self.layer = nn.Conv2d(SPEC.channels, classes, 3, padding=1)
        self.classes = classes

    def forward(self, images):
        SEEN["cuDNN tries its algorithms"].add(torch.backends.cudnn.benchmark)
        found = Seen.apply(self.layer(images), "detector")
        return found if self.classes == 1 else found.mean((2, 3))


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("what", ["detectors", "segmenters"])
def test_detectors_and_segmenters_are_exact_whoever_trains_them(default, what, together):
    del default
    exact = {(False, False, False)}
    masks = what == "segmenters"
    train_networks = train_segmenters if masks else train_detectors
    recipe = Recipe(lambda: SeenDetector(1 if masks else 2), 2, 2, 8)
    # torch.func has no autograd functions without setup_context, so these are trained one by one after all.
    trained = train_networks(recipe, DATA, None, 0.0, [0, 1], CPU, together=together)
    assert SEEN["detector forward"] == SEEN["detector backward"] == exact
    assert SEEN["cuDNN tries its algorithms"] == {True}
    SEEN.clear()
    if masks:
        predicted_masks(trained[0], DATA, CPU)
    else:
        predict(trained, DATA.images, CPU)
    assert SEEN["detector forward"] == exact
    assert SEEN["cuDNN tries its algorithms"] == {False}


def test_the_newer_interface_of_torch_may_have_set_it():
    convolutions = torch.backends.cudnn.conv
    if not hasattr(convolutions, "fp32_precision"):
        pytest.skip("torch 2.8 has the older interface alone")
    before = flags()
    convolutions.fp32_precision = "tf32"
    torch.backends.cudnn.rnn.fp32_precision = "ieee"
    with exact_float32(CPU):
        assert convolutions.fp32_precision != "tf32"
    assert convolutions.fp32_precision == "tf32"
    torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before[:2]


def run(precision, device):
    config = CONFIG.derive({"precision": precision})
    gan = build_gan(config, SPEC, TRAINABLES)
    train(config, gan, DATA, MemoryReporter(), lambda *_: {}, reports=1, device=device)


def test_what_the_device_has_not_is_refused_in_one_line(monkeypatch):
    with pytest.raises(ConfigError) as refused:
        run("tf32", CPU)
    assert str(refused.value) == "precision = 'tf32', but the training runs on the CPU; set precision=float32"
    run("bfloat16", CPU)
    with PretendedGpu():
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *_: (7, 5))
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda *_: "Tesla T4")
        for precision in ("tf32", "bfloat16"):
            with pytest.raises(ConfigError) as refused:
                run(precision, GPU)
            assert str(refused.value) == (
                f"precision = '{precision}', but Tesla T4 has no {precision}: it needs compute capability 8.0 or "
                "newer; set precision=float32"
            )
        run("float32", GPU)


def test_cudnn_tries_its_algorithms_in_training_alone():
    seen = []
    with PretendedGpu():
        gan = build_gan(CONFIG, SPEC, TRAINABLES)
        gan.networks["critic"].register_forward_hook(lambda *_: seen.append(torch.backends.cudnn.benchmark))
        train(CONFIG, gan, DATA, MemoryReporter(), lambda *_: {}, reports=1, device=GPU)
    assert seen
    assert all(seen)
    assert not torch.backends.cudnn.benchmark
