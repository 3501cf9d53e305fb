"""The updates of detectors and segmenters on a pretended GPU: none waits for the host, and graphs compute the same."""

from __future__ import annotations

import copy
import logging
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import torch

from gansweep.errors import ConfigError
from gansweep.scoring.networks.augmentation import AUGMENTATIONS
from gansweep.scoring.networks.detection import Recipe, predict, train_detectors
from gansweep.scoring.networks.extractors import Extractor, load_extractor
from gansweep.scoring.networks.one_cycle import OneCycleAdamW
from gansweep.scoring.networks.segmentation import train_segmenters
from gansweep.testing.images import shapes
from gansweep.testing.pretended_gpu.device import CPU, GPU, PretendedGpu
from trainables import DETECTORS, SEGMENTERS
from trainables.downstream import heads
from trainables.downstream.detectors import SmallCnn

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable
    from pathlib import Path

    from torch import nn

    from gansweep.contracts import ImageSpec

REAL, SPEC = shapes(count=12, size=32)
SYNTHETIC, _ = shapes(count=8, size=32, seed=1)
STEPS = 4


class Features(torch.nn.Module):
    """A network of a feature file: some weights, and statistics."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Conv2d(3, 6, 3, stride=2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.layer(x)
        return torch.cat([x.mean((2, 3)), x.amax((2, 3))], 1)


@pytest.fixture
def features(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A feature file. torch.jit.load cannot put its weights on a pretended GPU, so there the network itself is used."""
    path = tmp_path / "features.pt"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = Features()
    torch.jit.save(torch.jit.script(network), path)

    def loaded(file: Path, device: torch.device) -> Extractor:
        extractor = load_extractor(file, CPU)
        return replace(extractor, module=copy.deepcopy(network).to(device), device=device)

    monkeypatch.setattr("trainables.downstream.heads.load_extractor", loaded)
    return str(path)


def trained(
    name: str, features: str, device: torch.device, seeds: tuple[int, ...] = (3, 5), **changes: Any
) -> list[nn.Module]:
    """Detectors or segmenters of this name."""
    heads._opened.cache_clear()  # what was on another pretended GPU is on none
    if name in SEGMENTERS:
        recipe = Recipe(partial(SEGMENTERS[name], SPEC), 2, STEPS, 6)
        return train_segmenters(replace(recipe, **changes), REAL, SYNTHETIC, 0.4, seeds, device)
    kind = DETECTORS[name]
    arguments = (SPEC, features) if getattr(kind, "on_features", False) else (SPEC,)
    recipe = Recipe(partial(kind, *arguments), 2, STEPS, 6)
    return train_detectors(replace(recipe, **changes), REAL, SYNTHETIC, 0.4, seeds, device)


def round_trips(train: Callable[[], object]) -> Counter[str]:
    """What the host waited for, and copied, on a pretended GPU."""
    with PretendedGpu() as gpu:
        train()
    return gpu.round_trips()


TRAINED = [name for name, kind in DETECTORS.items() if not hasattr(kind, "fit_batches")]
WAYS = [
    # Its 120 layers take long.
    pytest.param(name, seeds, marks=pytest.mark.slow) if name == "densenet" and len(seeds) > 1 else (name, seeds)
    for name in (*TRAINED, *SEGMENTERS)
    for seeds in ((3,), (3, 5))
]


def assert_same(found: list[nn.Module], expected: list[nn.Module]) -> None:
    """Asserts that networks have the same weights, bit for bit."""
    for one, other in zip(found, expected, strict=True):
        weights = other.state_dict()
        for name, value in one.state_dict().items():
            assert torch.equal(value, weights[name]), name


@pytest.mark.parametrize("execution", ["eager", "captured"])
@pytest.mark.parametrize(("name", "seeds"), WAYS)
def test_no_update_waits_for_the_host(name: str, seeds: tuple[int, ...], execution: str, features: str) -> None:
    short, long = (
        round_trips(partial(trained, name, features, GPU, seeds, steps=steps, execution=execution))
        for steps in (2, STEPS)
    )
    assert long == short, "an update waits for the host"


@pytest.mark.parametrize(("name", "seeds"), WAYS)
def test_captured_updates_end_where_eager_ones_do(name: str, seeds: tuple[int, ...], features: str) -> None:
    networks = {}
    launches = {}
    for execution in ("eager", "captured"):
        with PretendedGpu() as gpu:
            networks[execution] = trained(name, features, GPU, seeds, execution=execution)
        launches[execution] = gpu.kernels["graph launch"]
    assert_same(networks["captured"], networks["eager"])
    # Each graph is replayed twice to compare, and then for every update.
    together = name != "linear_head"
    assert launches == {"eager": 0, "captured": (2 + STEPS) * (1 if together else len(seeds))}


def optimised(make: Callable[[list[nn.Parameter]], Callable[[int], object]], device: torch.device) -> torch.Tensor:
    """Weights after some updates. One parameter gets no gradient."""
    generator = torch.Generator().manual_seed(0)
    weights = [torch.nn.Parameter(torch.randn(3, 4, generator=generator).to(device)) for _ in range(3)]
    update = make(weights)
    for step in range(12):
        pull = torch.randn(3, 4, generator=generator).to(device)
        for weight in weights[:2]:
            weight.grad = (weight.detach() - pull) ** 3
        update(step)
    return torch.stack([weight.detach().cpu() for weight in weights])


def torchs_own(weights: list[nn.Parameter]) -> Callable[[int], object]:
    optimiser = torch.optim.AdamW(weights, lr=3e-2, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=3e-2, total_steps=12)
    return lambda _step: (optimiser.step(), schedule.step())


def ours(weights: list[nn.Parameter]) -> Callable[[int], object]:
    optimiser = OneCycleAdamW(weights, 3e-2, 12)
    return lambda step: (optimiser.at(step), optimiser.step())


def test_the_optimiser_is_torchs() -> None:
    expected = optimised(torchs_own, CPU)
    assert torch.equal(optimised(ours, CPU), expected)
    with PretendedGpu():
        found = optimised(ours, GPU)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    assert torch.equal(found[2], expected[2]), "a weight without a gradient was changed"


def test_features_that_are_not_finite_are_told_of_on_a_gpu_too(features: str) -> None:
    broken = replace(REAL, images=torch.full_like(REAL.images, float("nan")))
    arguments = {"real": broken, "synthetic": None, "synthetic_fraction": 0.0, "seeds": (3,)}
    recipe = Recipe(partial(DETECTORS["linear_head"], SPEC, features), 2, STEPS, 6)
    heads._opened.cache_clear()
    with pytest.raises(ConfigError, match="gives values that are not finite"):
        train_detectors(recipe, **arguments, device=CPU)
    heads._opened.cache_clear()
    with PretendedGpu(), pytest.raises(ConfigError, match="gives values that are not finite"):
        predict(train_detectors(recipe, **arguments, device=GPU), REAL.images, GPU)


class Counts(SmallCnn):
    """A number that the host counts up."""

    calls = 0

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return super().forward(images) * (1.0 + self.calls)


class Looks(SmallCnn):
    """The host looks at the images."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return super().forward(images if float(images.detach().amax()) < 1e9 else -images)


class OnHost(SmallCnn):
    """A layer is left out at random, and the host draws when."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return super().forward(images) * (1.0 + float(torch.rand(())))


class Replaces(SmallCnn):
    """A buffer in whose place there is a new tensor after each update."""

    def __init__(self, spec: ImageSpec) -> None:
        super().__init__(spec)
        self.register_buffer("seen", torch.zeros(()))
        self.seen: torch.Tensor

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.seen = self.seen + 1
        return super().forward(images)


class Forgetful(SmallCnn):
    """Random numbers of the device."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return super().forward(torch.nn.functional.dropout(images, 0.3, self.training))


def own(kind: Callable[..., nn.Module], **changes: Any) -> list[nn.Module]:
    recipe = Recipe(partial(kind, SPEC), 2, STEPS, 6)
    return train_detectors(replace(recipe, **changes), REAL, SYNTHETIC, 0.4, (3, 5), GPU)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (Counts, "the graph's loss for iteration 0 is off by"),
        (Looks, "aten::_local_scalar_dense: CUDA error: operation not permitted when stream is capturing"),
        (Replaces, "buffer seen is replaced by a new tensor, not filled"),
        (OnHost, "the graph's loss for iteration 3 is off by"),
    ],
)
def test_what_a_graph_would_get_wrong_runs_eagerly_and_says_why_once(
    kind: Callable[..., nn.Module], reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    with PretendedGpu() as gpu, caplog.at_level(logging.INFO, "gansweep"):
        found = own(kind)
        launches = gpu.kernels["graph launch"]
        expected = own(kind, execution="eager")
        assert gpu.kernels["graph launch"] == launches <= 2
        with pytest.raises(ConfigError, match="execution = 'captured', but updates of a detector or segmenter: "):
            own(kind, execution="captured")
    (told,) = [text for text in caplog.messages if "CUDA graph" in text]
    assert told.startswith("not captured as a CUDA graph: updates of a detector or segmenter: ")
    assert reason in told
    if kind is not Counts:  # whose number of calls is another one, by the trial runs
        assert_same(found, expected)


def test_numbers_that_the_device_draws_are_captured() -> None:
    with PretendedGpu() as gpu:
        found = own(Forgetful, execution="captured")
        assert gpu.kernels["graph launch"] == 2 * (2 + STEPS)
        assert_same(found, own(Forgetful, execution="eager"))


def test_images_that_do_not_fit_are_captured_too(monkeypatch: pytest.MonkeyPatch) -> None:
    with PretendedGpu():
        expected = own(SmallCnn, execution="eager")
        monkeypatch.setattr("gansweep.scoring.networks.arm_batches.has_room", lambda *_: False)
        assert_same(own(SmallCnn, execution="captured"), expected)


@pytest.mark.parametrize("augmentation", [*AUGMENTATIONS, None])
def test_every_augmentation_is_captured(augmentation: str | None) -> None:
    with PretendedGpu():
        expected = own(SmallCnn, augmentation=augmentation, execution="eager")
        assert_same(own(SmallCnn, augmentation=augmentation, execution="captured"), expected)


def test_a_training_of_one_update_is_captured() -> None:
    with PretendedGpu():
        assert_same(own(SmallCnn, steps=1, execution="captured"), own(SmallCnn, steps=1, execution="eager"))


def test_captured_is_refused_on_a_cpu() -> None:
    recipe = Recipe(partial(SmallCnn, SPEC), 2, STEPS, 6, execution="captured")
    with pytest.raises(ConfigError, match="execution = 'captured': no CUDA device; set execution=auto"):
        train_detectors(recipe, REAL, None, 0.0, (3, 5), CPU)
