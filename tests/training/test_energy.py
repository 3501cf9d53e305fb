"""The energy that GPUs use, from NVML to the report. No test here has a GPU, so NVML's values are made up."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pynvml
import pytest
import torch

from gansweep.config import TrialConfig
from gansweep.devices import energy_joules
from gansweep.progress import Report
from gansweep.report.html import write_report
from gansweep.report.leaderboard import leaderboard
from gansweep.store.schema import TrialRow
from gansweep.store.store import Store
from gansweep.testing.images import shapes
from gansweep.testing.pretended_gpu.device import CPU, GPU, PretendedGpu
from gansweep.training import loop
from gansweep.training.build import build_gan
from gansweep.training.reporters import MemoryReporter
from tests.report.example_sweep import make_info
from tests.values import report_of
from trainables import TRAINABLES

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CARD = torch.device("cuda")


@pytest.fixture
def seen_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes torch see a GPU."""
    monkeypatch.setattr("gansweep.devices.is_cuda", lambda device: device.type == "cuda")
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _device: SimpleNamespace(uuid="1234-ab"))


@pytest.mark.usefixtures("seen_gpu")
def test_the_energy_of_a_machine_without_nvml_is_not_known() -> None:
    assert energy_joules(CPU) is None
    assert energy_joules(CARD) is None  # the package is here, NVIDIA's library is not


@pytest.mark.usefixtures("seen_gpu")
def test_the_energy_of_a_card_is_found_by_its_uuid(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pynvml, "nvmlInit", lambda: None)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetHandleByUUID", lambda uuid: {"GPU-1234-ab": "card"}[uuid])
    monkeypatch.setattr(pynvml, "nvmlDeviceGetTotalEnergyConsumption", lambda card: {"card": 2500}[card])
    assert energy_joules(CARD) == 2.5  # NVML counts millijoules


def trained(monkeypatch: pytest.MonkeyPatch, measure: Callable[[torch.device], float | None]) -> list[float | None]:
    """The energy in the reports of a short training."""
    monkeypatch.setattr(loop, "energy_joules", measure)
    config = TrialConfig(family="dcgan", architecture=TRAINABLES.gans["dcgan"].smallest, batch_size=8, iterations=2)
    config = config.derive({"conditioning": "none"})
    data, spec = shapes(16, 16)
    gan = build_gan(config, spec, TRAINABLES)
    reporter = MemoryReporter()
    with PretendedGpu():
        loop.train(config, gan, data, reporter, lambda _sampler, _iteration: {}, reports=2, device=GPU)
    return [report.energy_joules for report in reporter.reports]


def test_a_report_has_the_energy_since_the_trial_began(monkeypatch: pytest.MonkeyPatch) -> None:
    counter = iter([100.0, 130.0, 175.5])
    assert trained(monkeypatch, lambda _device: next(counter)) == [30.0, 75.5]
    assert trained(monkeypatch, lambda _device: None) == [None, None]


@pytest.mark.parametrize(
    ("gpus", "workers", "known"), [(1.0, 1, True), (2.0, 2, True), (0.5, 1, False), (0.0, 1, False)]
)
def test_the_energy_of_a_shared_card_is_not_that_of_a_trial(gpus: float, workers: int, known: bool) -> None:
    progress = replace(report_of(0, True, 100, 6400, {}, {"fid": 9.0}).progress, energy_joules=36.0)
    row = TrialRow("0000", 0, "running", TrialConfig(), workers=workers)
    ended = row.finished("completed", report=Report(progress), reports=1, seconds=1.0, gpus=gpus)
    assert ended.energy_joules == (36.0 if known else None)


def test_the_report_shows_kilowatt_hours_as_far_as_they_are_known(tmp_path: Path) -> None:
    store = Store.create(str(tmp_path), "fahr", make_info())
    for number, attempts in enumerate(((3.6e6, 1.8e6), (7.2e6,), (None,))):
        for attempt, energy in enumerate(attempts):
            status = "completed" if attempt + 1 == len(attempts) else "interrupted"
            store.write_trial(
                TrialRow(
                    f"{number:04d}",
                    attempt,
                    status,
                    TrialConfig(seed=number),
                    scores={"fid": 9.0, "accuracy": 0.5},
                    seconds=60.0,
                    gpu_seconds=60.0,
                    energy_joules=energy,
                    iterations=4,
                    reports=1,
                )
            )
    rows = {row.trial_id: row.energy_joules for row in leaderboard(store)}
    assert (rows["0000"], rows["0001"]) == (5.4e6, 7.2e6)
    assert math.isnan(rows["0002"])
    page = write_report(store, tmp_path / "report.html").read_text(encoding="utf-8")
    assert "kWh of GPUs" in page
    assert "3.50 (of 2 of 3 trainings)" in page
