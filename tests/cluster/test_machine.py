"""What the doctor says of devices, drivers, precision, capture and room."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING

import psutil
import pytest
import torch

from gansweep.cluster import machine
from gansweep.devices import check_gpu, why_no_gpu
from gansweep.errors import ConfigError
from gansweep.testing.pretended_gpu.device import PretendedGpu

if TYPE_CHECKING:
    from pathlib import Path

OLD = "The NVIDIA driver on your system is too old (found version 11040). Please update your GPU driver"


@pytest.fixture
def old_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    """A torch for CUDA 13.0 that meets a driver of CUDA 11.4."""

    def refused() -> None:
        raise RuntimeError(OLD)

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "init", refused)


@pytest.mark.usefixtures("old_driver")
def test_a_driver_that_is_too_old_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = (
        f"the NVIDIA driver knows CUDA 11.4 at most, and torch {torch.__version__} needs CUDA 13.0: "
        "update the driver, or install torch for an older CUDA"
    )
    assert why_no_gpu() == expected
    with pytest.raises(ConfigError) as told:
        check_gpu(torch.device("cpu"), 1)
    assert str(told.value) == f"a GPU was given, but cannot be used: {expected}; look at: gansweep doctor"
    driver = tmp_path / "version"
    driver.write_text("NVRM version: NVIDIA UNIX x86_64 Kernel Module  470.57.02  Tue Jul 13\n")
    monkeypatch.setattr(machine, "_DRIVER", driver)
    verdict, detail = machine.devices()
    assert verdict == "problem"
    assert detail.startswith(expected)


def test_a_gpu_for_a_torch_without_cuda_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", None)
    reason = f"torch {torch.__version__} was built without CUDA"
    with pytest.raises(ConfigError, match="a GPU was given, but cannot be used") as told:
        check_gpu(torch.device("cpu"), 0.5)
    assert reason in str(told.value)
    check_gpu(torch.device("cpu"), 0)
    check_gpu(torch.device("cuda"), 1)
    assert machine.devices()[0] == "warning"


def test_a_gpu_is_described(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    card = SimpleNamespace(name="Card", total_memory=40 * 2**30, major=8, minor=0)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _number: card)
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: ["sm_75", "sm_80", "sm_90", "compute_90"])
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    driver = tmp_path / "version"
    driver.write_text("NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build\n")
    monkeypatch.setattr(machine, "_DRIVER", driver)
    assert machine.devices() == ("ok", "Card (40 GiB), Card (40 GiB); driver 580.65.06, CUDA 13.0")
    card.major = 7
    verdict, detail = machine.devices()
    assert verdict == "problem"
    assert detail.endswith("has no code for Card (7.0); install torch for an older CUDA")


def test_precision_and_capture_depend_on_the_card(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert machine.precisions() == ("ok", "float32, bfloat16 on CPU; float32 unless a trial sets precision")
    assert machine.capture(1) == ("ok", "eager: steps are captured on a GPU only")
    with PretendedGpu():
        assert machine.devices()[1].startswith("pretended GPU (80 GiB); driver ")
        assert machine.capture(1)[1].startswith("captured as CUDA graphs")
        assert machine.capture(2) == ("ok", "eager: 2 workers: collectives are not captured")
        assert machine.precisions()[1].startswith("float32, tf32, bfloat16 on pretended GPU")
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *_: (7, 5))
        assert machine.precisions()[1].startswith("float32 on pretended GPU")


def test_room_for_a_cohort_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = SimpleNamespace(nbytes=2**30, shape=(4096, 1, 256, 256))
    stored = type("Stored", (), {"images": parts, "masks": None, "paired": None, "__len__": lambda _self: 4096})()
    cohort = SimpleNamespace(load_stored=lambda _split: stored, info=SimpleNamespace(size=256))
    monkeypatch.setattr("gansweep.cohort.dataset.Cohort.open", lambda _path: cohort)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    sizes = "4096 training images of 256 pixels: 1.00 GiB stored, 1.00 GiB float32"
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=2**31))
    assert machine.room("there") == ("ok", f"{sizes}; in host memory, 2.00 GiB free")
    with PretendedGpu():
        assert machine.room("there")[1].endswith("trained from the GPU, which has room (images_on=device)")
        monkeypatch.setattr("gansweep.devices.has_room", lambda *_: False)
        assert machine.room("there")[0] == "warning"
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=2**29))
    verdict, detail = machine.room("there")
    assert verdict == "problem"
    assert detail == f"{sizes}; host memory has 0.50 GiB free: use a machine with more, or a smaller --size"
