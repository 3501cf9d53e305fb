"""Production training and generation on a pretended GPU give the CPU's weights and images."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np

from gansweep.config import DataView, ScoringSettings, TrialConfig
from gansweep.export import production
from gansweep.export.generate import generate
from gansweep.export.production import train_production
from gansweep.export.production_worker import progress_rows, train_run
from gansweep.options import TrainOptions
from gansweep.testing.pretended_gpu.device import CPU, GPU, PretendedGpu
from trainables import TRAINABLES

if TYPE_CHECKING:
    from pathlib import Path

    import pytest
    import torch

    from gansweep.export.loading import LoadedGenerator

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
