"""Production training and generation on a pretended GPU give the CPU's weights and images."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from gansweep.config import DataView, ScoringSettings, TrialConfig
from gansweep.export import production
from gansweep.export.generate import generate
from gansweep.export.loading import LoadedGenerator
from gansweep.export.memorisation import _drawn as drawn_from
from gansweep.export.production import train_production
from gansweep.export.production_worker import progress_rows, train_run
from gansweep.options import TrainOptions
from gansweep.testing.images import shapes
from gansweep.testing.pretended_gpu.device import CPU, GPU, PretendedGpu
from gansweep.training.build import build_gan
from gansweep.training.record import GeneratorRecord
from trainables import TRAINABLES

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

CONFIG = TrialConfig(
    data=DataView(size=16), architecture={"latent": 8, "width": 4}, batch_size=4, n_critic=1, iterations=4, seed=2
)

SCORING = ScoringSettings(samples=8, encoder_steps=2, detector_steps=2, detector_seeds=1)


def produced(cohort: Path, out: Path, device: torch.device, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An export, and six images that it generates."""
    with monkeypatch.context() as patched:
        patched.setattr(production, "_train", lambda run, *_: train_run(run, device))
        patched.setattr("ray.init", lambda **_: SimpleNamespace(dashboard_url=""))
        patched.setattr("ray.nodes", lambda: [{"Alive": True, "Resources": {"CPU": 2.0}}])
        patched.setattr("ray.shutdown", lambda: None)
        options = TrainOptions(reports=2)
        train_production(CONFIG, cohort, out / "export", TRAINABLES, options, SCORING)
    return generate(out / "export", 6, out / "drawn", TRAINABLES, format="npy")


def test_the_same_generator_and_the_same_images(cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    traced: list[LoadedGenerator] = []
    # The pretended GPU cannot be traced, and another test compares the program's images.
    monkeypatch.setattr("gansweep.export.bundle.write_program", lambda generator, _: traced.append(generator))
    on_cpu = produced(cohort, tmp_path / "cpu", CPU, monkeypatch)
    with PretendedGpu() as gpu:
        on_gpu = produced(cohort, tmp_path / "gpu", GPU, monkeypatch)
    assert [generator.device.type for generator in traced] == ["cpu", "cpu"], "programs are traced on the CPU"
    assert gpu.kernels.total() > 1000
    weights = [(tmp_path / name / "export" / "generator.safetensors").read_bytes() for name in ("cpu", "gpu")]
    assert weights[0] == weights[1]
    rows = [progress_rows(tmp_path / name / "export" / "training") for name in ("cpu", "gpu")]
    assert rows[0][-1]["scores"] == rows[1][-1]["scores"]
    drawn = [np.load(folder / "images" / "images.npy") for folder in (on_cpu, on_gpu)]
    assert len(drawn[0]) == 6
    assert np.array_equal(*drawn)


def test_sources_that_have_no_room_stay_on_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test for memorisation draws a translator's samples from half of the validation images."""
    sources, plain = shapes(200, 16)
    spec = replace(plain, paired_channels=1)
    config = TrialConfig(
        family="srgan", architecture=dict(TRAINABLES.gans["srgan"].smallest), conditioning="none", batch_size=8
    )
    record: Any = GeneratorRecord.model_construct(config=config, channels=1, classes=spec.classes, needs=("images",))
    monkeypatch.setattr("gansweep.training.placement.has_room", lambda *_: False)
    drawn = {}
    for device in (CPU, GPU):
        with PretendedGpu() as gpu:
            gan = build_gan(config, spec, TRAINABLES)
            for module in (*gan.networks.values(), gan.state):
                module.to(device).eval()
            sent = gpu.largest_copy
            drawn[device] = drawn_from(LoadedGenerator(record, gan, None, device, (0, 1)), sources, 40)
            assert gpu.largest_copy <= max(sent, 64 * sources.images[0].nbytes)
    assert torch.equal(drawn[CPU], drawn[GPU])
