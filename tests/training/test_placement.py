"""Training images as they are stored, on a GPU or on the host: the numbers are those of `Cohort.load`."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import psutil
import pytest
import torch

from gansweep.cohort.dataset import Cohort, CohortInfo
from gansweep.cohort.stored import HostImages, ResidentImages
from gansweep.config import DataView, TrialConfig
from gansweep.contracts import ImageSpec, Phase
from gansweep.distributed import World
from gansweep.errors import CohortError, ConfigError
from gansweep.testing.pretended_gpu.device import CPU, GPU, PretendedGpu
from gansweep.training.batches import Batches
from gansweep.training.build import build_gan
from gansweep.training.loop import train
from gansweep.training.placement import placed, training_images, within_reach
from gansweep.training.reporters import MemoryReporter
from trainables import TRAINABLES

if TYPE_CHECKING:
    from pathlib import Path

    from gansweep.contracts import ImageSet

SIZE = 16
COUNT = 512  # images of the file; every other one is for training, and together they have every value of 16 bits
PARTS = ("images", "masks", "paired")


@pytest.fixture
def cohort(tmp_path: Path) -> Cohort:
    """With masks and pairs. Written here, for it has every value that 16 bits can hold."""
    values = np.arange(COUNT * SIZE**2, dtype=np.int64).reshape(COUNT // 2, 2, 1, SIZE, SIZE) % 65536
    images = np.random.default_rng(0).permutation(values.reshape(COUNT, 1, SIZE, SIZE).astype(np.uint16))
    np.save(tmp_path / "images.npy", images)
    np.save(tmp_path / "masks.npy", (images > 40_000).astype(np.uint8))
    np.save(tmp_path / "pairs.npy", images[:, :, ::-1])
    info: Any = CohortInfo.model_construct(
        classes=("ill", "well"), positive_class="ill", size=SIZE, channels=1, scale=65535,
        files={"images.npy": "", "masks.npy": "", "pairs.npy": ""},
    )  # fmt: skip
    places = np.arange(COUNT)
    manifest = pd.DataFrame(
        {
            "split": np.where(places % 2, "val", "train"),
            "label": np.where(places % 3, "well", "ill"),
            "patient": [f"p{place}" for place in places],
        }
    )
    return Cohort(tmp_path, info, manifest)


def assert_equal(found: ImageSet, expected: ImageSet, rows: Any, found_rows: Any) -> None:
    for name in PARTS:
        part = getattr(found, name)[found_rows].cpu()
        assert part.dtype == torch.float32
        assert torch.equal(part, getattr(expected, name)[rows]), name
    assert torch.equal(found.labels.cpu(), expected.labels)
    assert found.patients == expected.patients
    assert len(found) == len(expected)


@pytest.mark.parametrize("rows", [slice(None), slice(3, 7), torch.tensor([5, 0, 5]), torch.arange(256) % 5 == 0])
def test_stored_images_have_the_numbers_of_loaded_ones(cohort: Cohort, rows: Any) -> None:
    expected = cohort.load("train")
    stored = cohort.load_stored("train")
    assert isinstance(stored.images, HostImages)
    assert_equal(stored, expected, rows, rows)
    with PretendedGpu():
        on_gpu = rows.to(GPU) if isinstance(rows, torch.Tensor) else rows
        for images_on in ("device", "host"):
            found, where = placed(stored, GPU, images_on)
            assert where == images_on
            assert found.images[on_gpu].device.type == "cuda"
            assert_equal(found, expected, rows, on_gpu)


def test_a_view_that_changes_pixels_is_loaded(cohort: Cohort) -> None:
    view = DataView(size=8)
    assert torch.equal(cohort.load_stored("train", view).images, cohort.load("train", view).images)


def test_on_a_gpu_they_take_the_bytes_of_the_file(cohort: Cohort) -> None:
    assert isinstance(training_images(cohort, DataView(), CPU).images, torch.Tensor)
    with PretendedGpu():
        found, _ = placed(training_images(cohort, DataView(), GPU), GPU, "auto")
    assert isinstance(found.images, ResidentImages)
    assert found.images._values.element_size() == 2
    assert found.masks._values.element_size() == 1


def trained(data: ImageSet, device: torch.device, images_on: str, family: str = "dcgan") -> MemoryReporter:
    architecture = dict(TRAINABLES.gans[family].smallest)
    config = TrialConfig(family=family, architecture=architecture, batch_size=8, n_critic=2, iterations=4)
    config = config.derive({"images_on": images_on, "penalty.interval": 2, "conditioning": "none"})
    spec = ImageSpec(SIZE, 1, ("ill", "well"), 1, 1, 0)
    reporter = MemoryReporter()
    gan = build_gan(config, spec, TRAINABLES)
    train(config, gan, data, reporter, lambda _sampler, _iteration: {}, reports=2, device=device)
    return reporter


@pytest.mark.parametrize("family", ["dcgan", "joint", pytest.param("srgan", marks=pytest.mark.slow)])
def test_a_training_ends_alike_wherever_the_images_are(cohort: Cohort, family: str) -> None:
    expected = trained(cohort.load("train"), CPU, "auto", family)
    assert [report.images_on for report in expected.reports] == ["host", "host"]
    assert [report.peak_memory_gib for report in expected.reports] == [None, None]
    for images_on in ("device", "host"):
        with PretendedGpu():
            found = trained(cohort.load_stored("train"), GPU, images_on, family)
        assert [report.images_on for report in found.reports] == [images_on] * 2
        assert [report.peak_memory_gib for report in found.reports] == [1.5, 1.5]  # the pretended GPU's
        assert found.state is not None
        assert expected.state is not None
        for network, tensors in expected.state["networks"].items():
            for name, tensor in tensors.items():
                assert torch.equal(found.state["networks"][network][name], tensor), f"{images_on}: {network}.{name}"


def test_batches_from_the_host_are_gathered_before_they_are_asked_for(
    cohort: Cohort, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = Batches(cohort.load("train"), 8, 0, World(), CPU)
    phases = [Phase("critic", ("critic",), "critic", repeats=2), Phase("lazy", ("critic",), "critic", interval=3)]
    with PretendedGpu() as gpu:
        data, _ = placed(cohort.load_stored("train"), GPU, "host")
        batches = Batches(data, 8, 0, World(), GPU)
        gathered = batches._prefetcher._gathered
        calls = []
        monkeypatch.setattr(batches._prefetcher, "_gathered", lambda rows: (calls.append(rows), gathered(rows))[1])
        draws = 0
        waited = 0
        for iteration in range(40):  # more than two epochs of the critic's
            for phase in phases:
                for turn in range(phase.repeats):
                    if (iteration * phase.repeats + turn) % phase.interval:
                        continue
                    before = gpu.waits.total()
                    found = batches.draw(phase, iteration, turn)
                    draws += 1
                    waited += gpu.waits.total() > before
                    wanted = expected.draw(phase, iteration, turn)
                    assert torch.equal(found.images.cpu(), wanted.images)
                    assert torch.equal(found.labels.cpu(), wanted.labels)
                    assert torch.equal(found.masks.cpu(), wanted.masks)
    for _, future in batches._prefetcher._expected.values():
        future.result()  # the thread may not have begun the last ones
    assert len(calls) == draws + len(phases), "only the first batch of a phase is gathered when it is asked for"
    assert waited <= 5, "the host waits for the order of an epoch, and for nothing else"


def test_what_has_no_room_on_the_gpu_stays_on_the_host(cohort: Cohort, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gansweep.training.placement.has_room", lambda needed, _device: needed < 1000)
    with PretendedGpu():
        assert placed(cohort.load_stored("train"), GPU, "auto")[1] == "host"
        few = replace(cohort.load_stored("train"), masks=None, paired=None, images=torch.zeros(2, 1, 4, 4))
        assert placed(few, GPU, "auto")[1] == "device"

        def full(*_: object) -> None:
            raise torch.OutOfMemoryError("CUDA out of memory")

        monkeypatch.setattr(HostImages, "resident", full)
        assert placed(few, GPU, "auto")[1] == "host"
        with pytest.raises(ConfigError, match=r"images_on = 'device', but the training images take 0.0 GiB and cuda:0"):
            placed(few, GPU, "device")


def test_images_to_sample_from_stay_on_the_host_too(cohort: Cohort, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of a `load` are float32, and an export or a verdict draws its samples from them."""
    data = cohort.load("train")
    rows = torch.tensor([3, 1])
    with PretendedGpu() as gpu:
        there = within_reach(data, GPU)
        assert isinstance(there.images, torch.Tensor)
        assert within_reach(there, GPU).images is there.images
        monkeypatch.setattr("gansweep.training.placement.has_room", lambda *_: False)
        sent = gpu.largest_copy
        host = within_reach(data, GPU)
        assert isinstance(host.images, HostImages)
        assert host.images[rows].device == there.images[rows].device == GPU
        assert torch.equal(host.images[rows].cpu(), data.images[rows])
        assert gpu.largest_copy == sent
    assert within_reach(data, CPU).images is data.images


def test_images_cannot_be_on_a_gpu_that_is_not_there(cohort: Cohort) -> None:
    with pytest.raises(ConfigError, match="images_on = 'device', but the training runs on the CPU; set images_on=auto"):
        placed(cohort.load("train"), CPU, "device")


def test_a_cohort_that_fits_no_memory_is_one_line(cohort: Cohort, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=100_000))
    with pytest.raises(CohortError) as told:
        cohort.load("train")
    assert "256 train images take 0.0 GiB in memory, and 0.0 GiB are free" in str(told.value)
    assert "\n" not in str(told.value)
