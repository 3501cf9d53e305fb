"""Extractors: any TorchScript file, named by its content; and the cohort's own encoder."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import torch

from gansweep.errors import CohortError, ConfigError
from gansweep.scoring.metrics.frechet import frechet_distance
from gansweep.scoring.networks.encoder import degraded, extractor_of, train_encoder
from gansweep.scoring.networks.extractors import Extractor, InputFormat, load_extractor
from tests.scoring.discs import disc_set

if TYPE_CHECKING:
    from pathlib import Path

    from gansweep.contracts import ImageSet

CPU = torch.device("cpu")


class Channels(torch.nn.Module):
    """Features: mean and spread of each of three channels, and the input's width."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        width = torch.full((x.shape[0], 1), float(x.shape[3]))
        return torch.cat([x.mean((2, 3)), x.std((2, 3)), width], 1)


class PerPixel(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean()


class PerImage(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean((1, 2, 3))


class Greedy(torch.nn.Module):
    """Needs four petabytes."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.zeros([1000000000000000]) + x.mean()


class Refusing(torch.nn.Module):
    """Fails as CUDA does inside TorchScript: with a plain RuntimeError."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.shape[0] > 0:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return x


def saved(module: torch.nn.Module, path: Path, description: str | None = None) -> Path:
    extra = {} if description is None else {"gansweep.json": description}
    torch.jit.save(torch.jit.script(module), path, _extra_files=extra)
    return path


def test_a_file_gets_rgb_at_the_size_and_scale_it_asks_for(tmp_path: Path) -> None:
    description = '{"size": 20, "mean": [0.5, 0.4, 0.3], "std": [1, 2, 4]}'
    extractor = load_extractor(saved(Channels(), tmp_path / "net.pt", description), CPU)
    found = extractor.features(torch.full((5, 1, 32, 32), 0.6))  # 0.8 in [0, 1]
    assert found.dtype == torch.float64
    assert found[0].tolist() == pytest.approx([0.3, 0.2, 0.125, 0, 0, 0, 20], abs=1e-5)


def test_without_a_description_it_gets_rgb_in_minus_one_to_one_as_it_is(tmp_path: Path) -> None:
    extractor = load_extractor(saved(Channels(), tmp_path / "net.pt"), CPU)
    assert extractor.features(torch.full((2, 1, 32, 32), 0.6))[0].tolist() == pytest.approx(
        [0.6] * 3 + [0] * 3 + [32], abs=1e-5
    )


def test_a_name_changes_with_the_weights_only(tmp_path: Path) -> None:
    torch.manual_seed(0)
    names = []
    for i in range(2):
        (tmp_path / f"{i}").mkdir()
        net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 64, 4))
        names.append(load_extractor(saved(net, tmp_path / f"{i}" / "net.pt"), CPU).name)
    assert names[0] != names[1]
    assert all(name.startswith("net:") and len(name) == len("net:") + 12 for name in names)
    assert load_extractor(tmp_path / "0" / "net.pt", CPU).name == names[0]


def test_grey_and_colour_are_exchanged_as_asked() -> None:
    colour = torch.rand(2, 3, 8, 8) * 2 - 1
    assert InputFormat(channels=1).prepared(colour).shape == (2, 1, 8, 8)
    assert InputFormat(channels=None).prepared(colour).shape == (2, 3, 8, 8)
    assert InputFormat().prepared(colour[:, :1]).shape == (2, 3, 8, 8)


def test_what_cannot_be_used_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        load_extractor(tmp_path / "none.pt", CPU)
    torch.save({"weights": torch.zeros(3)}, tmp_path / "state.pt")
    (tmp_path / "text.pt").write_text("hello")
    for name in ("state.pt", "text.pt"):
        with pytest.raises(ConfigError, match="not a TorchScript file"):
            load_extractor(tmp_path / name, CPU)
    with pytest.raises(ConfigError, match=r"gives shape \(\) for 4 images; it must return one feature vector"):
        load_extractor(saved(PerPixel(), tmp_path / "mean.pt"), CPU).features(torch.zeros(4, 1, 8, 8))
    with pytest.raises(ConfigError, match=r"gives shape \(4,\) for 4 images; it must return one feature vector"):
        load_extractor(saved(PerImage(), tmp_path / "one.pt"), CPU).features(torch.zeros(4, 1, 8, 8))
    fixed = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 64, 4))
    with pytest.raises(ConfigError, match="fails on images 4x3x16x16"):
        load_extractor(saved(fixed, tmp_path / "fixed.pt"), CPU).features(torch.zeros(4, 1, 16, 16))


@pytest.mark.parametrize(
    ("description", "line"),
    [
        ('{"width": 3}', "unknown key 'width'; known keys: channels, mean, size, std"),
        ('{"size": "32x32"}', "size = '32x32': input should be a valid integer"),
        ('{"size": 0}', "size = 0: input should be greater than 0"),
        ('{"channels": 2}', "channels = 2: input should be 1 or 3"),
        ('{"mean": "imagenet"}', "mean = 'imagenet': input should be a valid tuple"),
        ('{"mean": [0.5, 0.5]}', "mean = [0.5, 0.5]: 2 values; needed is one, or three"),
        ('{"channels": 1, "std": [1, 2, 3]}', "std = [1, 2, 3]: 3 values; needed is one"),
        ('{"std": [0]}', "std.0 = 0: input should be greater than 0"),
        ("[299]", "[299] is no object"),
        ("size: 299", "not JSON: "),
    ],
)
def test_a_description_that_cannot_be_used_says_where_and_what(description: str, line: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as error:
        load_extractor(saved(Channels(), tmp_path / "net.pt", description), CPU)
    assert str(error.value).startswith(f"gansweep.json in feature extractor {tmp_path / 'net.pt'}: {line}")


@pytest.fixture(scope="module")
def real() -> ImageSet:
    return disc_set(80, 0)


def test_the_encoder_is_the_same_every_time_and_standardised(real: ImageSet) -> None:
    one, two = (extractor_of(train_encoder(real, 2, 8, CPU).state_dict(), CPU) for _ in range(2))
    assert one.name == two.name
    found = one.features(real.images)
    assert found.shape == (80, 112)
    assert found.mean(0).abs().max() < 1e-4
    assert found[:, :16].var(0).mean() == pytest.approx(1.0, rel=1e-3)
    state = torch.random.get_rng_state()
    train_encoder(real, 1, 2, CPU)
    assert torch.equal(torch.random.get_rng_state(), state)  # a trial's own random numbers are left alone


@pytest.mark.parametrize("classes", [1, 2])
def test_distances_grow_with_damage(real: ImageSet, classes: int) -> None:
    """Blur, noise, lost contrast and a lost mode, each in growing doses, for labelled and for single-class cohorts."""
    extractor = extractor_of(train_encoder(real, classes, 60, CPU).state_dict(), CPU)
    reference, fresh = extractor.features(real.images), disc_set(80, 1)

    def distance(images: torch.Tensor) -> float:
        return frechet_distance(reference, extractor.features(images))

    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(fresh.images.shape, generator=generator)

    def blurred(width: int) -> torch.Tensor:
        return torch.nn.functional.avg_pool2d(fresh.images, width, 1, width // 2, count_include_pad=False)

    ladders = {
        "blur": [fresh.images, blurred(5), blurred(9)],
        "noise": [fresh.images + dose * noise for dose in (0, 0.2, 0.4)],
        "contrast": [fresh.images * gain for gain in (1, 0.8, 0.5)],
        "lost mode": [fresh.images, fresh.images[fresh.labels == 0].repeat(2, 1, 1, 1)],
    }
    for name, steps in ladders.items():
        distances = [distance(images) for images in steps]
        assert distances == sorted(distances), name


def test_degradation_leaves_half_of_each_amount_at_zero() -> None:
    images, amounts = degraded(torch.rand(400, 1, 8, 8) * 2 - 1, torch.Generator().manual_seed(0))
    assert images.shape == (400, 1, 8, 8)
    assert torch.all((amounts == 0).double().mean(0).sub(0.5).abs() < 0.1)
    flat = torch.zeros(1, 1, 8, 8)
    clean = [seed for seed in range(40) if not degraded(flat, torch.Generator().manual_seed(seed))[1].any()]
    assert torch.equal(degraded(flat, torch.Generator().manual_seed(clean[0]))[0], flat)


@pytest.mark.parametrize("value", [-1.0, 0.3])
def test_equal_images_have_no_spread_to_measure_in(value: float) -> None:
    alike = disc_set(20, 0)
    alike = replace(alike, images=torch.full_like(alike.images, value))
    with pytest.raises(CohortError, match="all 20 real images look the same"):
        train_encoder(alike, 2, 5, CPU)


@pytest.mark.parametrize("module", [Greedy(), Refusing()], ids=["cpu", "cuda"])
def test_a_full_device_is_no_wrong_configuration(module: torch.nn.Module, tmp_path: Path) -> None:
    extractor = load_extractor(saved(module, tmp_path / "large.pt"), CPU)
    with pytest.raises(
        torch.OutOfMemoryError, match=r"^extractor large:\w{12}: out of memory on cpu with images 2x3x8x8;"
    ):
        extractor.features(torch.zeros(2, 1, 8, 8))


FAULTS = [
    "CUDA error: an illegal memory access was encountered\nCUDA kernel errors might be asynchronously reported",
    "cuDNN error: CUDNN_STATUS_EXECUTION_FAILED",
    "CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm`",
]


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_of_the_device_is_no_wrong_configuration(
    fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker's process is replaced for an unknown error, and a wrong configuration ends the trial."""

    def failing(*_: object, **__: object) -> None:
        raise RuntimeError(fault)

    with pytest.raises(RuntimeError, match=re.escape(fault.splitlines()[0])):
        Extractor("x", failing, None, CPU).features(torch.zeros(2, 1, 8, 8))  # type: ignore[arg-type]
    path = saved(PerImage(), tmp_path / "busy.pt")
    monkeypatch.setattr(torch.jit, "load", failing)
    with pytest.raises(RuntimeError, match=re.escape(fault.splitlines()[0])):
        load_extractor(path, CPU)
